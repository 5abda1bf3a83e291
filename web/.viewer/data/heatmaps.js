// Heatmaps of the selected steps and layers.

/** @import {SummedAreaTable} from "./summed_area.js" */
/** @import {Kind, Manifest} from "./types.js" */

/**
 * The heatmaps of one latent frame.
 * @param {SummedAreaTable} table
 * @param {Pick<Manifest, "average" | "temperature">} manifest
 * @param {number[]} steps
 * @param {number[]} layers
 * @param {number} frame
 * @returns {Float32Array} [C, H, W]
 */
export function makeHeatmaps(table, manifest, steps, layers, frame) {
  const mean = table.mean(steps, layers, frame);
  if (manifest.average === "softmax") softmax(mean, table.concepts, manifest.temperature);
  return mean;
}

/**
 * Softmax over the concepts at each token, in place.
 * @param {Float32Array} scores [C, ...]
 * @param {number} concepts
 * @param {number} temperature
 */
function softmax(scores, concepts, temperature) {
  const tokens = scores.length / concepts;
  const exponents = new Float64Array(concepts);
  for (let token = 0; token < tokens; token++) {
    let highest = -Infinity;
    for (let concept = 0; concept < concepts; concept++) {
      exponents[concept] = scores[concept * tokens + token];
      highest = Math.max(highest, exponents[concept]);
    }
    let total = 0;
    for (let concept = 0; concept < concepts; concept++) {
      exponents[concept] = Math.exp((exponents[concept] - highest) / temperature);
      total += exponents[concept];
    }
    for (let concept = 0; concept < concepts; concept++) scores[concept * tokens + token] = exponents[concept] / total;
  }
}

/**
 * Some concepts' heatmaps together, from which their common mask is made: shares add up; concepts that are present may
 * overlap, so the greatest presence counts.
 * @param {Float32Array} maps [C, ...]
 * @param {number} tokens  values per concept
 * @param {number[]} concepts
 * @param {Kind} kind
 * @returns {Float32Array} for one concept a view of `maps`, not a copy
 */
export function joinConcepts(maps, tokens, concepts, kind) {
  const first = maps.subarray(concepts[0] * tokens, (concepts[0] + 1) * tokens);
  if (concepts.length === 1) return first;
  const joined = first.slice();
  for (const concept of concepts.slice(1)) joinInto(joined, maps.subarray(concept * tokens, (concept + 1) * tokens), kind);
  return joined;
}

/** Join one more heatmap with others, in place. @param {Float32Array} joined @param {Float32Array} map @param {Kind} kind */
export function joinInto(joined, map, kind) {
  if (kind === "presence") for (let at = 0; at < map.length; at++) joined[at] = Math.max(joined[at], map[at]);
  else for (let at = 0; at < map.length; at++) joined[at] += map[at];
}
