"""The viewer shows its data again after a reload, a change of tab or renderer and more, or says that they are lost."""

from __future__ import annotations

import uuid

import pytest
from playwright.sync_api import Request, expect

from ..support.browser.editor import AWAY, Editor
from ..support.browser.many_concepts import many_concepts_graph
from ..support.browser.viewer_page import VIEW_BUTTONS, ViewerPage, ViewerWorkflow, assert_shows, open_viewer
from ..support.server.client import Client, Interrupted
from ..support.server.graph import Graph
from .conftest import RENDERERS


def test_it_is_there_after_a_reload(editor: Editor, comfyui: Client) -> None:
    workflow = ViewerWorkflow()
    viewer, recording, _ = open_viewer(editor, comfyui, workflow)
    viewer.bar("sun").locator(".ca-pick").click()
    viewer.find(VIEW_BUTTONS["sides"]).click()
    editor.reload()
    again = ViewerPage(editor, workflow.viewer)
    expect(again.find(VIEW_BUTTONS["sides"])).to_have_attribute("aria-pressed", "true")
    expect(again.bar("sun").locator(".ca-pick")).to_have_attribute("aria-pressed", "true")
    again.find(VIEW_BUTTONS["overlay"]).click()
    again.hover(0.6, 0.4)
    assert_shows(again, recording)


def test_its_modules_are_loaded_with_the_first_viewer(editor: Editor, comfyui: Client) -> None:
    loaded: list[str] = []
    graph, node = many_concepts_graph(comfyui)
    editor.load(Graph())

    def note(request: Request) -> None:
        if "/.viewer/" in request.url:
            loaded.append(request.url)

    editor.page.on("request", note)
    try:
        # the front end opens the last graph again, and a newer one is slow to note that it is empty
        editor.page.evaluate("() => (localStorage.clear(), sessionStorage.clear())")
        editor.reload()
        assert not loaded
        editor.load(graph)
        ViewerPage(editor, node).find(".ca-message").wait_for()
        assert len(loaded) > 20
    finally:
        editor.page.remove_listener("request", note)


def test_it_says_that_its_data_are_gone_until_the_graph_runs_again(editor: Editor, comfyui: Client) -> None:
    workflow = ViewerWorkflow()
    viewer, recording, _ = open_viewer(editor, comfyui, workflow)
    for file in (comfyui.server.base / "temp" / "concept_attention").iterdir():
        file.unlink()
    editor.reload()
    again = ViewerPage(editor, workflow.viewer)
    expect(again.find(".ca-message")).to_contain_text("Run the workflow again")
    assert {error.what for error in editor.errors.ours} == {"404"}
    editor.screenshot(f"viewer_gone_{editor.renderer}")
    editor.errors.found.clear()
    assert workflow.recording.number in editor.run().cached  # nothing is sampled for it
    expect(again.find(".ca-message")).to_be_hidden()
    again.hover(0.6, 0.4)
    assert_shows(again, recording)


OPEN_FINISHED = """async (number) => {
  const stores = document.querySelector("#vue-app").__vue_app__.config.globalProperties.$pinia._s;
  const queue = stores.get("queue");
  await queue.update();
  await queue.historyTasks.find((task) => task.jobId === number).loadWorkflow(window.app);
}"""


def test_it_is_there_when_a_finished_run_is_opened(editor: Editor, comfyui: Client) -> None:
    """Not by a click in the list of finished runs: the front end's method that its entries have for it is called."""
    workflow = ViewerWorkflow()
    editor.load(workflow.graph)
    number = editor.queue()
    recording = comfyui.recording(comfyui.wait(number), workflow.saved)
    editor.ended(number)
    editor.page.evaluate("() => window.app.extensionManager.command.execute('Comfy.NewBlankWorkflow')")
    assert not editor.saved()["nodes"]
    editor.page.evaluate(OPEN_FINISHED, number)
    editor.show_all()
    again = ViewerPage(editor, workflow.viewer)
    again.hover(0.6, 0.4)
    assert_shows(again, recording)


def test_it_goes_with_the_graph_from_renderer_to_renderer(editor: Editor, comfyui: Client) -> None:
    workflow = ViewerWorkflow()
    viewer, recording, _ = open_viewer(editor, comfyui, workflow)
    viewer.bar("sun").locator(".ca-pick").click()
    for renderer in (*RENDERERS, *RENDERERS):
        editor.render(renderer)
        there = ViewerPage(editor, workflow.viewer)
        expect(there.bar("sun").locator(".ca-pick")).to_have_attribute("aria-pressed", "true")
        there.hover(0.2, 0.8)
        assert_shows(there, recording)


def test_it_is_there_when_its_tab_is_shown_again(editor: Editor, comfyui: Client) -> None:
    workflow = ViewerWorkflow()
    _, recording, _ = open_viewer(editor, comfyui, workflow)
    saved = editor.saved()
    for concept in ("sun", "grass"):
        editor.load({**saved, "id": str(uuid.uuid4())})
        ViewerPage(editor, workflow.viewer).bar(concept).locator(".ca-pick").click()
        editor.page.mouse.click(*AWAY)  # older front ends notice a change at the next click
    editor.press("Workspace.PreviousOpenedWorkflow")
    picked = "(number) => window.app.rootGraph.getNodeById(number)?.widgets?.some((widget) => widget.value === 'sun')"
    editor.page.wait_for_function(picked, arg=workflow.viewer.number)
    again = ViewerPage(editor, workflow.viewer)
    expect(again.bar("sun").locator(".ca-pick")).to_have_attribute("aria-pressed", "true")
    expect(again.bar("grass").locator(".ca-pick")).to_have_attribute("aria-pressed", "false")
    again.hover(0.2, 0.8)
    assert_shows(again, recording)


def test_an_interrupted_run_leaves_what_was_there(editor: Editor, comfyui: Client) -> None:
    workflow = ViewerWorkflow()
    viewer, recording, _ = open_viewer(editor, comfyui, workflow)
    editor.set_widgets(workflow.sampler, steps=500)
    number = editor.queue()
    editor.interrupt_at(3)
    with pytest.raises(Interrupted):
        comfyui.wait(number)
    assert editor.ended(number) == "execution_interrupted"
    viewer.hover(0.7, 0.3)
    assert_shows(viewer, recording)
    editor.set_widgets(workflow.sampler, steps=4, seed=3)
    finished = editor.run()
    viewer.hover(0.3, 0.7)
    assert_shows(viewer, comfyui.recording(finished, workflow.saved))


def test_it_works_inside_a_subgraph(editor: Editor, comfyui: Client) -> None:
    workflow = ViewerWorkflow()
    editor.load(workflow.graph)
    editor.page.evaluate(
        """(number) => {
      const graph = window.app.rootGraph;
      graph.convertToSubgraph(new Set([graph.getNodeById(number)]));
    }""",
        workflow.viewer.number,
    )
    finished = editor.run()
    editor.page.evaluate("""() => {
      const outer = window.app.rootGraph.nodes.find((node) => node.subgraph);
      window.app.canvas.openSubgraph(outer.subgraph, outer);
    }""")
    (inner,) = editor.page.evaluate("() => window.app.canvas.graph.nodes.map((node) => node.id)")
    viewer = ViewerPage(editor, str(inner))
    viewer.hover(0.3, 0.7)
    assert_shows(viewer, comfyui.recording(finished, workflow.saved))
    editor.screenshot(f"viewer_subgraph_{editor.renderer}")
    editor.page.evaluate("() => window.app.canvas.setGraph(window.app.rootGraph)")
