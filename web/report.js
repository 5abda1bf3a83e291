// Shows the text of a node's UI output below its widgets.

import { app } from "../../scripts/app.js";
import { findNode } from "./common/find_node.js";

/** @import {Node} from "../../scripts/app.js" */

const NAME = "concept_attention_report";
const LINE = 16; // pixels
const PADDING = 8;
const MOST_LINES = 14; // longer reports scroll
const CHARACTER = 7.3; // pixels
const WIDEST = 520;
// the folder that this file is served from
const PACK = decodeURIComponent(new URL(import.meta.url).pathname.split("/").at(-2) ?? "");

/** @param {Node} node */
function isOurs(node) {
  return node.constructor.nodeData?.python_module === `custom_nodes.${PACK}`;
}

/** @param {string} text */
function heightOf(text) {
  return Math.min(text.split("\n").length, MOST_LINES) * LINE + 2 * PADDING;
}

/** @param {string} text */
function widthOf(text) {
  const longest = Math.max(...text.split("\n").map((line) => line.length));
  return Math.min(longest * CHARACTER + 2 * PADDING + 40, WIDEST);
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
    getMinHeight: () => heightOf(element.textContent ?? ""),
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
  widget.element.style.minHeight = `${heightOf(text)}px`;
  const [width, height] = node.computeSize();
  node.setSize([Math.max(node.size[0], width, widthOf(text)), Math.max(node.size[1], height)]);
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
