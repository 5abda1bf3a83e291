"""The hub: what a hub id holds, before its weights are fetched, and why a model cannot be got."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import constants as hub_constants
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from ...errors import UserError

INDEXES = "model_index.json", "modular_model_index.json"  # of a classic pipeline, of a modular one
LOG_IN = "log in with `hf auth login` or set HF_TOKEN"
_NETWORK = ("httpcore", "httpx", "httpx2", "requests", "urllib3")  # what the hub's library talks through


def fetch_index(model: str) -> Path:
    """The index of a hub id, a small file: from the hub, or from the cache where there is no network.

    Raises:
        UserError: if it cannot be got; the message says why, and what to do.
    """
    classic, modular = INDEXES
    try:
        return Path(hf_hub_download(model, classic))
    except Exception as error:
        if isinstance(error, (EntryNotFoundError, OfflineModeIsEnabled)):
            with contextlib.suppress(Exception):  # the first error says what is wrong
                return Path(hf_hub_download(model, modular))
        if reason := why_not(model, error):
            raise UserError(reason) from error
        raise


def why_not(model: str, error: BaseException) -> str:
    """Why a model could not be got from the hub, and what to do; "" if the hub is not the reason."""
    chain = list(_chain(error))
    for one in chain:
        if reason := _reason(model, one):
            return reason
    if any(isinstance(one, LocalEntryNotFoundError) or _is_network(one) for one in chain):
        return (
            f"The hub cannot be reached: {first_line(chain[-1])}. Check the connection and the proxy. "
            f"If {model} is in your cache, set HF_HUB_OFFLINE=1."
        )
    return ""


def _reason(model: str, error: BaseException) -> str:
    page = f"{hub_constants.ENDPOINT}/{model}"
    if isinstance(error, HFValidationError):
        return f"{model!r} is neither a folder nor a hub id, which is `owner/name`. Check the name."
    if isinstance(error, OfflineModeIsEnabled):
        return f"{model} is not in your cache, and HF_HUB_OFFLINE forbids to fetch it. Unset that, or give a folder."
    if isinstance(error, GatedRepoError):
        return f"{model} is gated. Accept its licence at {page}, then {LOG_IN}."
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"There is no model {model!r}, neither as a folder nor on the hub. Check the name; "
            f"if it is a private model, {LOG_IN}."
        )
    if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
        return f"{model} on the hub is no diffusers model: a file is missing ({first_line(error)}). Choose another."
    if isinstance(error, HfHubHTTPError):
        return _http_reason(model, page, getattr(error.response, "status_code", 0), error)
    return ""


def _http_reason(model: str, page: str, status: int, error: BaseException) -> str:
    if status == 401:
        return f"The hub does not accept your token for {model} (401). Renew it: {LOG_IN}."
    if status == 403:
        return (
            f"Your token may not read {model} (403). Ask for access at {page}, and allow the token to read gated "
            f"repositories at {hub_constants.ENDPOINT}/settings/tokens."
        )
    if status == 429:
        return f"The hub refuses {model} for now: too many requests (429). Try again later, or {LOG_IN}."
    return f"The hub failed to give {model}: {first_line(error)}. Try again later."


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and those that led to it; what the hub said is often the last."""
    while error is not None:
        yield error
        error = error.__cause__


def _is_network(error: BaseException) -> bool:
    return isinstance(error, (ConnectionError, TimeoutError)) or type(error).__module__.split(".")[0] in _NETWORK


def first_line(error: BaseException) -> str:
    """The first line of an error's text, without a full stop; its type if it has no text."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].strip().rstrip(".: ")
