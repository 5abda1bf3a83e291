// Masks as the server makes them, of maps that are already as large as they will be shown.

/** @import {Method} from "./types.js" */

const ROUNDING = 1e-6; // relative: what float32 arithmetic alone leaves in a flat map

/** @type {Method[]} */
export const METHODS = ["soft", "threshold", "argmax", "mean", "otsu", "percentile"];
/** @type {Method[]} The ones that compare a map with itself, and so take any kind of map. */
export const RELATIVE = ["mean", "otsu", "percentile"];

/** What is above `above` and, where given, at least `least` belongs to the mask.
 * @typedef {{above: number, least?: number}} Level */

/**
 * The level at which a method cuts a map.
 * @param {Float32Array} values  all of one picture or video
 * @param {Method} method
 * @param {number} threshold
 * @param {number} percentile
 * @returns {Level}
 */
export function level(values, method, threshold, percentile) {
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
 * The greatest value of the lower class, of all splits in two the one of greatest between-class variance.
 * @param {Float32Array} values  not all equal
 * @returns {number}
 */
export function otsuLevel(values) {
  const ordered = values.slice().sort();
  const count = ordered.length;
  let mean = 0;
  for (const value of ordered) mean += value / count;
  let [sum, best, chosen] = [0, -1, 0];
  for (let below = 1; below < count; below++) {
    sum += ordered[below - 1] - mean;
    if (ordered[below - 1] === ordered[below]) continue; // equal values cannot be split
    const between = (sum * sum) / (below * (count - below));
    if (between > best) [best, chosen] = [between, below - 1];
  }
  return ordered[chosen];
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
 * A map cut at a level, in place: ones and zeros.
 * @param {Float32Array} values
 * @param {Level} level
 */
export function cut(values, { above, least = -Infinity }) {
  for (let index = 0; index < values.length; index++) {
    values[index] = values[index] > above && values[index] >= least ? 1 : 0;
  }
}

/**
 * Where one of the chosen maps is above all others; a tie is not won.
 * @param {Float32Array[]} maps  all of one size
 * @param {number[]} chosen
 * @returns {Float32Array} ones and zeros
 */
export function wins(maps, chosen) {
  const count = maps[0].length;
  const margin = new Float32Array(count).fill(-Infinity);
  for (const index of chosen) for (let i = 0; i < count; i++) margin[i] = Math.max(margin[i], maps[index][i]);
  const won = new Float32Array(count).fill(1);
  maps.forEach((map, index) => {
    if (!chosen.includes(index)) for (let i = 0; i < count; i++) if (!(margin[i] > map[i])) won[i] = 0;
  });
  return won;
}

/**
 * What a map says at one place.
 * @param {number[]} values  one per concept
 * @returns {number} the concept of the highest value, of equal ones the first
 */
export function winner(values) {
  return values.reduce((best, value, index) => (value > values[best] ? index : best), 0);
}

/**
 * Whether no concept stands out: the highest share is hardly above an even one.
 * @param {number[]} shares
 */
export function nothingFits(shares) {
  const even = 1 / shares.length;
  return shares.length > 1 && Math.max(...shares) < even + 0.15 * (1 - even);
}
