"""Progress messages below the running node."""

from __future__ import annotations

from comfy_execution.utils import get_executing_context


def show_progress_text(text: str) -> None:
    """Show a text below the node that is being executed; does nothing outside of a graph."""
    context = get_executing_context()
    if context is None:
        return
    from server import PromptServer  # there is a server where there is a graph, and it takes long to import

    PromptServer.instance.send_progress_text(text, context.node_id)
