// The order in which concepts are listed.

/** @import {Concept, SortName} from "./types.js" */

/** @type {SortName[]} */
export const SORTS = ["written", "share", "concentration", "name"];

/**
 * How concentrated each heatmap is: the part of its total, 0-1, in the tenth of its tokens where it is highest.
 * @param {Float32Array} maps  [C, ...]
 * @param {number} concepts
 * @returns {number[]} a tenth for an even map
 */
export function concentrations(maps, concepts) {
  const tokens = maps.length / concepts;
  const most = Math.ceil(tokens / 10);
  return Array.from({ length: concepts }, (_, concept) => {
    const ordered = maps.slice(concept * tokens, (concept + 1) * tokens).sort();
    const total = ordered.reduce((sum, value) => sum + value, 0);
    const top = ordered.subarray(tokens - most).reduce((sum, value) => sum + value, 0);
    return total > 0 ? top / total : 0;
  });
}

/**
 * Positions of concepts in the order wanted; equal ones stay as they were written.
 * @param {SortName} by
 * @param {Concept[]} concepts
 * @param {number[]} means  one per concept
 * @param {number[]} concentrated  one per concept
 * @returns {number[]}
 */
export function orderOf(by, concepts, means, concentrated) {
  const positions = concepts.map((_, index) => index);
  if (by === "name") return positions.sort((a, b) => concepts[a].name.localeCompare(concepts[b].name));
  const keys = by === "share" ? means : by === "concentration" ? concentrated : null;
  return keys ? positions.sort((a, b) => keys[b] - keys[a]) : positions;
}
