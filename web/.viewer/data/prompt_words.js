// Words of the prompt that could be concepts, from the graph as it is queued.

/**
 * A graph as it is queued: nodes by id; an input is a value or a link [id, output].
 * @typedef {Record<string, {class_type: string, inputs: Record<string, unknown>}>} Prompt
 *
 * @typedef {{words: string[], target: string | null}} Found  target: the node whose `concepts` are the concepts' words
 */

const ENCODER = "ConceptEncode";
const TAKES_WORDS = [ENCODER, "ConceptAttentionPatchModel"]; // inputs `concepts` of these are words, unless linked
const COMMON =
  "a an and are as at be behind below beside between by for from has in inside into is it its near of off on onto or " +
  "out over some that the their there these this those through to top under up very was were which with without " +
  "photo photograph picture image painting drawing illustration style detailed high quality highly best masterpiece";
const SKIPPED = new Set(COMMON.split(" "));

/** @param {unknown} value @returns {string | null} the node that a link leads to */
function linkedNode(value) {
  return Array.isArray(value) && value.length === 2 ? String(value[0]) : null;
}

/**
 * Every node that a node depends on, the nearest first. Links into inputs called `negative` are left out.
 * @param {Prompt} prompt
 * @param {string} start
 * @returns {string[]}
 */
function upstream(prompt, start) {
  const found = [start];
  for (const id of found) {
    for (const [name, value] of Object.entries(prompt[id]?.inputs ?? {})) {
      const source = name === "negative" ? null : linkedNode(value);
      if (source && prompt[source] && !found.includes(source)) found.push(source);
    }
  }
  return found;
}

/** Single words of a text, without common ones. @param {string} text @returns {string[]} */
export function wordsIn(text) {
  const words = text.toLowerCase().match(/\p{L}[\p{L}\p{M}'’-]*/gu) ?? [];
  return [...new Set(words)].filter((word) => word.length > 1 && !SKIPPED.has(word));
}

/**
 * @param {Prompt} prompt
 * @param {string} viewer  its id
 * @param {string[]} known  names of the concepts that are there already
 * @returns {Found}
 */
export function wordsOfPrompt(prompt, viewer, known) {
  const nodes = upstream(prompt, viewer);
  const takes = (/** @type {string} */ id) =>
    TAKES_WORDS.includes(prompt[id].class_type) && typeof prompt[id].inputs.concepts === "string";
  const texts = nodes
    .filter((id) => !takes(id))
    .flatMap((id) => Object.entries(prompt[id].inputs))
    .filter(([name, value]) => /^(text|prompt|t5xxl|clip_l)/.test(name) && typeof value === "string")
    .map(([, value]) => String(value));
  const there = new Set(known.map((name) => name.toLowerCase()));
  const words = wordsIn(texts.join("\n")).filter((word) => !there.has(word));
  return { words, target: nodes.find(takes) ?? null };
}

/** A list of concepts with one more. @param {string} concepts  as written @param {string} word */
export function withWord(concepts, word) {
  const separator = concepts.includes("\n") || !concepts.trim() ? "\n" : ", ";
  return concepts.trim() ? `${concepts.trimEnd().replace(/,$/, "")}${separator}${word}` : word;
}
