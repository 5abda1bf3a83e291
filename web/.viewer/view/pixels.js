// Pixels of images as numbers.

import { element } from "./dom.js";

/** @import {Plane} from "../data/types.js" */

/**
 * One plane for each of some channels.
 * @param {HTMLImageElement} image
 * @param {number[]} channels  0 to 3: red, green, blue, alpha
 * @returns {Plane[]} 0-1
 */
export function readPixels(image, channels) {
  const { naturalWidth: width, naturalHeight: height } = image;
  const canvas = element("canvas", "", { width: String(width), height: String(height) });
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  return channels.map((channel) => {
    const values = Float32Array.from({ length: width * height }, (_, index) => data[4 * index + channel] / 255);
    return { values, width, height };
  });
}
