"""The command line: `concept-attention`, or `python -m concept_attention` in a checkout."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module

from .arguments import parse_arguments
from .progress import say

STANDALONE = ("accelerate", "diffusers", "torch", "tqdm", "transformers")  # what only the `standalone` extra brings
PACKAGE = __name__.partition(".")[0]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments after the program's name; None reads them from the command line.

    Returns:
        0; 1 for want of memory; 2 for an input that cannot be used, which is said in one line on stderr; 130 after
        Ctrl-C. Whatever is a fault of the program goes on as an exception.
    """
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # read when transformers is imported
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal may not know every letter of a concept's name
            stream.reconfigure(errors="backslashreplace")
    try:
        arguments = parse_arguments(sys.argv[1:] if argv is None else argv)
        if "model" in arguments:  # said first: to import what a model needs takes seconds
            say(f"Loading {arguments.model}", arguments.quiet)
        with _warnings_shown():
            import_module(f".{arguments.command}", __name__).run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130
    except ModuleNotFoundError as error:
        if error.name not in STANDALONE:
            raise
        return _fail(f"{error.name} is not installed. Install the `standalone` extra: pip install '.[standalone]'", 2)
    except BrokenPipeError:  # whoever reads the report, such as `head`, has seen enough of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left must not fail at exit
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error), 2)
    except ValueError as error:
        if not _is_ours(error):
            raise
        return _fail(str(error), 2)
    except (MemoryError, RuntimeError) as error:
        if not _is_memory(error):
            raise
        return _fail(f"out of memory: {error}. Try a smaller picture, another --device, --dtype or --offload.", 1)
    return 0


def _fail(reason: str, code: int) -> int:
    print("error:", " ".join(reason.split()), file=sys.stderr)
    return code


def _is_ours(error: BaseException) -> bool:
    """Whether this package raised the error on purpose; one of another package is a fault to be looked into."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    name = str(trace.tb_frame.f_globals.get("__name__")) if trace is not None else ""
    return name.partition(".")[0] == PACKAGE


def _is_memory(error: BaseException) -> bool:
    """CUDA has an exception of its own; the CPU's allocator only a text."""
    named = type(error).__name__ in ("MemoryError", "OutOfMemoryError")
    return named or "allocate memory" in str(error) or "not enough memory" in str(error)


@contextmanager
def _warnings_shown() -> Iterator[None]:
    """The library's warnings on stderr, in the form of its errors."""
    logger, handler = logging.getLogger(PACKAGE), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("warning: %(message)s"))
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
