"""Change one operator or number of a module at a time, and see whether its tests notice.

    python -m tests.support.mutations concept_attention/scores.py tests/test_scores.py [--most 40] [--seed 0]

Prints every change that all tests survive. A survivor is a rule without a test, or a change that changes nothing.
Needs `os.fork`. The module's file is not touched: the changed source is given to the import system of a child process.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib.abc
import importlib.util
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
OPERATORS: dict[type, tuple[type, ...]] = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div,),
    ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Mult,),
    ast.Mod: (ast.FloorDiv,),
    ast.Pow: (ast.Mult,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
    ast.Lt: (ast.LtE,),
    ast.LtE: (ast.Lt,),
    ast.Gt: (ast.GtE,),
    ast.GtE: (ast.Gt,),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.USub: (ast.UAdd,),
}


def changed(node: ast.AST) -> Iterator[tuple[str, Any, Any]]:
    """The changes of one node: (field, index or None, new value)."""
    for field, value in ast.iter_fields(node):
        for index, one in enumerate(value) if isinstance(value, list) else [(None, value)]:
            for other in OPERATORS.get(type(one), ()):
                yield field, index, other()
    if isinstance(node, ast.Constant):
        if isinstance(node.value, bool):
            yield "value", None, not node.value
        elif isinstance(node.value, (int, float)):
            yield "value", None, node.value + 1
    if isinstance(node, (ast.If, ast.IfExp)):
        yield "test", None, ast.UnaryOp(ast.Not(), node.test)


def mutants(source: str) -> list[tuple[int, str, str]]:
    """(line, what was changed, the changed source) of every change outside of annotations and docstrings."""
    tree = ast.parse(source)
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        for part in (getattr(node, "annotation", None), getattr(node, "returns", None))
        if part is not None
        for inner in ast.walk(part)
    }
    found = []
    for position, node in enumerate(ast.walk(tree)):
        if id(node) in skipped:
            continue
        for field, index, value in changed(node):
            other = copy.deepcopy(tree)
            target = next(one for place, one in enumerate(ast.walk(other)) if place == position)
            if index is None:
                setattr(target, field, value)
            else:
                getattr(target, field)[index] = value
            ast.fix_missing_locations(other)
            line = getattr(node, "lineno", 0)
            found.append((line, ast.unparse(target).splitlines()[0], ast.unparse(other)))
    return found


class _Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives one module another source."""

    def __init__(self, name: str, path: Path, source: str) -> None:
        self._name, self._path, self._source = name, path, source

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        return importlib.util.spec_from_file_location(name, self._path, loader=self) if name == self._name else None

    def create_module(self, spec: Any) -> None:
        return None

    def exec_module(self, module: Any) -> None:
        exec(compile(self._source, str(self._path), "exec"), module.__dict__)  # noqa: S102


def survives(name: str, path: Path, source: str, tests: list[str], seconds: int) -> bool:
    """Whether all tests pass with the changed source, in a child process."""
    child = os.fork()
    if child == 0:
        signal.alarm(seconds)  # a change may make a loop endless
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        sys.meta_path.insert(0, _Changed(name, path, source))
        import pytest

        options = ["-x", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", "-p", "no:xdist"]
        os._exit(int(pytest.main([*options, *tests])))
    return os.waitpid(child, 0)[1] == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("module", type=Path)
    parser.add_argument("tests", nargs="+")
    parser.add_argument("--most", type=int, default=40, help="number of changes, chosen at random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=int, default=60, help="limit of a test run")
    parser.add_argument("--total", type=int, default=10**6, help="limit of all, in seconds")
    given = parser.parse_args()
    os.chdir(ROOT)
    import pytest  # noqa: F401
    import torch

    torch.set_num_threads(1)
    path = (ROOT / given.module).resolve()
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    source = path.read_text(encoding="utf-8")
    if not survives(name, path, source, given.tests, 10 * given.seconds):
        sys.exit("The tests fail without any change.")
    every = mutants(source)
    chosen = random.Random(given.seed).sample(every, min(given.most, len(every)))  # noqa: S311
    begin, tried, lines = time.monotonic(), 0, source.splitlines()
    survivors = []
    for line, what, text in sorted(chosen, key=lambda one: one[0]):
        if time.monotonic() - begin > given.total:
            break
        tried += 1
        if survives(name, path, text, given.tests, given.seconds):
            survivors.append(line)
            was = lines[line - 1].strip()
            print(f"{given.module}:{line}: survived: {what[:110]}    # was: {was[:110]}", flush=True)
    print(f"{given.module}: {tried} of {len(every)} changes, {tried - len(survivors)} noticed", flush=True)


if __name__ == "__main__":
    main()
