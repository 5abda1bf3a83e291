"""The folder, or file, for results: created before the work, removed again if the work fails."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import UserError


@contextmanager
def prepared_folder(path: Path) -> Iterator[Path]:
    """Create a folder for the files that a block writes, and remove it again if the block fails.

    Args:
        path: the folder; it may exist.

    Raises:
        UserError: if it is a file, cannot be created, or cannot be written to.
    """
    try:
        folder = path.expanduser().absolute()
    except RuntimeError as error:  # the home folder of nobody
        raise UserError(f"Cannot write to the folder {path}: {error} Choose another.") from error
    created = _missing(folder)
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass  # the folder is writable
        except FileExistsError as error:
            raise UserError(f"{path} is a file, expected a folder. Choose another.") from error
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"Cannot write to the folder {path}: {reason}. Choose another.") from error
        yield folder
    except BaseException:
        for level in created:
            with contextlib.suppress(OSError):  # it holds finished files, or was never created
                level.rmdir()
        raise


@contextmanager
def prepared_file(path: Path | None) -> Iterator[Path | None]:
    """Check, before the work of a block, that the file of `--json` can be written; yields where, or None without one.

    Raises:
        UserError: if it is a folder, or as `prepared_folder`.
    """
    if path is None:
        yield None
        return
    if path.is_dir():
        raise UserError(f"{path} is a folder, expected a file for --json. Choose another name.")
    with prepared_folder(path.parent) as folder:
        yield folder / path.name


def _missing(folder: Path) -> list[Path]:
    """The folder and its parents, as far as they do not exist yet, innermost first."""
    missing = []
    for level in (folder, *folder.parents):
        with contextlib.suppress(OSError):  # a name that is too long
            if level.exists():
                break
        missing.append(level)
    return missing
