// The mask of one image or frame as the node returns it, finished: what `masks.js` alone does not do.

import { blurMask, dropIslands, fillHoles, growMask } from "./finish.js";
import { axis, clamp, resize } from "./geometry.js";
import { sharpen } from "./guided.js";
import { joinConcepts, joinInto } from "./heatmaps.js";
import { argmaxMask, cut } from "./masks.js";

/** @import {Level} from "./masks.js" */
/** @import {Choice, Kind, Plane} from "./types.js" */

/** Whether a mask differs from the one that its method alone makes. @param {Choice} choice @param {number[]} subtracted */
export function isFinished({ method, holes, islands, grow, blur, guided }, subtracted) {
  const edges = method !== "soft" && (holes > 0 || islands > 0);
  return subtracted.length > 0 || edges || grow !== 0 || blur > 0 || guided;
}

/**
 * @typedef {object} MaskSource
 * @property {Float32Array} maps  heatmaps [C, H, W] of the frame
 * @property {number} concepts
 * @property {[number, number]} grid  [height, width]
 * @property {[number, number]} visible
 * @property {Kind} kind
 * @property {Plane[] | null} colours  of the image, to follow its edges; null does not
 * @property {[number, number]} size  [height, width] of the mask
 * @property {number} scale  pixels of the mask per pixel of the image
 * @property {(concepts: number[], sum: Plane) => Level | null} levelOf  at which the sum of some heatmaps is cut
 */

/**
 * @param {MaskSource} source
 * @param {number[]} chosen  concepts
 * @param {number[]} subtracted  concepts
 * @param {Choice} choice
 * @returns {Plane}
 */
export function finishedMask(source, chosen, subtracted, choice) {
  const { maps, concepts, grid, visible, kind, colours, size, scale, levelOf } = source;
  const tokens = grid[0] * grid[1];
  const [rows, columns] = [axis(grid[0], visible[0], size[0]), axis(grid[1], visible[1], size[1])];
  const each = Array.from({ length: concepts }, (_, index) => maps.subarray(index * tokens, (index + 1) * tokens));
  const sharp = colours && sharpen(each, grid, visible, colours, size);
  /** The heatmaps of some concepts together. @param {number[]} some @returns {Plane} */
  const together = (some) => {
    if (!sharp) return resize(joinConcepts(maps, tokens, some, kind), grid[1], rows, columns);
    const [first, ...others] = some;
    const values = sharp[first].values.slice();
    for (const concept of others) joinInto(values, sharp[concept].values, kind);
    return { values, width: size[1], height: size[0] };
  };
  /** @param {number[]} some @returns {Plane} */
  const maskOf = (some) => {
    if (choice.method === "argmax") {
      const planes = each.map((_, index) => sharp?.[index] ?? together([index]));
      return { ...planes[0], values: argmaxMask(planes.map(({ values }) => values), some) };
    }
    const mask = together(some);
    const level = levelOf(some, mask);
    if (level) cut(mask.values, level);
    return mask;
  };
  const mask = maskOf(chosen);
  if (subtracted.length) {
    maskOf(subtracted).values.forEach((value, index) => (mask.values[index] = Math.max(mask.values[index] - value, 0)));
  }
  if (choice.method !== "soft") {
    fillHoles(mask, choice.holes);
    dropIslands(mask, choice.islands);
  }
  const finished = blurMask(growMask(mask, Math.round(choice.grow * scale)), choice.blur * scale);
  return { ...finished, values: finished.values.map((value) => clamp(value, 0, 1)) };
}
