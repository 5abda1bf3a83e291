// The viewer node: lends ComfyUI's widgets, files and settings to the viewer that is shown in it.

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { findNode } from "./common/find_node.js";
import { Viewer } from "./viewer/view/component.js";
import { forwardToGraph } from "./viewer/view/graph_events.js";
import { keep, recall } from "./viewer/data/manifest_cache.js";

/** @import {Node} from "../../scripts/app.js" */
/** @import {Choice, FileRef, Look, Manifest} from "./viewer/data/types.js" */

const CLASS = "ConceptHeatmapViewer";
const NAME = "concept_attention_viewer"; // of the widget, and of what is saved with the node
const WIDTH = 460; // of a new node, pixels
const MARGIN = 10; // pixels that the canvas leaves around such a widget
/** @type {(keyof Choice)[]} Widgets that the viewer writes to. */
const CHOICES = ["concepts", "layers", "steps", "method", "threshold", "percentile"];

/** @type {WeakMap<Node, Viewer>} */
const viewers = new WeakMap();

/** What is saved with a node: how it looks, and a name for what it showed. @param {Node} node
 * @returns {{key?: string, look?: Look}} */
function saved(node) {
  return /** @type {{key?: string, look?: Look}} */ (node.properties[NAME] ?? {});
}

/** What a node showed last in this tab of the browser. @param {Node} node @returns {Manifest | undefined} */
function recalled(node) {
  const { key } = saved(node);
  return key ? recall(`${key} ${node.id}`) : undefined;
}

/** @param {FileRef} file */
function view({ filename, subfolder, type }) {
  return `/view?${new URLSearchParams({ filename, subfolder, type })}`;
}

/** @param {FileRef} file @returns {Promise<ArrayBuffer | null>} null if it is gone */
async function load(file) {
  const answer = await api.fetchApi(view(file));
  if (answer.status === 404) return null;
  if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}.`);
  return answer.arrayBuffer();
}

/** @param {Node} node @param {string} name */
function widgetOf(node, name) {
  return node.widgets?.find((widget) => widget.name === name);
}

/** @param {Node} node @returns {Choice} */
function choiceOf(node) {
  return /** @type {Choice} */ (Object.fromEntries(CHOICES.map((name) => [name, widgetOf(node, name)?.value])));
}

/** @param {Node} node @param {Partial<Choice>} part */
function choose(node, part) {
  for (const [name, value] of Object.entries(part)) {
    const widget = widgetOf(node, name);
    if (!widget) continue;
    widget.value = value;
    widget.callback?.(value);
  }
  app.canvas.setDirty(true, true);
}

/** Let the workflow notice that it is another now: to be saved, to be undone. */
function noteChange() {
  app.canvas.emitBeforeChange?.();
  app.canvas.emitAfterChange?.();
}

/** Without a secure connection browsers offer the older way only. @param {string} text */
async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (!done) throw new Error("refused");
}

/** The node never cuts off what is in it. @param {Node} node */
function grow(node) {
  const [, height] = node.computeSize();
  if (node.size[1] < height) node.setSize([node.size[0], height]);
}

function addStyle() {
  const address = new URL("./viewer/view/viewer.css", import.meta.url).href;
  if ([...document.styleSheets].some((sheet) => sheet.href === address)) return;
  const link = document.createElement("link");
  Object.assign(link, { rel: "stylesheet", href: address });
  document.head.append(link);
}

/** @param {Node} node */
function addViewer(node) {
  const viewer = new Viewer({
    locale: () => String(app.extensionManager?.setting?.get("Comfy.Locale") ?? navigator.language),
    load,
    address: (file) => api.apiURL(view(file)),
    choice: () => choiceOf(node),
    choose: (part) => choose(node, part),
    remember: (look) => {
      node.properties[NAME] = { ...saved(node), look };
    },
    copy,
    resized: (height) => {
      viewer.element.style.minHeight = `${height}px`;
      if (node.graph) grow(node);
    },
  });
  viewers.set(node, viewer);
  const widget = node.addDOMWidget(NAME, NAME, viewer.element, {
    serialize: false, // not in the prompt
    hideOnZoom: false,
    getMinHeight: () => viewer.height + 2 * MARGIN,
    getValue: () => "",
  });
  widget.serialize = false; // not in the workflow
  forwardToGraph(viewer.element, () => app.canvas);
  // ComfyUI looks for changes before a click has done anything, and not at all after keys in sliders
  for (const done of ["click", "change"]) viewer.element.addEventListener(done, noteChange);
  for (const name of CHOICES) chain(widgetOf(node, name), "callback", () => viewer.follow());
  node.setSize([Math.max(node.size[0], WIDTH), node.computeSize()[1]]);
}

/**
 * Do something after what an object already does.
 * @param {object | undefined} object
 * @param {string} name
 * @param {(...parts: any[]) => void} act
 */
function chain(object, name, act) {
  if (!object) return;
  const target = /** @type {Record<string, any>} */ (object);
  const before = target[name];
  target[name] = /** @this {any} */ function (/** @type {any[]} */ ...parts) {
    const result = before?.apply(this, parts);
    act(...parts);
    return result;
  };
}

/** Give a node a name by which what it shows is kept, the first time there is something. @param {Node} node */
function name(node) {
  if (saved(node).key) return;
  node.properties[NAME] = { ...saved(node), key: Math.random().toString(36).slice(2) };
  noteChange();
}

/** Show what a run sent, and keep it, so that it is there again after a reload.
 * @param {Node} node @param {any} output */
function take(node, output) {
  /** @type {Manifest | undefined} */
  const manifest = output?.concept_viewer?.[0];
  if (!manifest) return;
  const { look, key } = saved(node);
  const [before, now] = [recalled(node), manifest].map((data) => JSON.stringify({ ...data, choice: null }));
  const same = before === now; // whatever of it was chosen
  if (key && !same) keep(`${key} ${node.id}`, manifest);
  viewers.get(node)?.take(manifest, look, same);
}

/** Show again what a node showed last. @param {Node} node */
function restore(node) {
  const manifest = recalled(node);
  if (manifest) viewers.get(node)?.show(manifest, saved(node).look);
  else viewers.get(node)?.follow();
}

app.registerExtension({
  name: "ConceptAttention.Viewer",
  setup: addStyle,
  nodeCreated(node) {
    if (node.constructor.comfyClass !== CLASS) return;
    addViewer(node);
    chain(node, "onExecuted", (output) => {
      name(node);
      take(node, output);
    });
    chain(node, "onConfigure", () => restore(node));
    chain(node, "onRemoved", () => viewers.get(node)?.close());
  },
  // Outputs come back when a tab is shown again or a finished run is opened.
  onNodeOutputsUpdated(outputs) {
    for (const [id, output] of Object.entries(outputs)) {
      const node = findNode(app.rootGraph ?? app.graph, id);
      if (node && viewers.has(node)) take(node, output);
    }
  },
});
