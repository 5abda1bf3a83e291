// Shows the text of a node's UI output below its widgets.

import { app } from "../../scripts/app.js";
import { findNode } from "./common/find_node.js";

/** @import {Node} from "../../scripts/app.js" */

const NAME = "concept_attention_report";
const LINE = 16; // pixels
const PADDING = 8;
const MOST_LINES = 14; // longer reports scroll
const CHARACTER = 7.3; // pixels
const SCROLLBAR = 12; // pixels, below lines that are wider than the node
// the folder that this file is served from
const PACK = decodeURIComponent(new URL(import.meta.url).pathname.split("/").at(-2) ?? "");

/** @param {Node} node */
function isOurs(node) {
  return node.constructor.nodeData?.python_module === `custom_nodes.${PACK}`;
}

/** The height that shows a text in a node, whose width it does not change: longer lines scroll.
 * @param {string} text @param {Node} node */
function heightOf(text, node) {
  const lines = text.split("\n");
  const width = Math.max(...lines.map((line) => line.length)) * CHARACTER + 2 * PADDING + 40;
  const scrollbar = width > node.size[0] ? SCROLLBAR : 0;
  return Math.min(lines.length, MOST_LINES) * LINE + 2 * PADDING + scrollbar;
}

/** @param {Node} node */
function addReport(node) {
  const element = document.createElement("pre");
  element.dataset.captureWheel = "true"; // while focused, the wheel scrolls the report instead of zooming the graph
  element.tabIndex = 0;
  element.setAttribute("role", "status");
  Object.assign(element.style, {
    boxSizing: "border-box",
    width: "100%",
    margin: "0",
    padding: `${PADDING}px`,
    overflow: "auto",
    scrollbarWidth: "thin",
    whiteSpace: "pre",
    userSelect: "text",
    font: `12px/${LINE}px ui-monospace, monospace`,
    color: "var(--input-text)",
    background: "var(--comfy-input-bg)",
    borderRadius: "4px",
  });
  element.addEventListener("pointerdown", (event) => {
    if (event.button === 0) event.stopPropagation(); // selects text; the middle button moves the graph
  });
  const widget = node.addDOMWidget(NAME, NAME, element, {
    serialize: false, // not in the prompt
    hideOnZoom: false,
    getMinHeight: () => heightOf(element.textContent ?? "", node),
    getValue: () => element.textContent ?? "",
  });
  widget.serialize = false; // not in the workflow
  return widget;
}

/** @param {Node} node @param {any} output */
function report(node, output) {
  if (!isOurs(node) || !Array.isArray(output?.text)) return;
  const widget = node.widgets?.find((candidate) => candidate.name === NAME) ?? addReport(node);
  const text = output.text.join("\n");
  if (widget.element.textContent === text) return;
  widget.element.textContent = text;
  widget.element.style.minHeight = `${heightOf(text, node)}px`;
  const [, height] = node.computeSize();
  node.setSize([node.size[0], Math.max(node.size[1], height)]);
  app.canvas.setDirty(true, true);
}

app.registerExtension({
  name: "ConceptAttention.Report",
  nodeCreated(node) {
    if (!isOurs(node)) return;
    const before = node.onExecuted;
    node.onExecuted = function (output) {
      before?.call(this, output);
      report(this, output);
    };
  },
  // Fires when a workflow tab is shown again or a finished run is opened.
  onNodeOutputsUpdated(outputs) {
    for (const [id, output] of Object.entries(outputs)) {
      const node = findNode(app.rootGraph ?? app.graph, id);
      if (node) report(node, output);
    }
  },
});
