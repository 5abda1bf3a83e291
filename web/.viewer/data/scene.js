// The scene: everything that is drawn, computed from the state and the values. Unchanged parts are not computed again.

import { absentConcepts } from "./absent.js";
import { makeHeatmaps } from "./heatmaps.js";
import { areaInside, measureArea, measureLevel } from "./mask_measures.js";
import { concentrations, orderOf } from "./order.js";
import { readValues } from "./reading.js";
import { sceneMask } from "./scene_mask.js";
import { segmentLabels } from "./segment_labels.js";
import { latentFrame, shownConcepts } from "./state.js";

/** @import {Level} from "./masks.js" */
/** @import {Memo} from "./memoize.js" */
/** @import {Region} from "./regions.js" */
/** @import {Parts, Pictures} from "./scene_mask.js" */
/** @import {Label} from "./segment_labels.js" */
/** @import {State} from "./state.js" */
/** @import {SummedAreaTable} from "./summed_area.js" */
/** @import {Concept, Kind, Look, Method, Plane} from "./types.js" */

/**
 * @typedef {object} Scene
 * @property {HTMLImageElement | null} image
 * @property {[number, number]} imageSize  [height, width]
 * @property {Float32Array} maps  [C, H, W]
 * @property {[number, number]} grid  [height, width]
 * @property {[number, number]} visible
 * @property {[number, number]} range  values of the first and the last colour
 * @property {Concept[]} concepts
 * @property {Kind} kind
 * @property {Look} look
 * @property {number[]} shown  concepts
 * @property {number[]} picked
 * @property {number[]} outlined  concepts that are outlined among all
 * @property {Method} method
 * @property {Level | null} level  of the method, unless it compares concepts
 * @property {boolean[] | null} absent  of each concept, whether it wins no token; null where that is not known
 * @property {Parts} parts  what the mask at the image's own size is made from
 * @property {Plane | null} mask  of the whole image, if it is finished or edited
 * @property {Region[]} regions  to be outlined
 * @property {number} frame  latent frame on display
 */

/** @type {Region[]} */
const NONE = [];

/**
 * @param {State} state
 * @param {SummedAreaTable} table
 * @param {Pictures} pictures
 * @param {boolean} settled  whether there is time to measure in full
 * @param {Memo} memo
 * @returns {Scene}
 */
export function makeScene(state, table, pictures, settled, memo) {
  const { manifest, steps, layers, look, choice, picked, hovered } = state;
  const { visible, concepts, image_size: imageSize } = manifest;
  const frame = latentFrame(state);
  const chosen = [table, steps.join(), layers.join()];
  const mapsOf = (/** @type {number} */ index) => makeHeatmaps(table, manifest, steps, layers, index);
  const maps = memo.get("maps", [...chosen, frame], () => mapsOf(frame));
  const allFrames = () => Array.from({ length: table.frames }, (_, index) => mapsOf(index));
  const frames = () => (table.frames < 2 ? [maps] : memo.get("frames", chosen, allFrames));
  /** @type {[number, number]} */
  const grid = [manifest.grid[1], manifest.grid[2]];
  const shown = shownConcepts(state);
  const measured = [...chosen, shown.join(), choice.method, choice.threshold, choice.percentile];
  const exact = settled || memo.isCurrent("level", measured);
  const measure = () => measureLevel(frames, shown, { ...manifest, grid }, choice, exact);
  const level = memo.get(exact ? "level" : "approximate level", measured, measure);
  const absent = () => absentConcepts(frames(), concepts.length);
  const levelAt = (/** @type {number[]} */ some) =>
    some === shown ? level : measureLevel(frames, some, { ...manifest, grid }, choice, exact);
  const parts = { state, pictures, maps, frames: table.frames, allFrames: frames, shown, levelAt };
  return {
    image: pictures.image,
    imageSize,
    maps,
    grid,
    visible,
    range: memo.get("range", [maps], () => colourRange(maps, manifest.kind)),
    concepts,
    kind: manifest.kind,
    look,
    shown,
    picked,
    outlined: hovered === null ? picked : [hovered],
    method: choice.method,
    level,
    absent: manifest.kind === "share" ? (memo.getSettled("absent", chosen, settled, absent) ?? null) : null,
    parts,
    mask: sceneMask(parts, settled, memo),
    regions: look.regions ? pictures.regions : NONE,
    frame,
  };
}

/** Names on segments, for the view that shows them; the latest ones until there is time for new ones.
 * @param {Scene} scene @param {boolean} settled @param {Memo} memo @returns {Label[]} */
export function labelsOf({ look, maps, concepts, grid, visible, imageSize }, settled, memo) {
  if (look.view !== "segmentation") return [];
  const find = () => segmentLabels(maps, concepts.length, grid, visible, imageSize);
  return memo.getSettled("labels", [maps], settled, find) ?? [];
}

/** The concepts in the order of the list. @param {Scene} scene @param {Memo} memo @returns {number[]} */
export function listOrder(scene, memo) {
  const { maps, concepts, look } = scene;
  return memo.get("order", [maps, look.sort], () => {
    const { sort } = look;
    const means = sort === "share" ? readValues(scene, null, memo) : [];
    return orderOf(sort, concepts, means, sort === "concentration" ? concentrations(maps, concepts.length) : []);
  });
}

/** The parts of a scene that the drawing depends on. @param {Scene} scene @returns {unknown[]} */
export function dependenciesOf({ image, maps, look, shown, outlined, method, level, mask, regions }) {
  return [image, maps, look, shown.join(), outlined.join(), method, level, mask, regions];
}

/** The share of the image, 0-1, inside the mask. @param {Scene} scene @param {Memo} memo @returns {number} */
export function areaOf(scene, memo) {
  const { maps, level, method, shown, mask } = scene;
  const measure = () => (mask ? areaInside(mask) : measureArea(scene));
  return memo.get("area", [maps, level, method, shown.join(), mask], measure);
}

/** Pixels of the image that a token covers, [down, right]. @param {Scene} scene @returns {[number, number]} */
export function strideOf({ imageSize, visible, grid }) {
  const [down, right] = [0, 1].map((side) => Math.max(1, Math.round(imageSize[side] / (grid[side] * visible[side]))));
  return [down, right];
}

/** Values of the first and the last colour.
 * @param {Float32Array} maps @param {Kind} kind @returns {[number, number]} */
function colourRange(maps, kind) {
  if (kind !== "score") return [0, 1];
  let [low, high] = [Infinity, -Infinity];
  for (const value of maps) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return [low, high];
}
