"""The hub: only the index of a model is fetched before its kind is known, and every failure has a message of its own.

A small server stands in for the hub, so that the answers go through the hub's own library.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import diffusers
import pytest
from huggingface_hub import constants

from concept_attention.errors import UserError
from concept_attention.hosts.diffusers import hub, loading
from concept_attention.hosts.diffusers.loading import load_pipeline
from concept_attention.hosts.diffusers.registry import FAMILIES

ANSWERS: dict[str, tuple[int, dict[str, str]]] = {
    "missing": (404, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}),
    "token": (401, {"X-Error-Message": "Invalid credentials in Authorization header"}),
    "gated": (403, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to model is restricted"}),
    "private": (403, {"X-Error-Message": "Forbidden"}),
    "broken": (500, {}),
    "busy": (429, {}),
    "other": (404, {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}),
    "fill": (200, {}),
    "modular": (404, {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}),
    "modular_model_index.json": (200, {}),
}


@pytest.fixture(scope="module")
def server() -> Iterator[ThreadingHTTPServer]:
    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.server.asked.append(self.path)  # type: ignore[attr-defined]
            _, _, repository, *_, file = self.path.split("/")
            status, headers = ANSWERS[file if repository == "modular" and file in ANSWERS else repository]
            body = json.dumps({"_class_name": "FluxFillPipeline"}).encode() if status == 200 else b""
            self.send_response(status)
            about = {"X-Repo-Commit": "a" * 40, "ETag": '"1"', "Content-Length": len(body)}
            for name, value in {**headers, **about}.items():
                self.send_header(name, str(value))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_GET = do_HEAD

        def log_message(self, *args: Any) -> None:
            pass

    serving = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    serving.asked = []  # type: ignore[attr-defined]
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    yield serving
    serving.shutdown()


@pytest.fixture(autouse=True)
def a_hub_of_our_own(server: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    monkeypatch.setattr(
        diffusers.DiffusionPipeline, "from_pretrained", lambda *_, **__: pytest.fail("the weights were fetched")
    )


def refused(model: str) -> str:
    with pytest.raises(UserError) as error:
        load_pipeline(model, device="cpu")
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    "model, expected",
    [
        ("owner/missing", "There is no model 'owner/missing', neither as a folder nor on the hub. Check the name"),
        ("owner/token", "The hub does not accept your token for owner/token (401). Renew it"),
        ("owner/gated", "owner/gated is gated. Accept its licence at {hub}/owner/gated, then log in"),
        ("owner/private", "Your token may not read owner/private (403). Ask for access at {hub}/owner/private"),
        ("owner/broken", "The hub failed to give owner/broken: Server error '500 Internal Server Error'"),
        ("owner/busy", "The hub refuses owner/busy for now: too many requests (429). Try again later"),
        ("owner/other", "owner/other on the hub is no diffusers model: a file is missing"),
        ("owner/fill", "owner/fill holds a FluxFillPipeline, expected one of FluxPipeline (Flux 1)"),
        ("owner/what a name", "'owner/what a name' is neither a folder nor a hub id, which is `owner/name`"),
    ],
)
def test_every_answer_of_the_hub_has_a_message_of_its_own(model: str, expected: str) -> None:
    assert refused(model).startswith(expected.format(hub=constants.ENDPOINT))


def test_only_the_index_of_an_unsupported_model_is_fetched(server: Any) -> None:
    server.asked.clear()
    refused("owner/fill")
    # The hub's library also asks, once in a process, what programs it may be used by.
    assert {path for path in server.asked if path.startswith("/owner/")} == {
        "/owner/fill/resolve/main/model_index.json"
    }


def test_a_modular_model_has_another_index(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server.asked.clear()
    said = "owner/modular holds a FluxFillPipeline, expected one of"
    assert refused("owner/modular").startswith(said)
    asked = [path.split("/")[-1] for path in server.asked if path.startswith("/owner/")]
    assert list(dict.fromkeys(asked)) == ["model_index.json", "modular_model_index.json"]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert refused("owner/modular").startswith(said)


def test_offline_is_told_from_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"  # where nothing listens
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", nowhere)
    said = refused("owner/fill")
    assert said.startswith("The hub cannot be reached: ") and "set HF_HUB_OFFLINE=1" in said
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert refused("owner/fill").startswith("owner/fill is not in your cache, and HF_HUB_OFFLINE forbids to fetch it.")


def test_an_index_in_the_cache_needs_no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    refused("owner/fill")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert refused("owner/fill").startswith("owner/fill holds a FluxFillPipeline")


def test_what_the_weights_fail_with_is_explained_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """diffusers says something else and keeps the hub's own error as the cause."""
    monkeypatch.setattr(loading, "_family_in", lambda model, index: FAMILIES[0])

    def read(*args: Any, **options: Any) -> Any:
        try:
            hub.hf_hub_download("owner/gated", "transformer/model.safetensors")
        except OSError as error:
            raise OSError("Cannot load model, see the stacktrace above.") from error

    monkeypatch.setattr(diffusers.DiffusionPipeline, "from_pretrained", read)
    assert refused("owner/fill").startswith("owner/fill is gated.")


@pytest.mark.parametrize("path", ["./models/flux", "/models/flux", "~/models/flux", "models/of/mine", "models\\flux"])
def test_a_mistyped_folder_is_not_sought_on_the_hub(server: Any, path: str) -> None:
    server.asked.clear()
    assert refused(path) == f"There is no folder {path}. Check the path."
    assert not server.asked


def test_a_mistyped_short_name_is_not_sought_on_the_hub(server: Any) -> None:
    server.asked.clear()
    assert refused("flux-schnel").endswith(" Did you mean flux-schnell?")
    assert refused("xyz").endswith(" Choose another.")
    assert not server.asked


@pytest.mark.parametrize("quiet", [False, True])
@pytest.mark.parametrize("before", [False, True])
def test_a_download_shows_bars_unless_they_are_unwanted(
    monkeypatch: pytest.MonkeyPatch, quiet: bool, before: bool
) -> None:
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from transformers.utils import logging as transformers_logging

    shown: list[bool] = []

    def read(*args: Any, **options: Any) -> Any:
        shown.append(not are_progress_bars_disabled())
        assert not transformers_logging.is_progress_bar_enabled()
        raise OSError("enough")

    monkeypatch.setattr(loading, "_family_in", lambda model, index: FAMILIES[0])
    monkeypatch.setattr(diffusers.DiffusionPipeline, "from_pretrained", read)
    (enable_progress_bars if before else disable_progress_bars)()
    try:
        with pytest.raises(UserError, match="enough"):
            load_pipeline("owner/fill", device="cpu", quiet=quiet)
        assert shown == [before and not quiet]
        assert are_progress_bars_disabled() is not before
    finally:
        enable_progress_bars()
