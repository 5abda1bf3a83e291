"""What a ComfyUI shows its client while a node runs: pictures that come over a websocket."""

from __future__ import annotations

import asyncio
import io
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
from PIL import Image

from .client import CLIENT, Client

PREVIEW = 1  # a message's first number: a picture follows, after another number for its format


@contextmanager
def previews(client: Client) -> Iterator[list[Image.Image]]:
    """Listen for the length of the block; the list has every picture shown so far, and all of them after it."""
    found: list[Image.Image] = []
    ready, done = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(_listen(client, found, ready, done)), daemon=True)
    thread.start()
    assert ready.wait(30), "ComfyUI opened no websocket"
    try:
        yield found
    finally:
        done.set()
        thread.join(30)


async def _listen(client: Client, found: list[Image.Image], ready: threading.Event, done: threading.Event) -> None:
    address = f"http://127.0.0.1:{client.server.port}/ws?clientId={CLIENT}"
    async with aiohttp.ClientSession() as session, session.ws_connect(address, max_msg_size=0) as socket:
        ready.set()
        quiet = False
        while not (done.is_set() and quiet):  # what was sent before the end may still be on its way
            try:
                message = await socket.receive(timeout=0.5)
            except asyncio.TimeoutError:
                quiet = True
                continue
            quiet = message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
            if message.type == aiohttp.WSMsgType.BINARY and struct.unpack(">I", message.data[:4])[0] == PREVIEW:
                found.append(Image.open(io.BytesIO(message.data[8:])))
