"""Prompts as a source: pictures are made and labelled together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...errors import UserError
from ..items import Failure, Item, Shard


@dataclass(frozen=True)
class PromptSource:
    """One picture for every line of a text file that is not empty; line n, from 0, has the seed + n.

    Args:
        prompts: the lines.
        shard_size: pictures per shard.
    """

    prompts: tuple[str, ...]
    shard_size: int = 100

    def shards(self) -> list[Shard]:
        lines = list(enumerate(self.prompts))
        groups = [lines[start : start + self.shard_size] for start in range(0, len(lines), self.shard_size)]
        return [
            Shard(f"{index:05}", hashlib.sha256(json.dumps(group).encode()).hexdigest(), group, len(group))
            for index, group in enumerate(groups)
        ]

    def read(self, shard: Shard) -> Iterator[Item]:
        for number, prompt in shard.content:
            yield Item(f"{number:06}", f"{number:06}.png", caption=prompt, number=number)

    def problems(self) -> list[Failure]:
        return []

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "prompts": ()}  # a worker gets its lines with the shard


def prompt_source(file: Path, shard_size: int = 100) -> PromptSource:
    """The prompts in a text file, one per line.

    Raises:
        UserError: if it cannot be read, or there is none.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read as text: {error}. Give a file with one prompt per line.") from error
    prompts = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not prompts:
        raise UserError(f"{file} has no prompt. Write one per line.")
    return PromptSource(prompts, shard_size)
