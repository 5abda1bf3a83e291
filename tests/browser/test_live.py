"""Live previews in ComfyUI's front end: while a sampler runs, its node shows the concepts."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from ..support.browser.editor import Editor
from ..support.server.client import Interrupted
from ..support.server.landscape import Landscape

MAP = 256  # pixels, long side, of a map that is shown alone
SHOWN = """async ([number, side]) => {
  const [address] = window.app.nodePreviewImages[number] ?? [];
  if (!address) return false;
  const image = new Image();
  image.src = address;
  await image.decode();
  return Math.max(image.naturalWidth, image.naturalHeight) === side;
}"""


def test_a_sampler_shows_where_the_concepts_are_while_it_runs(editor: Editor) -> None:
    start = Landscape()
    sampler = start.sample(
        start.model, "ConceptAttentionKSampler", concepts=start.encoded[0], steps=3000, live_preview="segmentation"
    )
    start.graph.add("PreviewImage", images=start.decode(sampler[0])[0])
    editor.load(start.graph)
    editor.show_node(sampler)
    number = editor.queue()
    try:
        editor.page.wait_for_function(SHOWN, arg=[sampler.number, MAP])
        if editor.renderer == "nodes2":  # the classic one draws on its canvas
            image = editor.page.locator(f'[data-node-id="{sampler.number}"] img').first
            expect(image).to_be_visible()
        editor.screenshot(f"live_preview_{editor.renderer}")
    finally:
        editor.client.server.ask("POST", "/interrupt", {"prompt_id": number})
    with pytest.raises(Interrupted):
        editor.client.wait(number)
    assert editor.ended(number) == "execution_interrupted"
