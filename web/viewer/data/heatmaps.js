// From the chosen steps and layers to one map per concept.

/** @import {Cells} from "./summed_area.js" */
/** @import {Manifest} from "./types.js" */

/**
 * Finished maps of one frame, [C, H, W].
 * @param {Cells} cells
 * @param {Pick<Manifest, "average" | "temperature">} manifest
 * @param {number[]} steps
 * @param {number[]} layers
 * @param {number} frame
 * @returns {Float32Array}
 */
export function reduce(cells, manifest, steps, layers, frame) {
  const mean = cells.mean(steps, layers, frame);
  if (manifest.average === "softmax") softmax(mean, cells.concepts, manifest.temperature);
  return mean;
}

/**
 * Softmax over concepts at every place, in place.
 * @param {Float32Array} maps [C, ...]
 * @param {number} concepts
 * @param {number} temperature
 */
export function softmax(maps, concepts, temperature) {
  const cells = maps.length / concepts;
  const scores = new Float64Array(concepts);
  for (let cell = 0; cell < cells; cell++) {
    let highest = -Infinity;
    for (let concept = 0; concept < concepts; concept++) {
      scores[concept] = maps[concept * cells + cell];
      highest = Math.max(highest, scores[concept]);
    }
    let total = 0;
    for (let concept = 0; concept < concepts; concept++) {
      scores[concept] = Math.exp((scores[concept] - highest) / temperature);
      total += scores[concept];
    }
    for (let concept = 0; concept < concepts; concept++) maps[concept * cells + cell] = scores[concept] / total;
  }
}

/**
 * One map out of several concepts': their sum, as masks take them together.
 * @param {Float32Array} maps [C, ...]
 * @param {number} cells  values of one map
 * @param {number[]} chosen
 * @returns {Float32Array}
 */
export function together(maps, cells, chosen) {
  if (chosen.length === 1) return maps.subarray(chosen[0] * cells, (chosen[0] + 1) * cells);
  const sum = new Float32Array(cells);
  for (const concept of chosen) {
    for (let cell = 0, from = concept * cells; cell < cells; cell++) sum[cell] += maps[from + cell];
  }
  return sum;
}
