// The viewer node. Its modules are loaded when there is one in a graph.
//
// They are in a folder whose name begins with a dot, which ComfyUI's list of scripts leaves out: whatever it lists, the
// front end imports on every page. Modules that do not end in .js would not be listed either, but browsers would keep
// them over an update of the pack, and mix old and new ones.

import { app } from "../../scripts/app.js";
import { chain } from "./common/chain.js";
import { findNode } from "./common/find_node.js";

/** @import {Node} from "../../scripts/app.js" */
/** @import {Attached} from "./.viewer/comfyui/attach.js" */

const CLASS = "ConceptHeatmapViewer";
const NAME = "concept_attention_viewer"; // of the widget
const WIDTH = 460; // of a new node, pixels
const HEIGHT = 420; // of the widget until its content is there, pixels
const MARGIN = 10; // pixels around a DOM widget on the classic canvas

/** @type {WeakMap<Node, Promise<Attached>>} */
const viewers = new WeakMap();
/** @type {WeakMap<Node, Attached>} Those that are loaded. */
const loaded = new WeakMap();

/** Fold away on the classic canvas, too, the advanced inputs: unless they are linked, until the node shows its advanced
 * ones. @param {Node} node */
function foldAway(node) {
  for (const widget of node.widgets ?? []) {
    if (!widget.options?.advanced) continue;
    const isLinked = () => node.inputs?.some((input, slot) => input.widget?.name === widget.name && node.isInputConnected(slot));
    const isFolded = () => !node.showAdvanced && !isLinked();
    if (widget.visibility) {
      // newer front ends fold advanced widgets themselves, but their classic canvas keeps room for them
      widget.advanced = true;
      const canvas = { configurable: true, enumerable: true, get: () => (isFolded() ? "never" : "advanced"), set() {} };
      Object.defineProperty(widget.visibility.surfaces, "canvas", canvas);
    } else {
      Object.defineProperty(widget, "hidden", { configurable: true, get: isFolded, set() {} });
    }
  }
}

/** Unfold the inputs of a node, or fold them away. @param {Node} node */
function toggleInputs(node) {
  node.showAdvanced = !node.showAdvanced;
  node.setSize([node.size[0], node.computeSize()[1]]);
  app.canvas.setDirty(true, true);
}

/** @param {Node} node @returns {Promise<Attached>} */
function addViewer(node) {
  const element = document.createElement("section");
  element.className = "ca-viewer";
  let height = HEIGHT;
  const widget = node.addDOMWidget(NAME, NAME, element, {
    serialize: false, // not in the prompt
    hideOnZoom: false,
    getMinHeight: () => height + 2 * MARGIN,
    getValue: () => "",
  });
  widget.serialize = false; // not in the workflow
  widget.label = node.title; // where it stands outside its node, as in an app
  foldAway(node);
  node.setSize([Math.max(node.size[0], WIDTH), node.computeSize()[1]]);
  const attached = import("./.viewer/comfyui/attach.js").then(({ attach }) =>
    attach(node, widget, (wanted) => {
      height = wanted;
    }),
  );
  attached.then(
    (viewer) => loaded.set(node, viewer),
    (error) => element.append(`The viewer cannot be loaded: ${error.message} Reload the page.`),
  );
  return attached;
}

app.registerExtension({
  name: "ConceptAttention.Viewer",
  nodeCreated(node) {
    if (node.constructor.comfyClass !== CLASS) return;
    const viewer = addViewer(node);
    viewers.set(node, viewer);
    chain(node, "onExecuted", async (output) => (await viewer).executed(output));
    chain(node, "onConfigure", async () => (await viewer).restore());
    chain(node, "onRemoved", async () => (await viewer).close());
  },
  // the classic canvas has nothing else to unfold the node's inputs with
  getNodeMenuItems(node) {
    const viewer = loaded.get(node);
    return viewer ? [{ content: viewer.menuText(), callback: () => toggleInputs(node) }] : [];
  },
  // called when a tab is shown again or a finished run is opened
  onNodeOutputsUpdated(outputs) {
    for (const [id, output] of Object.entries(outputs)) {
      const node = findNode(app.rootGraph ?? app.graph, id);
      if (node) viewers.get(node)?.then((viewer) => viewer.update(output));
    }
  },
});
