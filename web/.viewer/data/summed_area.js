// Mean values over any steps and layers, from a summed-area table.

/** @import {ImageRef} from "./types.js" */

/**
 * The stored values in a file.
 * @param {ArrayBuffer} buffer
 * @param {ImageRef} image
 * @returns {Uint16Array}
 */
export function decode(buffer, { dtype, shape }) {
  const count = shape.reduce((product, size) => product * size, 1);
  if (dtype !== "uint16") throw new Error(`Values are uint16, got ${dtype}. Update the pack, then reload this page.`);
  const bytes = buffer.byteLength;
  if (bytes !== 2 * count) throw new Error(`Expected ${2 * count} bytes of values, got ${bytes}.`);
  return new Uint16Array(buffer);
}

/**
 * Sums over steps [0, s) and layers [0, l) for every s and l, as whole numbers. They are exact while fewer than 65,537
 * values are summed, and differences of them stay exact even beyond.
 */
export class SummedAreaTable {
  /**
   * @param {Uint16Array} stored
   * @param {ImageRef} image
   * @param {number[]} stepWeights  one per S, whole numbers
   * @param {number[]} layerWeights  one per L, whole numbers
   */
  constructor(stored, { shape, offset, scale }, stepWeights, layerWeights) {
    const [steps, layers, concepts, frames, height, width] = shape;
    this.offset = offset;
    this.scale = scale;
    this.stepWeights = stepWeights;
    this.layerWeights = layerWeights;
    this.concepts = concepts;
    this.frames = frames;
    this.height = height;
    this.width = width;
    /** Values per step and layer. */
    this.size = concepts * frames * height * width;
    this.stride = (layers + 1) * this.size;
    this.sums = new Uint32Array((steps + 1) * this.stride);
    const [{ sums, size, stride }, row] = [this, new Uint32Array(this.size)];
    for (let step = 0; step < steps; step++) {
      row.fill(0);
      for (let layer = 0; layer < layers; layer++) {
        const from = (step * layers + layer) * size;
        const above = step * stride + (layer + 1) * size;
        const to = above + stride;
        const weight = stepWeights[step] * layerWeights[layer];
        for (let index = 0; index < size; index++) {
          row[index] += weight * stored[from + index];
          sums[to + index] = sums[above + index] + row[index];
        }
      }
    }
  }

  /**
   * The mean over steps and layers for one latent frame: four look-ups per rectangle of neighbouring steps and layers.
   * @param {number[]} steps  ascending
   * @param {number[]} layers  ascending
   * @param {number} frame
   * @returns {Float32Array} [C, H, W]
   */
  mean(steps, layers, frame) {
    const { sums, size, stride, concepts, frames, offset } = this;
    const tokens = this.height * this.width;
    const total = new Float64Array(concepts * tokens);
    for (const [top, bottom] of runs(steps)) {
      for (const [left, right] of runs(layers)) {
        const corners = [top * stride + left * size, top * stride + right * size];
        const [a, b] = corners;
        const [c, d] = corners.map((corner) => corner + (bottom - top) * stride);
        for (let concept = 0; concept < concepts; concept++) {
          const from = (concept * frames + frame) * tokens;
          for (let token = 0, to = concept * tokens; token < tokens; token++, to++) {
            const at = from + token;
            total[to] += (sums[d + at] - sums[c + at] - sums[b + at] + sums[a + at]) >>> 0;
          }
        }
      }
    }
    const weight = sumOf(steps, this.stepWeights) * sumOf(layers, this.layerWeights);
    const factor = this.scale / weight;
    const mean = new Float32Array(total.length);
    for (let index = 0; index < mean.length; index++) mean[index] = offset + factor * total[index];
    return mean;
  }
}

/**
 * [first, last + 1] of each run of consecutive numbers.
 * @param {number[]} numbers ascending
 * @returns {[number, number][]}
 */
function runs(numbers) {
  /** @type {[number, number][]} */
  const found = [];
  for (const index of numbers) {
    const last = found[found.length - 1];
    if (last && last[1] === index) last[1] += 1;
    else found.push([index, index + 1]);
  }
  return found;
}

/** @param {number[]} indices @param {number[]} weights */
function sumOf(indices, weights) {
  return indices.reduce((sum, index) => sum + weights[index], 0);
}
