// Masks as the server makes them, from heatmaps at display size.

/** @import {Kind, Method} from "./types.js" */

const ROUNDING = 1e-6; // relative: what float32 arithmetic alone leaves in a flat map

/** @type {Method[]} */
export const METHODS = ["soft", "threshold", "argmax", "mean", "otsu", "percentile"];
/** @type {Method[]} Methods that compare a heatmap with itself, and so take any kind of heatmap. */
const RELATIVE = ["mean", "otsu", "percentile"];

/** Whether the node makes masks of this kind of heatmap with this method. @param {Kind} kind @param {Method} method */
export function accepts(kind, method) {
  return kind === "share" || kind === "presence" || RELATIVE.includes(method);
}

/** The mask holds values above `above` that, where `least` is given, are at least `least`.
 * @typedef {{above: number, least?: number}} Level */

/**
 * The level at which a method cuts a heatmap.
 * @param {Float32Array} values  the whole image or video
 * @param {Method} method
 * @param {number} threshold
 * @param {number} percentile
 * @returns {Level}
 */
export function levelOf(values, method, threshold, percentile) {
  if (method === "threshold") return { above: threshold };
  let [low, high, total] = [Infinity, -Infinity, 0];
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
    total += value;
  }
  const rounding = ROUNDING * Math.max(Math.abs(low), Math.abs(high));
  if (high - low <= rounding) return { above: Infinity };
  if (method === "mean") return { above: Math.fround(total / values.length) };
  if (method === "otsu") return { above: otsuLevel(values) };
  return { above: low + rounding, least: quantile(values, percentile) - rounding };
}

/**
 * Otsu's threshold: of all splits into two classes, the one with the greatest between-class variance.
 * @param {Float32Array} values  not all equal
 * @returns {number} the greatest value of the lower class
 */
export function otsuLevel(values) {
  const ordered = values.slice().sort();
  const count = ordered.length;
  let mean = 0;
  for (const value of ordered) mean += value / count;
  let [sum, best, split] = [0, -1, 0];
  for (let below = 1; below < count; below++) {
    sum += ordered[below - 1] - mean;
    if (ordered[below - 1] === ordered[below]) continue; // equal values cannot be split
    const between = (sum * sum) / (below * (count - below));
    if (between > best) [best, split] = [between, below - 1];
  }
  return ordered[split];
}

/** @param {Float32Array} values @param {number} percentile 0-100 @returns {number} interpolated between neighbours */
function quantile(values, percentile) {
  const ordered = values.slice().sort();
  const place = (percentile / 100) * (ordered.length - 1);
  const below = Math.floor(place);
  const above = Math.min(below + 1, ordered.length - 1);
  return ordered[below] + (ordered[above] - ordered[below]) * (place - below);
}

/**
 * Turn a heatmap into zeros and ones, in place.
 * @param {Float32Array} values
 * @param {Level} level
 */
export function cut(values, { above, least = -Infinity }) {
  for (let index = 0; index < values.length; index++) {
    values[index] = values[index] > above && values[index] >= least ? 1 : 0;
  }
}

/**
 * Where one of the chosen heatmaps is above all others; a tie does not count.
 * @param {Float32Array[]} maps  of equal size
 * @param {number[]} chosen
 * @returns {Float32Array} ones and zeros
 */
export function argmaxMask(maps, chosen) {
  const count = maps[0].length;
  const highest = new Float32Array(count).fill(-Infinity);
  for (const index of chosen) for (let i = 0; i < count; i++) highest[i] = Math.max(highest[i], maps[index][i]);
  const mask = new Float32Array(count).fill(1);
  maps.forEach((map, index) => {
    if (!chosen.includes(index)) for (let i = 0; i < count; i++) if (!(highest[i] > map[i])) mask[i] = 0;
  });
  return mask;
}
