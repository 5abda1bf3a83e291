// Concepts, layers and steps between the texts of the node's widgets and positions in its data, read as the server
// reads them.

/** @import {Concept, Manifest} from "./types.js" */

const RANGE = /^\s*(-?\d{1,9})\s*(?:-\s*(-?\d{1,9})\s*)?$/;

/**
 * Positions of what a text such as `3,7,9-11` or `-1` selects; null if it is no selection.
 * @param {string} text
 * @param {(number: number) => number} position  of one number; below 0 if there is none
 * @returns {number[] | null}
 */
function parseNumbers(text, position) {
  const chosen = new Set();
  for (const part of text.split(",")) {
    const match = RANGE.exec(part);
    if (!match) return null;
    const first = Number(match[1]);
    const last = match[2] === undefined ? first : Number(match[2]);
    const [from, to] = [position(first), position(last)];
    if (from < 0 || to < from || (first >= 0 && last >= first && to - from !== last - first)) return null;
    for (let index = from; index <= to; index++) chosen.add(index);
  }
  return [...chosen];
}

/** @param {number[]} numbers ascending; @returns {string} such as `3,7,9-11` */
export function formatNumbers(numbers) {
  const parts = [];
  for (let start = 0, end = 0; start < numbers.length; start = end + 1) {
    end = start;
    while (end + 1 < numbers.length && numbers[end + 1] === numbers[end] + 1) end += 1;
    parts.push(end > start ? `${numbers[start]}-${numbers[end]}` : `${numbers[start]}`);
  }
  return parts.join(",");
}

/** Groups that hold any of the numbers. @param {number[]} numbers @param {number[][]} groups @returns {number[]} */
function groupsOf(numbers, groups) {
  return groups.flatMap((group, index) => (group.some((number) => numbers.includes(number)) ? [index] : []));
}

/** @param {Manifest} manifest @returns {number[]} the L that `auto` means */
export function defaultLayers({ default_layers, layer_groups }) {
  const usual = groupsOf(default_layers, layer_groups);
  return usual.length ? usual : layer_groups.map((_, index) => index);
}

/**
 * Which L a text means; null if it cannot be read or names a layer that was not recorded.
 * @param {string} text @param {Manifest} manifest @returns {number[] | null}
 */
export function parseLayers(text, manifest) {
  const written = text.trim().toLowerCase();
  const groups = manifest.layer_groups;
  if (written === "auto") return defaultLayers(manifest);
  if (written === "all") return groups.map((_, index) => index);
  const kept = groups.flat();
  const places = parseNumbers(text, (layer) => kept.indexOf(layer));
  return places && groupsOf(places.map((place) => kept[place]), groups);
}

/**
 * Which S a text means; null if it cannot be read or names a step that does not exist.
 * @param {string} text @param {Manifest} manifest @returns {number[] | null}
 */
export function parseSteps(text, { step_groups: groups }) {
  if (text.trim().toLowerCase() === "all") return groups.map((_, index) => index);
  const count = groups.flat().length;
  const places = parseNumbers(text, (step) => (step < -count || step >= count ? -1 : (step + count) % count));
  return places && groupsOf(places, groups);
}

/** @param {number[]} chosen @param {Manifest} manifest @returns {string} */
export function formatLayers(chosen, manifest) {
  if (same(chosen, defaultLayers(manifest))) return "auto";
  if (chosen.length === manifest.layer_groups.length) return "all";
  return formatNumbers(chosen.flatMap((index) => manifest.layer_groups[index]));
}

/** @param {number[]} chosen @param {Manifest} manifest @returns {string} */
export function formatSteps(chosen, { step_groups: groups }) {
  return chosen.length === groups.length ? "all" : formatNumbers(chosen.flatMap((index) => groups[index]));
}

/** @param {number} from @param {number} to @returns {number[]} all from the one to the other, both included */
export function span(from, to) {
  return Array.from({ length: to - from + 1 }, (_, index) => from + index);
}

/** @param {number[]} a @param {number[]} b */
export function same(a, b) {
  return a.length === b.length && a.every((item, index) => item === b[index]);
}

/** @param {string} name @returns {string} */
function folded(name) {
  return name.normalize("NFC").split(/\s+/).filter(Boolean).join(" ").toLowerCase().normalize("NFC");
}

/**
 * Positions of the concepts that a text names, in the order written; null if one of them is not there.
 * @param {string} text  comma-separated or one per line; `\,`, `\:` and `\\` stand for the character itself
 * @param {Concept[]} concepts
 * @returns {number[] | null}
 */
export function parseNames(text, concepts) {
  const names = text.split("\n").flatMap((line) => line.match(/(?:\\.|[^,\\]|\\$)+/g) ?? []);
  const shorts = names.map((name) => /^(?:\\.|[^:\\]|\\$)*/.exec(name)?.[0] ?? ""); // without a longer phrase
  const written = shorts.map((name) => folded(name.replace(/\\([,:\\])/g, "$1")));
  const known = concepts.map((concept) => folded(concept.name));
  const found = written.filter(Boolean).map((name) => known.indexOf(name));
  return found.includes(-1) ? null : [...new Set(found)];
}

/** @param {number[]} chosen @param {Concept[]} concepts @returns {string} */
export function formatNames(chosen, concepts) {
  return chosen.map((index) => concepts[index].name.replace(/[,:\\]/g, "\\$&")).join(", ");
}
