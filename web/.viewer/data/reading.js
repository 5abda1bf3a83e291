// The values of all concepts at one pixel of the image, or their means over the image.

import { coverage, valueAt } from "./geometry.js";

/** @import {Memo} from "./memoize.js" */
/** @import {Scene} from "./scene.js" */
/** @import {Kind, Pixel} from "./types.js" */

/**
 * @param {Scene} scene
 * @param {Pixel | null} pixel
 * @param {Memo} memo
 * @returns {number[]} one value per concept
 */
export function readValues({ maps, grid, visible, imageSize, concepts }, pixel, memo) {
  const tokens = grid[0] * grid[1];
  const each = concepts.map((_, index) => maps.subarray(index * tokens, (index + 1) * tokens));
  if (pixel) return each.map((map) => valueAt(map, grid, visible, imageSize, pixel));
  return memo.get("means", [maps], () => {
    const parts = coverage(grid, visible);
    return each.map((map) => parts.reduce((sum, part, token) => sum + part * map[token], 0));
  });
}

/** The concept with the highest value; of equal ones, the first. @param {number[]} values  one per concept */
export function winnerOf(values) {
  return values.reduce((best, value, index) => (value > values[best] ? index : best), 0);
}

/**
 * A remark on the values at a pixel, or null.
 * @param {number[]} values  one per concept
 * @param {Kind} kind
 * @param {Scene["concepts"]} concepts
 * @returns {"nothing_fits" | "background_wins" | null}
 */
export function remarkOn(values, kind, concepts) {
  if (kind === "share" && isUndecided(values)) return "nothing_fits";
  return concepts[winnerOf(values)].role === "background" ? "background_wins" : null;
}

/** Whether no concept stands out: the highest share is hardly above an even one. @param {number[]} shares */
export function isUndecided(shares) {
  const even = 1 / shares.length;
  return shares.length > 1 && Math.max(...shares) < even + 0.15 * (1 - even);
}
