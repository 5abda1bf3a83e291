// Parsing and formatting of the node's widgets `concepts`, `layers` and `steps`, by the server's rules.
// Parsed values are positions in the data: C, L and S.

/** @import {Concept, Manifest} from "./types.js" */

const REORDERING = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g; // marks of writing direction
const RANGE = /^\s*(-?\d{1,9})\s*(?:-\s*(-?\d{1,9})\s*)?$/;

/**
 * Positions that a text such as `3,7,9-11` or `-1` selects; null if it is invalid.
 * @param {string} text
 * @param {(number: number) => number} position  of one number; below 0 if it does not exist
 * @returns {number[] | null}
 */
function parseNumbers(text, position) {
  const positions = new Set();
  for (const part of text.split(",")) {
    const match = RANGE.exec(part);
    if (!match) return null;
    const first = Number(match[1]);
    const last = match[2] === undefined ? first : Number(match[2]);
    const [from, to] = [position(first), position(last)];
    if (from < 0 || to < from || (first >= 0 && last >= first && to - from !== last - first)) return null;
    for (let index = from; index <= to; index++) positions.add(index);
  }
  return [...positions];
}

/** @param {number[]} numbers ascending @returns {string} such as `3,7,9-11` */
export function formatNumbers(numbers) {
  const parts = [];
  for (let start = 0, end = 0; start < numbers.length; start = end + 1) {
    end = start;
    while (end + 1 < numbers.length && numbers[end + 1] === numbers[end] + 1) end += 1;
    parts.push(end > start ? `${numbers[start]}-${numbers[end]}` : `${numbers[start]}`);
  }
  return parts.join(",");
}

/** Positions of the groups that contain any of the numbers. @param {number[]} numbers @param {number[][]} groups */
function groupsOf(numbers, groups) {
  return groups.flatMap((group, index) => (group.some((number) => numbers.includes(number)) ? [index] : []));
}

/** @param {Manifest} manifest @returns {number[]} the L that `auto` selects */
export function defaultLayers({ default_layers, layer_groups }) {
  const recorded = groupsOf(default_layers, layer_groups);
  return recorded.length ? recorded : layer_groups.map((_, index) => index);
}

/**
 * The L that a text selects; null if it is invalid or names a layer that was not recorded.
 * @param {string} text @param {Manifest} manifest @returns {number[] | null}
 */
export function parseLayers(text, manifest) {
  const word = text.trim().toLowerCase();
  const groups = manifest.layer_groups;
  if (word === "auto") return defaultLayers(manifest);
  if (word === "all") return groups.map((_, index) => index);
  const recorded = groups.flat();
  const positions = parseNumbers(text, (layer) => recorded.indexOf(layer));
  return positions && groupsOf(positions.map((position) => recorded[position]), groups);
}

/**
 * The S that a text selects; null if it is invalid or names a step that does not exist.
 * @param {string} text @param {Manifest} manifest @returns {number[] | null}
 */
export function parseSteps(text, { step_groups: groups }) {
  if (text.trim().toLowerCase() === "all") return groups.map((_, index) => index);
  const count = groups.flat().length;
  const positions = parseNumbers(text, (step) => (step < -count || step >= count ? -1 : (step + count) % count));
  return positions && groupsOf(positions, groups);
}

/** @param {number[]} layers L @param {Manifest} manifest @returns {string} */
export function formatLayers(layers, manifest) {
  if (isEqual(layers, defaultLayers(manifest))) return "auto";
  if (layers.length === manifest.layer_groups.length) return "all";
  return formatNumbers(layers.flatMap((index) => manifest.layer_groups[index]));
}

/** @param {number[]} steps S @param {Manifest} manifest @returns {string} */
export function formatSteps(steps, { step_groups: groups }) {
  return steps.length === groups.length ? "all" : formatNumbers(steps.flatMap((index) => groups[index]));
}

/** @param {number[]} a @param {number[]} b */
function isEqual(a, b) {
  return a.length === b.length && a.every((item, index) => item === b[index]);
}

/** @param {string} name @returns {string} the same for names that the server takes for equal */
function normalize(name) {
  const visible = name.normalize("NFC").replace(REORDERING, "");
  return visible.split(/\s+/).filter(Boolean).join(" ").toLowerCase().normalize("NFC");
}

/**
 * Positions of the concepts that a text names, in the order of the text; null if one of them does not exist.
 * @param {string} text  comma-separated or one per line; `\,`, `\:` and `\\` stand for the character itself
 * @param {Concept[]} concepts
 * @returns {number[] | null}
 */
export function parseNames(text, concepts) {
  const entries = text.split("\n").flatMap((line) => line.match(/(?:\\.|[^,\\]|\\$)+/g) ?? []);
  const names = entries.map((entry) => /^(?:\\.|[^:\\]|\\$)*/.exec(entry)?.[0] ?? ""); // without a longer phrase
  const wanted = names.map((name) => normalize(name.replace(/\\([,:\\])/g, "$1")));
  const known = concepts.map((concept) => normalize(concept.name));
  const found = wanted.filter(Boolean).map((name) => known.indexOf(name));
  return found.includes(-1) ? null : [...new Set(found)];
}

/** @param {number[]} indices @param {Concept[]} concepts @returns {string} */
export function formatNames(indices, concepts) {
  return indices.map((index) => concepts[index].name.replace(/[,:\\]/g, "\\$&")).join(", ");
}
