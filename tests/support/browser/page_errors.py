"""Errors, warnings and failed requests in a page, and the scripts that caused them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import CDPSession

OURS = ("ConceptAttention", "concept_attention", "ca-viewer")  # in addresses and messages of ours
CALLS = 32  # of a stack, through promises and timers
CALLS_SHOWN = 5  # and those of ours


@dataclass(frozen=True)
class PageError:
    """An error, warning or failed request.

    Attributes:
        what: such as "error", "warning", "exception", "404".
        text: the message, or the address that was asked for.
        trail: addresses of the scripts that led to it, the last call first.
    """

    what: str
    text: str
    trail: tuple[str, ...]

    @property
    def ours(self) -> bool:
        """Whether a file of this pack is behind it, or it is about one."""
        return any(mark in text for mark in OURS for text in (self.text, *self.trail))

    def __str__(self) -> str:
        trail = [
            call for index, call in enumerate(self.trail) if index < CALLS_SHOWN or any(mark in call for mark in OURS)
        ]
        return "\n    ".join((f"{self.what}: {self.text}", *trail))


class PageErrors:
    """Listens to a page, through reloads too.

    Attributes:
        found: everything so far.
    """

    def __init__(self, session: CDPSession) -> None:
        self.found: list[PageError] = []
        self._requests: dict[str, tuple[str, tuple[str, ...]]] = {}  # address and trail
        session.on("Runtime.consoleAPICalled", self._console)
        session.on("Runtime.exceptionThrown", self._exception)
        session.on("Log.entryAdded", self._entry)
        session.on("Network.requestWillBeSent", self._request)
        session.on("Network.responseReceived", self._response)
        session.on("Network.loadingFailed", self._failure)
        for domain in ("Runtime", "Log", "Network", "Debugger"):
            session.send(f"{domain}.enable")
        session.send("Debugger.setAsyncCallStackDepth", {"maxDepth": CALLS})

    @property
    def ours(self) -> list[PageError]:
        """Those that files of this pack are behind."""
        return [error for error in self.found if error.ours]

    def _add(self, what: str, text: str, trail: tuple[str, ...]) -> None:
        self.found.append(PageError(what, text, trail))

    def _console(self, event: Mapping[str, Any]) -> None:
        if event["type"] in ("error", "warning", "assert"):
            said = [str(part.get("value", part.get("description", ""))) for part in event["args"]]
            self._add(event["type"], " ".join(said), trail_of(event.get("stackTrace")))

    def _exception(self, event: Mapping[str, Any]) -> None:
        details = event["exceptionDetails"]
        text = details.get("exception", {}).get("description") or details["text"]
        trail = trail_of(details.get("stackTrace"))
        self._add("exception", text, (*trail, details["url"]) if details.get("url") else trail)

    def _entry(self, event: Mapping[str, Any]) -> None:
        entry = event["entry"]
        if entry["level"] in ("error", "warning") and entry["source"] != "network":  # those come with their cause below
            trail = trail_of(entry.get("stackTrace"))
            self._add(entry["source"], entry["text"], (*trail, entry["url"]) if entry.get("url") else trail)

    def _request(self, event: Mapping[str, Any]) -> None:
        initiator = event["initiator"]
        trail = trail_of(initiator.get("stack"))
        self._requests[event["requestId"]] = (event["request"]["url"], (*trail, *filter(None, [initiator.get("url")])))

    def _response(self, event: Mapping[str, Any]) -> None:
        status = event["response"]["status"]
        if status >= 400:
            self._add(str(status), *self._requests.get(event["requestId"], (event["response"]["url"], ())))

    def _failure(self, event: Mapping[str, Any]) -> None:
        if not event.get("canceled") and event["requestId"] in self._requests:
            self._add(event["errorText"], *self._requests[event["requestId"]])


def trail_of(stack: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Where a stack's calls were made, through what they waited for, the last first."""
    return tuple(f"{call['url']}:{call['lineNumber'] + 1} {call['functionName']}".rstrip() for call in _calls(stack))


def _calls(stack: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any]]:
    while stack:
        yield from stack["callFrames"]
        stack = stack.get("parent")
