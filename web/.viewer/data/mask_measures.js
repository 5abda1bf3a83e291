// Measures of the mask on display: the level at which the heatmap is cut, and the area of the mask.

import { axis, coverage, resize } from "./geometry.js";
import { joinConcepts } from "./heatmaps.js";
import { argmaxMask, cut, levelOf } from "./masks.js";

/** @import {Level} from "./masks.js" */
/** @import {Scene} from "./scene.js" */
/** @import {Choice, Kind, Plane} from "./types.js" */

const QUICK = 2 ** 12; // pixels examined while something moves
const SETTLED = 2 ** 19; // and afterwards; the server examines all of them
const SIDE = 96; // pixels along each side to measure the area in

/**
 * The level of a method that has one; null for the others.
 * @param {() => Float32Array[]} frames  heatmaps [C, H, W] of every latent frame
 * @param {number[]} concepts
 * @param {{grid: [number, number], visible: [number, number], image_size: [number, number], kind: Kind}} size
 * @param {Choice} choice
 * @param {boolean} settled
 * @returns {Level | null}
 */
export function measureLevel(frames, concepts, { grid, visible, image_size, kind }, choice, settled) {
  const { method, threshold, percentile } = choice;
  if (method === "soft" || method === "argmax") return null;
  if (method === "threshold") return levelOf(new Float32Array(), method, threshold, percentile);
  const all = frames();
  const pixels = all.length * image_size[0] * image_size[1];
  const shrink = Math.max(1, Math.sqrt(pixels / (settled ? SETTLED : QUICK)));
  const [height, width] = image_size.map((side) => Math.max(1, Math.round(side / shrink)));
  const rows = axis(grid[0], visible[0], height);
  const columns = axis(grid[1], visible[1], width);
  const values = new Float32Array(all.length * height * width);
  all.forEach((maps, frame) => {
    const part = values.subarray(frame * height * width, (frame + 1) * height * width);
    resize(joinConcepts(maps, grid[0] * grid[1], concepts, kind), grid[1], rows, columns, part);
  });
  return levelOf(values, method, threshold, percentile);
}

/**
 * The share of the image, 0-1, inside the mask of the shown concepts.
 * @param {Scene} scene
 * @returns {number}
 */
export function measureArea({ maps, grid, visible, shown, concepts, method, level, kind }) {
  const tokens = grid[0] * grid[1];
  if (method === "soft") {
    const map = joinConcepts(maps, tokens, shown, kind);
    return coverage(grid, visible).reduce((sum, part, token) => sum + part * map[token], 0);
  }
  const rows = axis(grid[0], visible[0], SIDE);
  const columns = axis(grid[1], visible[1], SIDE);
  /** @param {number[]} chosen */
  const enlarged = (chosen) => resize(joinConcepts(maps, tokens, chosen, kind), grid[1], rows, columns).values;
  let mask;
  if (method === "argmax") mask = argmaxMask(concepts.map((_, index) => enlarged([index])), shown);
  else {
    mask = enlarged(shown);
    if (level) cut(mask, level);
  }
  return mask.reduce((sum, value) => sum + value, 0) / mask.length;
}

/** The share of the image, 0-1, inside a mask. @param {Plane} mask */
export function areaInside({ values }) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
