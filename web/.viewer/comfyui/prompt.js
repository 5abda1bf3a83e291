// The graph as it is queued: words of the prompt for a viewer, and writing a word into the node that has the concepts.

import { app } from "../../../../scripts/app.js";
import { withWord, wordsOfPrompt } from "../data/prompt_words.js";

/** @import {Node} from "../../../../scripts/app.js" */

/** The node at a place such as `12:3`: node 3 in the subgraph of node 12. @param {string} place
 * @returns {Node | null | undefined} */
function nodeAt(place) {
  /** @type {Node | null | undefined} */
  let node = null;
  let graph = /** @type {import("../../../../scripts/app.js").Graph | undefined} */ (app.rootGraph ?? app.graph);
  for (const id of place.split(":")) {
    node = graph?.getNodeById(id);
    graph = node?.subgraph;
  }
  return node;
}

/**
 * Words of the prompt that a node depends on, and the node whose words are the concepts.
 * @param {Node} node
 * @param {string} type  of the node
 * @param {string[]} known  names of concepts that are there already
 * @returns {Promise<{words: string[], target: string | null}>}
 */
export async function findWords(node, type, known) {
  const { output } = await app.graphToPrompt();
  const place = Object.keys(output).find(
    (key) => output[key].class_type === type && key.split(":").pop() === String(node.id),
  );
  return place ? wordsOfPrompt(output, place, known) : { words: [], target: null };
}

/** Add a word to a node's concepts. @param {string} target @param {string} word @returns {boolean} whether it was */
export function addWord(target, word) {
  const widget = nodeAt(target)?.widgets?.find(({ name }) => name === "concepts");
  if (!widget) return false;
  widget.value = withWord(String(widget.value ?? ""), word);
  widget.callback?.(widget.value);
  app.canvas.setDirty(true, true);
  return true;
}
