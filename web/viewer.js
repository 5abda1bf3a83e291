// The viewer node: connects ComfyUI's widgets, files and settings to the viewer inside the node.
//
// Its modules are imported statically. Importing them on demand would save nothing: ComfyUI's front end imports every .js
// file of this folder on every page. Modules with another extension would not be safe: ComfyUI forbids browsers to cache
// .js files only, so after an update of the pack browsers would mix old and new modules.

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { findNode } from "./common/find_node.js";
import { editMask } from "./mask_editor.js";
import { addWord, findWords } from "./prompt.js";
import { cachedManifest, cacheManifest } from "./viewer/data/manifest_cache.js";
import { Viewer } from "./viewer/view/component.js";
import { forwardToGraph, keepTouches } from "./viewer/view/graph_events.js";
import { speak } from "./viewer/view/strings.js";

/** @import {Node} from "../../scripts/app.js" */
/** @import {Choice, FileRef, Look, Manifest} from "./viewer/data/types.js" */

const CLASS = "ConceptHeatmapViewer";
const NAME = "concept_attention_viewer"; // of the widget, and of the property that is saved with the node
const WIDTH = 460; // of a new node, pixels
const MARGIN = 10; // pixels around a DOM widget on the classic canvas
/** @type {(keyof Choice)[]} Widgets that the viewer writes to. */
const WIDGETS = [
  "concepts", "layers", "steps", "method", "threshold", "percentile",
  "subtract", "holes", "islands", "grow", "blur", "guided", "edited",
];

/** @type {WeakMap<Node, Viewer>} */
const viewers = new WeakMap();

/** What is saved with a node: the look, and a key under which the manifest is cached. @param {Node} node
 * @returns {{key?: string, look?: Look}} */
function saved(node) {
  const found = node.properties[NAME];
  return found && typeof found === "object" ? found : {};
}

/** The manifest that a node showed last in this browser tab. @param {Node} node @returns {Manifest | undefined} */
function lastManifest(node) {
  const { key } = saved(node);
  return key ? cachedManifest(sessionStorage, `${key} ${node.id}`) : undefined;
}

/** @param {FileRef} file */
function routeOf({ filename, subfolder, type }) {
  return `/view?${new URLSearchParams({ filename, subfolder, type })}`;
}

/** @param {FileRef} file @returns {Promise<ArrayBuffer | null>} null if it does not exist any more */
async function load(file) {
  const answer = await api.fetchApi(routeOf(file));
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
  return /** @type {Choice} */ (Object.fromEntries(WIDGETS.map((name) => [name, widgetOf(node, name)?.value])));
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

/** Tell ComfyUI that the workflow has changed, for saving and undo. */
function noteChange() {
  app.canvas.emitBeforeChange?.();
  app.canvas.emitAfterChange?.();
}

/** Copy a text to the clipboard. @param {string} text */
async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // without a secure connection there is only the older way
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (!done) throw new Error("refused");
}

/** Enlarge a node that would cut off its content. @param {Node} node */
function grow(node) {
  const [, height] = node.computeSize();
  if (node.size[1] >= height) return;
  node.setSize([node.size[0], height]);
  app.canvas.setDirty(true, true);
}

function addStyle() {
  const address = new URL("./viewer/view/viewer.css", import.meta.url).href;
  if ([...document.styleSheets].some((sheet) => sheet.href === address)) return;
  const link = document.createElement("link");
  Object.assign(link, { rel: "stylesheet", href: address });
  document.head.append(link);
}

/** The language of the front end. */
function locale() {
  return String(app.extensionManager?.setting?.get("Comfy.Locale") ?? navigator.language);
}

/** Words of the prompt that a viewer's node depends on. @param {Node} node @param {string[]} known */
async function wordsFor(node, known) {
  const { words, target } = await findWords(node, CLASS, known);
  const add = (/** @type {string} */ word) => {
    if (target && addWord(target, word)) noteChange();
  };
  return { words, add: target ? add : null };
}

/** @param {Node} node */
function addViewer(node) {
  const viewer = new Viewer({
    locale,
    load,
    address: (file) => api.apiURL(routeOf(file)),
    choice: () => choiceOf(node),
    choose: (part) => choose(node, part),
    remember: (look) => {
      node.properties[NAME] = { ...saved(node), look };
    },
    copy,
    words: (known) => wordsFor(node, known),
    editMask,
    noteChange,
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
  widget.label = speak(locale())("viewer"); // where it stands outside its node
  // the classic canvas folds away only what is marked on the widget itself
  for (const each of node.widgets ?? []) if (each.options?.advanced) each.advanced = true;
  forwardToGraph(viewer.element, () => app.canvas);
  // ComfyUI looks for changes before a click takes effect, and never after keys in sliders
  for (const event of ["click", "change"]) viewer.element.addEventListener(event, noteChange);
  for (const name of WIDGETS) chain(widgetOf(node, name), "callback", () => viewer.readChoice());
  node.setSize([Math.max(node.size[0], WIDTH), node.computeSize()[1]]);
}

/**
 * Call a function after a method of an object.
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

/** Give a node the key of its cached manifest, when there is the first one. @param {Node} node */
function addKey(node) {
  if (saved(node).key) return;
  node.properties[NAME] = { ...saved(node), key: Math.random().toString(36).slice(2) };
  noteChange();
}

/** Show the data of a run, and cache their manifest so that a reload shows them again.
 * @param {Node} node @param {any} output */
function update(node, output) {
  /** @type {Manifest | undefined} */
  const manifest = output?.concept_viewer?.[0];
  if (!manifest) return;
  const { look, key } = saved(node);
  const same = JSON.stringify(lastManifest(node)) === JSON.stringify(manifest);
  if (key && !same) cacheManifest(sessionStorage, `${key} ${node.id}`, manifest);
  viewers.get(node)?.update(manifest, look, same);
}

/** Show again what a node showed last. @param {Node} node */
function restore(node) {
  const manifest = lastManifest(node);
  if (manifest) viewers.get(node)?.show(manifest, saved(node).look);
  else viewers.get(node)?.readChoice();
}

app.registerExtension({
  name: "ConceptAttention.Viewer",
  setup() {
    addStyle();
    keepTouches();
  },
  nodeCreated(node) {
    if (node.constructor.comfyClass !== CLASS) return;
    addViewer(node);
    chain(node, "onExecuted", (output) => {
      addKey(node);
      update(node, output);
    });
    chain(node, "onConfigure", () => restore(node));
    chain(node, "onRemoved", () => viewers.get(node)?.close());
  },
  // the classic canvas has nothing else to unfold the node's inputs with
  getNodeMenuItems(node) {
    if (!viewers.has(node)) return [];
    const content = speak(locale())(node.showAdvanced ? "hide_inputs" : "show_inputs");
    return [{ content, callback: () => node.toggleAdvanced?.() }];
  },
  // called when a tab is shown again or a finished run is opened
  onNodeOutputsUpdated(outputs) {
    for (const [id, output] of Object.entries(outputs)) {
      const node = findNode(app.rootGraph ?? app.graph, id);
      if (node && viewers.has(node)) update(node, output);
    }
  },
});
