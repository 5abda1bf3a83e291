// Connects ComfyUI's widgets, files and settings to the viewer inside a node.

import { api } from "../../../../scripts/api.js";
import { app } from "../../../../scripts/app.js";
import { cachedManifest, cacheManifest } from "../data/manifest_cache.js";
import { chain } from "../../common/chain.js";
import { Viewer } from "../view/component.js";
import { forwardToGraph, keepTouches } from "../view/graph_events.js";
import { speak } from "../view/strings.js";
import { makeAnimation } from "./animation.js";
import { editMask } from "./mask_editor.js";
import { addWord, findWords } from "./prompt.js";

/** @import {Node, Widget} from "../../../../scripts/app.js" */
/** @import {Choice, FileRef, Look, Manifest} from "../data/types.js" */

const CLASS = "ConceptHeatmapViewer";
const NAME = "concept_attention_viewer"; // of the widget, and of the property that is saved with the node
/** @type {(keyof Choice)[]} Widgets that the viewer writes to. */
const WIDGETS = [
  "concepts", "layers", "steps", "method", "threshold", "percentile",
  "subtract", "holes", "islands", "grow", "blur", "guided", "edited",
];

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
  const address = new URL("../view/viewer.css", import.meta.url).href;
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

/**
 * What the node's extension does with a viewer.
 * @typedef {object} Attached
 * @property {(output: any) => void} executed  the node has run
 * @property {(output: any) => void} update  an output of it is shown again
 * @property {() => void} restore  the node was loaded from a workflow
 * @property {() => void} close
 * @property {() => string} menuText  of the entry that unfolds the node's inputs, or folds them away
 */

/**
 * Put a viewer into the element of a node's widget.
 * @param {Node} node
 * @param {Widget} widget
 * @param {(height: number) => void} resized  called with the smallest height that shows everything, pixels
 * @returns {Attached}
 */
export function attach(node, widget, resized) {
  addStyle();
  keepTouches();
  const { element } = widget;
  const host = {
    locale,
    load,
    address: (/** @type {FileRef} */ file) => api.apiURL(routeOf(file)),
    choice: () => choiceOf(node),
    choose: (/** @type {Partial<Choice>} */ part) => choose(node, part),
    remember: (/** @type {Look} */ look) => {
      node.properties[NAME] = { ...saved(node), look };
    },
    copy,
    words: (/** @type {string[]} */ known) => wordsFor(node, known),
    editMask,
    makeAnimation,
    noteChange,
    resized: (/** @type {number} */ height) => {
      resized(height);
      element.style.minHeight = `${height}px`;
      if (node.graph) grow(node);
    },
  };
  const viewer = new Viewer(host, element);
  const say = speak(locale());
  forwardToGraph(element, () => app.canvas);
  // ComfyUI looks for changes before a click takes effect, and never after keys in sliders
  for (const event of ["click", "change"]) element.addEventListener(event, noteChange);
  for (const name of WIDGETS) chain(widgetOf(node, name), "callback", () => viewer.readChoice());
  return {
    executed: (output) => {
      addKey(node);
      update(node, viewer, output);
    },
    update: (output) => update(node, viewer, output),
    restore: () => restore(node, viewer),
    close: () => viewer.close(),
    menuText: () => say(node.showAdvanced ? "hide_inputs" : "show_inputs"),
  };
}

/** Give a node the key of its cached manifest, when there is the first one. @param {Node} node */
function addKey(node) {
  if (saved(node).key) return;
  node.properties[NAME] = { ...saved(node), key: Math.random().toString(36).slice(2) };
  noteChange();
}

/** Show the data of a run, and cache their manifest so that a reload shows them again.
 * @param {Node} node @param {Viewer} viewer @param {any} output */
function update(node, viewer, output) {
  /** @type {Manifest | undefined} */
  const manifest = output?.concept_viewer?.[0];
  if (!manifest) return;
  const { look, key } = saved(node);
  const same = JSON.stringify(lastManifest(node)) === JSON.stringify(manifest);
  if (key && !same) cacheManifest(sessionStorage, `${key} ${node.id}`, manifest);
  viewer.update(manifest, look, same);
}

/** Show again what a node showed last. @param {Node} node @param {Viewer} viewer */
function restore(node, viewer) {
  const manifest = lastManifest(node);
  if (manifest) viewer.show(manifest, saved(node).look);
  else viewer.readChoice();
}
