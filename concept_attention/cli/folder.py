"""The folder that results go to: made before the work, gone again if the work fails."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def prepared_folder(path: Path) -> Iterator[Path]:
    """Make a folder for what a block writes, and take it away again if the block fails.

    Args:
        path: the folder; it may exist.

    Raises:
        ValueError: if it is a file, cannot be made, or cannot be written to.
    """
    folder = path.expanduser().absolute()
    made = _missing(folder)
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass  # it can be written to
        except FileExistsError as error:
            raise ValueError(f"{path} is a file, expected a folder. Choose another.") from error
        except OSError as error:
            reason = error.strerror or error
            raise ValueError(f"Nothing can be written to the folder {path}: {reason}. Choose another.") from error
        yield folder
    except BaseException:
        for one in made:
            with contextlib.suppress(OSError):  # it holds finished files, or was never made
                one.rmdir()
        raise


def _missing(folder: Path) -> list[Path]:
    """The folder and those above it that do not exist yet, innermost first."""
    missing = []
    for one in (folder, *folder.parents):
        with contextlib.suppress(OSError):  # a name that is too long
            if one.exists():
                break
        missing.append(one)
    return missing
