// From state and values to what is drawn and read; what did not change is not computed again.

import { coverage, valueAt } from "./geometry.js";
import { measureArea, measureLevel } from "./mask_measures.js";
import { reduce } from "./heatmaps.js";
import { gridFrame, shown } from "./state.js";

/** @import {Cells} from "./summed_area.js" */
/** @import {Scene} from "../view/painter.js" */
/** @import {Memo} from "./memoize.js" */
/** @import {State} from "./state.js" */
/** @import {Manifest} from "./types.js" */

/**
 * @param {State} state
 * @param {Cells} cells
 * @param {HTMLImageElement | null} image
 * @param {boolean} settled  whether there is time to measure in full
 * @param {Memo} memo
 * @returns {Scene}
 */
export function makeScene(state, cells, image, settled, memo) {
  const { manifest, steps, layers, look, choice, picked, hovered } = state;
  const { visible, concepts, image_size: picture } = manifest;
  const frame = gridFrame(state);
  const chosen = [cells, steps.join(), layers.join()];
  const mapsOf = (/** @type {number} */ index) => reduce(cells, manifest, steps, layers, index);
  const maps = memo.once("maps", [...chosen, frame], () => mapsOf(frame));
  const frames = () => Array.from({ length: cells.frames }, (_, index) => mapsOf(index));
  const film = () => (cells.frames < 2 ? [maps] : memo.once("film", chosen, frames));
  /** @type {[number, number]} */
  const grid = [manifest.grid[1], manifest.grid[2]];
  const drawn = shown(state);
  const measured = [...chosen, drawn.join(), choice.method, choice.threshold, choice.percentile];
  const exact = settled || memo.knows("level", measured);
  const measure = () => measureLevel(film, drawn, { ...manifest, grid }, choice, exact);
  const level = memo.once(exact ? "level" : "level for now", measured, measure);
  return {
    image,
    picture,
    maps,
    grid,
    visible,
    range: memo.once("range", [maps], () => rangeOf(maps, manifest.kind)),
    concepts,
    look,
    shown: drawn,
    picked,
    marked: hovered === null ? picked : [hovered],
    method: choice.method,
    level,
  };
}

/** What of a scene the drawing depends on. @param {Scene} scene @returns {unknown[]} */
export function lookOf({ image, maps, look, shown: drawn, marked, method, level }) {
  return [image, maps, look, drawn.join(), marked.join(), method, level];
}

/** How much of the picture the mask holds, 0-1. @param {Scene} scene @param {Memo} memo @returns {number} */
export function areaOf(scene, memo) {
  return memo.once("area", [scene.maps, scene.level, scene.method, scene.shown.join()], () => measureArea(scene));
}

/**
 * Every concept's value at a pixel of the picture, or its mean over the picture.
 * @param {Scene} scene
 * @param {{x: number, y: number} | null} pixel
 * @param {Memo} memo
 * @returns {number[]}
 */
export function read({ maps, grid, visible, picture, concepts }, pixel, memo) {
  const cells = grid[0] * grid[1];
  const planes = concepts.map((_, index) => maps.subarray(index * cells, (index + 1) * cells));
  if (pixel) return planes.map((plane) => valueAt(plane, grid, visible, picture, pixel));
  return memo.once("means", [maps], () => {
    const parts = coverage(grid, visible);
    return planes.map((plane) => parts.reduce((sum, part, cell) => sum + part * plane[cell], 0));
  });
}

/** Pixels of the picture that a token covers, [down, right]. @param {Scene} scene @returns {[number, number]} */
export function strideOf({ picture, visible, grid }) {
  const [down, right] = [0, 1].map((side) => Math.max(1, Math.round(picture[side] / (grid[side] * visible[side]))));
  return [down, right];
}

/** Values drawn in the first and the last colour. @param {Float32Array} maps @param {Manifest["kind"]} kind
 * @returns {[number, number]} */
function rangeOf(maps, kind) {
  if (kind !== "score") return [0, 1];
  let [low, high] = [Infinity, -Infinity];
  for (const value of maps) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return [low, high];
}
