"""The command line: `concept-attention`, or `python -m concept_attention` in a checkout."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module

from ..errors import UserError, printable
from .arguments import parse_arguments
from .progress import print_stage

STANDALONE = ("accelerate", "diffusers", "torch", "tqdm", "transformers")  # installed by the `standalone` extra only


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: the arguments after the program's name; None takes them from `sys.argv`.

    Returns:
        The exit code: 0, or 1 when memory runs out or a part of the work failed, 2 for a user error, 130 after Ctrl-C.
        Errors are one line on stderr. Every other exception is a bug and propagates.
    """
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # read when transformers is imported
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a concept's name may have characters that the terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    code = 0
    try:
        arguments = parse_arguments(sys.argv[1:] if argv is None else argv)
        if "model" in arguments and not getattr(arguments, "verify", None):  # before the imports, which take seconds
            print_stage(f"Loading {arguments.model}", arguments.quiet)
        with _warnings_on_stderr():
            code = import_module(f".{arguments.command}", __name__).run(arguments) or 0
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130
    except ModuleNotFoundError as error:
        if error.name not in STANDALONE:
            raise
        return _fail(f"{error.name} is not installed. Install the `standalone` extra: pip install '.[standalone]'", 2)
    except BrokenPipeError:  # the reader of the report, such as `head`, has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the flush at exit does not fail
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error), 2)
    except UserError as error:
        return _fail(str(error), 2)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        return _fail(f"out of memory: {error}. Try a smaller image, another --device, --dtype or --offload.", 1)
    return code


def _fail(reason: str, code: int) -> int:
    print("error:", printable(" ".join(reason.split())), file=sys.stderr)
    return code


def _is_out_of_memory(error: BaseException) -> bool:
    """CUDA raises its own exception type; the CPU allocator raises a RuntimeError that only its text identifies."""
    by_type = type(error).__name__ in ("MemoryError", "OutOfMemoryError")
    return by_type or "allocate memory" in str(error) or "not enough memory" in str(error)


@contextmanager
def _warnings_on_stderr() -> Iterator[None]:
    """Print the library's warnings on stderr as `warning: ...`."""
    logger, handler = logging.getLogger("concept_attention"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("warning: %(message)s"))
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
