"""Preview images and texts that ComfyUI sends to its client over a websocket while a node runs."""

from __future__ import annotations

import asyncio
import io
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import aiohttp
from PIL import Image

from .client import CLIENT, Client

# First number of a message. After PREVIEW follow a number for the format and the image, after TEXT the length of the
# node's id, the id and the text.
PREVIEW, TEXT = 1, 3
Content = TypeVar("Content")


@contextmanager
def previews(client: Client) -> Iterator[list[Image.Image]]:
    """Context manager that collects previews; the list is complete after the block."""
    with _listening(client, PREVIEW, lambda content: Image.open(io.BytesIO(content[4:]))) as found:
        yield found


@contextmanager
def node_texts(client: Client) -> Iterator[list[tuple[str, str]]]:
    """Like `previews`, for the texts shown below running nodes: (id of the node, text)."""

    def read(content: bytes) -> tuple[str, str]:
        (length,) = struct.unpack(">I", content[:4])
        return content[4 : 4 + length].decode(), content[4 + length :].decode()

    with _listening(client, TEXT, read) as found:
        yield found


@contextmanager
def _listening(client: Client, kind: int, read: Callable[[bytes], Content]) -> Iterator[list[Content]]:
    found: list[Content] = []
    ready, done = threading.Event(), threading.Event()

    def take(message: bytes) -> None:
        if struct.unpack(">I", message[:4])[0] == kind:
            found.append(read(message[4:]))

    thread = threading.Thread(target=lambda: asyncio.run(_listen(client, take, ready, done)), daemon=True)
    thread.start()
    assert ready.wait(30), "ComfyUI opened no websocket"
    try:
        yield found
    finally:
        done.set()
        thread.join(30)


async def _listen(client: Client, take: Callable[[bytes], None], ready: threading.Event, done: threading.Event) -> None:
    address = f"http://127.0.0.1:{client.server.port}/ws?clientId={CLIENT}"
    async with aiohttp.ClientSession() as session, session.ws_connect(address, max_msg_size=0) as socket:
        ready.set()
        idle = False
        while not (done.is_set() and idle):  # what was sent before the end may still be on its way
            try:
                message = await socket.receive(timeout=0.5)
            except asyncio.TimeoutError:
                idle = True
                continue
            idle = message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
            if message.type == aiohttp.WSMsgType.BINARY:
                take(message.data)
