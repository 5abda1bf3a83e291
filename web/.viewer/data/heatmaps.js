// Heatmaps of the selected steps and layers.

/** @import {SummedAreaTable} from "./summed_area.js" */
/** @import {Manifest} from "./types.js" */

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
 * The sum of some concepts' heatmaps, from which their common mask is made.
 * @param {Float32Array} maps [C, ...]
 * @param {number} tokens  values per concept
 * @param {number[]} concepts
 * @returns {Float32Array} for one concept a view of `maps`, not a copy
 */
export function sumConcepts(maps, tokens, concepts) {
  if (concepts.length === 1) return maps.subarray(concepts[0] * tokens, (concepts[0] + 1) * tokens);
  const sum = new Float32Array(tokens);
  for (const concept of concepts) {
    for (let token = 0, from = concept * tokens; token < tokens; token++) sum[token] += maps[from + token];
  }
  return sum;
}
