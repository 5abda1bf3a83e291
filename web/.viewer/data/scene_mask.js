// The mask on display where its method alone does not make it: finished, or edited in the mask editor.

import { finishedMask, isFinished } from "./finished_mask.js";
import { resized } from "./guided.js";
import { levelOf } from "./masks.js";

/** @import {Level} from "./masks.js" */
/** @import {Memo} from "./memoize.js" */
/** @import {Region} from "./regions.js" */
/** @import {State} from "./state.js" */
/** @import {Plane} from "./types.js" */

const QUICK = 2 ** 14; // pixels of the mask while something moves
const SETTLED = 2 ** 20; // and afterwards; the server's has all pixels of the image

/**
 * The images of a scene, and what is read from them when it is needed.
 * @typedef {object} Pictures
 * @property {HTMLImageElement | null} image
 * @property {HTMLImageElement | null} edited  a mask from the mask editor
 * @property {Region[]} regions  none until they are loaded
 * @property {(image: HTMLImageElement, channels: number[]) => Plane[]} read  0-1
 *
 * @typedef {object} Parts
 * @property {State} state
 * @property {Pictures} pictures
 * @property {Float32Array} maps  heatmaps [C, H, W] of the frame
 * @property {number} frames  latent frames there are
 * @property {() => Float32Array[]} allFrames  heatmaps of each of them
 * @property {number[]} shown  concepts
 * @property {(concepts: number[]) => Level | null} levelAt  at which the heatmaps of all frames are cut
 */

/**
 * @param {Parts} parts
 * @param {boolean} settled  whether there is time to compute it in full
 * @param {Memo} memo
 * @returns {Plane | null} of the whole image; null if the method alone makes the mask
 */
export function sceneMask(parts, settled, memo) {
  const { state, pictures, maps, shown } = parts;
  const { choice, hovered } = state;
  const { edited, image } = pictures;
  if (edited && hovered === null) return memo.get("edited", [edited], () => editedMask(pictures.read, edited));
  const subtracted = state.subtracted.filter((concept) => !shown.includes(concept));
  if (!isFinished(choice, subtracted)) return null;
  const { concepts, subtract, layers, steps, edited: _, ...rest } = choice;
  const dependencies = [maps, shown.join(), subtracted.join(), choice.guided && image, ...Object.values(rest)];
  const exact = settled || memo.isCurrent("finished mask", dependencies);
  const compute = () => computeMask(parts, subtracted, exact ? SETTLED : QUICK, memo);
  return memo.get(exact ? "finished mask" : "quick mask", dependencies, compute);
}

/**
 * @param {Parts} parts
 * @param {number[]} subtracted
 * @param {number} most  pixels
 * @param {Memo} memo
 * @returns {Plane}
 */
export function computeMask({ state, pictures, maps, frames, shown, levelAt }, subtracted, most, memo) {
  const { manifest, choice } = state;
  const { image, read } = pictures;
  const [height, width] = manifest.image_size;
  const scale = Math.min(1, Math.sqrt(most / (height * width)));
  /** @type {[number, number]} */
  const size = [Math.max(1, Math.round(height * scale)), Math.max(1, Math.round(width * scale))];
  const guide = (/** @type {HTMLImageElement} */ from) => {
    const colours = memo.get("colours", [from], () => read(from, [0, 1, 2]));
    return memo.get(`guide ${most}`, [from, size.join()], () => colours.map((colour) => resized(colour, size)));
  };
  const colours = choice.guided && image ? guide(image) : null;
  const source = {
    maps,
    concepts: manifest.concepts.length,
    grid: /** @type {[number, number]} */ ([manifest.grid[1], manifest.grid[2]]),
    visible: manifest.visible,
    kind: manifest.kind,
    colours,
    size,
    scale,
    // the server cuts a video at a level of all its sharpened frames, of which only the one on display is here
    levelOf: (/** @type {number[]} */ some, /** @type {Plane} */ sum) =>
      colours && frames < 2 ? ownLevel(sum, choice) : levelAt(some),
  };
  return finishedMask(source, shown, subtracted, choice);
}

/** @param {Plane} sum @param {State["choice"]} choice @returns {Level | null} */
function ownLevel({ values }, { method, threshold, percentile }) {
  return method === "soft" || method === "argmax" ? null : levelOf(values, method, threshold, percentile);
}

/** @param {Pictures["read"]} read @param {HTMLImageElement} edited @returns {Plane} */
function editedMask(read, edited) {
  const [alpha] = read(edited, [3]);
  return { ...alpha, values: alpha.values.map((value) => 1 - value) };
}
