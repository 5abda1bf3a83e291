// Numbers of the mask that is shown: the level it is cut at, and how much of the picture it holds.

import { axis, coverage, resize } from "./geometry.js";
import { cut, level, wins } from "./masks.js";
import { together } from "./heatmaps.js";

/** @import {Scene} from "../view/painter.js" */
/** @import {Level} from "./masks.js" */
/** @import {Choice} from "./types.js" */

const QUICK = 2 ** 12; // pixels looked at while something moves
const SETTLED = 2 ** 19; // and afterwards; the server looks at all of them
const SIDE = 96; // pixels along each side to count a mask in

/**
 * The level of a method that has one; null for the others.
 * @param {() => Float32Array[]} film  maps [C, H, W] of every frame
 * @param {number[]} concepts
 * @param {{grid: [number, number], visible: [number, number], image_size: [number, number]}} size
 * @param {Choice} choice
 * @param {boolean} settled
 * @returns {Level | null}
 */
export function measureLevel(film, concepts, { grid, visible, image_size }, choice, settled) {
  const { method, threshold, percentile } = choice;
  if (method === "soft" || method === "argmax") return null;
  if (method === "threshold") return level(new Float32Array(), method, threshold, percentile);
  const frames = film();
  const pixels = frames.length * image_size[0] * image_size[1];
  const shrink = Math.max(1, Math.sqrt(pixels / (settled ? SETTLED : QUICK)));
  const [height, width] = image_size.map((side) => Math.max(1, Math.round(side / shrink)));
  const rows = axis(grid[0], visible[0], height);
  const columns = axis(grid[1], visible[1], width);
  const values = new Float32Array(frames.length * height * width);
  frames.forEach((maps, frame) => {
    const part = values.subarray(frame * height * width, (frame + 1) * height * width);
    resize(together(maps, grid[0] * grid[1], concepts), grid[1], rows, columns, part);
  });
  return level(values, method, threshold, percentile);
}

/**
 * How much of the picture the mask of the shown concepts holds, 0-1.
 * @param {Scene} scene
 * @returns {number}
 */
export function measureArea({ maps, grid, visible, shown, concepts, method, level: at }) {
  const cells = grid[0] * grid[1];
  if (method === "soft") {
    const map = together(maps, cells, shown);
    return coverage(grid, visible).reduce((sum, part, cell) => sum + part * map[cell], 0);
  }
  const rows = axis(grid[0], visible[0], SIDE);
  const columns = axis(grid[1], visible[1], SIDE);
  /** @param {number[]} chosen */
  const plane = (chosen) => resize(together(maps, cells, chosen), grid[1], rows, columns).values;
  let mask;
  if (method === "argmax") mask = wins(concepts.map((_, index) => plane([index])), shown);
  else {
    mask = plane(shown);
    if (at) cut(mask, at);
  }
  return mask.reduce((sum, value) => sum + value, 0) / mask.length;
}
