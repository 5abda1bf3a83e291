"""`python start.py FOLDER OPTIONS` runs `python FOLDER/main.py OPTIONS`: a ComfyUI, for as long as stdin is open.

torchvision and torchaudio are mended first (see dev_comfyui.py at the root). The tests hold the other end of stdin, so
the process does not outlive them, however they end.
"""

from __future__ import annotations

import importlib.util
import os
import runpy
import signal
import sys
import threading
from pathlib import Path

MEND = Path(__file__).resolve().parents[3] / "dev_comfyui.py"


def _end_with_stdin() -> None:
    while os.read(0, 1):  # not sys.stdin, whose lock Python wants to take when it ends
        pass
    if os.name == "posix":
        os.killpg(0, signal.SIGKILL)  # the group is this process's own
    os._exit(1)


def main() -> None:
    folder, options = Path(sys.argv[1]), sys.argv[2:]
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    spec = importlib.util.spec_from_file_location("mend", MEND)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.mend()
    sys.path[0] = str(folder)  # as if main.py had been started
    sys.argv = [str(folder / "main.py"), *options]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
