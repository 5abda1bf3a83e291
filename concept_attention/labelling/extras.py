"""Packages that only some data sets and engines need."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ..errors import UserError


def import_extra(module: str, extra: str) -> Any:
    """Import a module of an extra.

    Raises:
        UserError: if it is not installed; the text says how to.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        raise UserError(f"{package} is not installed. Install the `{extra}` extra: pip install '.[{extra}]'") from None
