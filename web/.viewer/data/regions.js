// Regions: where something acted while the image was made.

/** @import {Plane} from "./types.js" */

/**
 * A region of one image.
 * @typedef {object} Region
 * @property {string} name
 * @property {Plane[]} masks  one per latent frame; inside is above one half, whatever the region's strength was
 * @property {({x: number, y: number} | null)[]} tops  the middle of each mask's upper end (0-1); null if it is empty
 */

/**
 * @param {ArrayBuffer} buffer  bytes, 0-255: [R, T, H, W]
 * @param {{shape: [number, number, number, number]}} reference
 * @param {string[]} names
 * @returns {Region[]}
 */
export function decodeRegions(buffer, { shape: [count, frames, height, width] }, names) {
  const size = height * width;
  if (buffer.byteLength !== count * frames * size || names.length !== count) {
    throw new Error(`Expected ${count} regions of ${frames * size} bytes, got ${names.length} in ${buffer.byteLength}.`);
  }
  return names.map((name, region) => {
    const stored = new Uint8Array(buffer, region * frames * size, frames * size);
    const greatest = stored.reduce((a, b) => Math.max(a, b), 1);
    const values = Float32Array.from(stored, (value) => value / greatest);
    const masks = Array.from({ length: frames }, (_, frame) => {
      return { values: values.subarray(frame * size, (frame + 1) * size), width, height };
    });
    return { name, masks, tops: masks.map(topOf) };
  });
}

/** The middle of the upper end of a mask, 0-1; null if nothing is inside. @param {Plane} mask */
function topOf({ values, width, height }) {
  const first = values.findIndex((value) => value > 0.5);
  if (first < 0) return null;
  const row = Math.floor(first / width);
  let last = first;
  for (let at = first; at < (row + 1) * width; at++) if (values[at] > 0.5) last = at;
  return { x: ((first + last + 1) / 2 - row * width) / width, y: row / height };
}
