"""Run a ComfyUI while stdin is open: `python start.py FOLDER OPTIONS` stands for `python FOLDER/main.py OPTIONS`.

torchvision and torchaudio are made importable first (see dev_comfyui.py at the root). The tests hold the other end of
stdin, so the process ends with them, however they end.
"""

from __future__ import annotations

import importlib.util
import os
import runpy
import signal
import sys
import threading
from pathlib import Path

DEV_COMFYUI = Path(__file__).resolve().parents[3] / "dev_comfyui.py"


def _end_with_stdin() -> None:
    while os.read(0, 1):  # not sys.stdin, whose lock Python needs when it exits
        pass
    if os.name == "posix":
        os.killpg(0, signal.SIGKILL)  # this process leads its own group
    os._exit(1)


def main() -> None:
    folder, options = Path(sys.argv[1]), sys.argv[2:]
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    spec = importlib.util.spec_from_file_location("dev_comfyui", DEV_COMFYUI)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.mend()
    sys.path[0] = str(folder)  # as if main.py had been started
    sys.argv = [str(folder / "main.py"), *options]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
