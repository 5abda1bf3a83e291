"""That what our files do wrong in a page is noticed, and what others do wrong is not taken for ours."""

from __future__ import annotations

import pytest

from ..support.browser.editor import Editor

OURS = "/extensions/ComfyUI-ConceptAttention/broken.js"
FOREIGN = "/extensions/other/broken.js"
WRONG = {
    "error": "console.error('oh no')",
    "warning": "console.warn('[DEPRECATED] use something else')",
    "exception": "setTimeout(() => missing.method())",
    "404": "fetch('/nowhere/image.png')",
}


def run_script(editor: Editor, address: str, script: str) -> None:
    """Run a script as if it had come from this address, and wait until what it does wrong is known."""
    before = len(editor.errors.found)
    address = f"http://127.0.0.1:{editor.client.server.port}{address}"
    editor.page.evaluate(f"void setTimeout(() => {{ {script} }})\n//# sourceURL={address}")
    for _ in range(3000):
        editor.page.wait_for_timeout(20)
        if len(editor.errors.found) > before:
            return
    raise AssertionError("In a minute nothing went wrong.")


@pytest.mark.parametrize("what", WRONG)
def test_what_our_files_do_wrong_is_noticed(opened: Editor, what: str) -> None:
    before = len(opened.errors.ours)
    run_script(opened, OURS, WRONG[what])
    (error,) = opened.errors.ours[before:]
    assert error.what == what and any(OURS in address for address in error.trail)


@pytest.mark.parametrize("what", WRONG)
def test_what_other_files_do_wrong_is_known_as_theirs(opened: Editor, what: str) -> None:
    ours, others = len(opened.errors.ours), len(opened.errors.found)
    run_script(opened, FOREIGN, WRONG[what])
    assert [error.what for error in opened.errors.found[others:]] == [what]
    assert len(opened.errors.ours) == ours


def test_a_file_of_ours_that_is_not_there_is_noticed_whoever_asks_for_it(opened: Editor) -> None:
    before = len(opened.errors.ours)
    run_script(opened, FOREIGN, "fetch('/view?filename=gone.png&subfolder=concept_attention&type=temp')")
    assert [error.what for error in opened.errors.ours[before:]] == ["404"]
