// Finishing masks as the server does: holes, islands, growing and blurring.

import { clamp } from "./geometry.js";

/** @import {Plane} from "./types.js" */

/**
 * Areas of equal pixels that are connected: along sides, or at corners too.
 * @param {Uint8Array} wanted  1 for pixels that belong to an area
 * @param {number} width
 * @param {boolean} corners
 * @returns {Int32Array} for each pixel, the index of its area's first pixel; -1 outside all areas
 */
export function connect(wanted, width, corners) {
  const parents = new Int32Array(wanted.length).fill(-1);
  const root = (/** @type {number} */ index) => {
    while (parents[index] !== index) index = parents[index] = parents[parents[index]];
    return index;
  };
  for (let index = 0; index < wanted.length; index++) {
    if (!wanted[index]) continue;
    parents[index] = index;
    const [left, right] = [index % width > 0, index % width < width - 1];
    const before = [left ? index - 1 : -1, index - width];
    if (corners) before.push(left ? index - width - 1 : -1, right ? index - width + 1 : -1);
    for (const other of before) {
      if (other < 0 || !wanted[other]) continue;
      const [a, b] = [root(index), root(other)];
      if (a < b) parents[b] = a;
      else parents[a] = b;
    }
  }
  for (let index = 0; index < wanted.length; index++) if (wanted[index]) parents[index] = root(index);
  return parents;
}

/**
 * Turn areas of a value that are smaller than a part of the image into the other value, in place.
 * @param {Plane} mask  ones and zeros
 * @param {number} value
 * @param {number} percent  of the image
 * @param {boolean} corners  whether pixels that touch at corners are connected
 * @param {boolean} keepAtBorder
 */
function turnSmallAreas({ values, width, height }, value, percent, corners, keepAtBorder) {
  if (!percent) return;
  const areas = connect(Uint8Array.from(values, (each) => Number(each === value)), width, corners);
  const sizes = new Int32Array(values.length);
  for (const area of areas) if (area >= 0) sizes[area] += 1;
  if (keepAtBorder) {
    areas.forEach((area, index) => {
      const [x, y] = [index % width, Math.floor(index / width)];
      if (area >= 0 && (x === 0 || y === 0 || x === width - 1 || y === height - 1)) sizes[area] = values.length;
    });
  }
  areas.forEach((area, index) => {
    if (area >= 0 && sizes[area] * 100 < percent * values.length) values[index] = 1 - value;
  });
}

/** Fill holes smaller than a part of the image, in place. @param {Plane} mask @param {number} percent */
export function fillHoles(mask, percent) {
  turnSmallAreas(mask, 0, percent, false, true);
}

/** Remove parts smaller than a part of the image, in place. @param {Plane} mask @param {number} percent */
export function dropIslands(mask, percent) {
  turnSmallAreas(mask, 1, percent, true, false);
}

/**
 * Grow a mask: the highest value within a disk around each pixel; shrink it: the lowest.
 * @param {Plane} mask
 * @param {number} pixels  below 0 shrinks
 * @returns {Plane}
 */
export function growMask(mask, pixels) {
  if (!pixels) return mask;
  if (pixels > 0) return highestAround(mask, pixels);
  const turned = highestAround({ ...mask, values: mask.values.map((value) => -value) }, -pixels);
  return { ...turned, values: turned.values.map((value) => -value) };
}

/** @param {Plane} mask @param {number} radius @returns {Plane} */
function highestAround({ values, width, height }, radius) {
  const grown = values.slice();
  const most = Math.min(radius, height - 1);
  const reaches = Array.from({ length: most + 1 }, (_, down) => Math.floor(Math.sqrt(radius ** 2 - down ** 2)));
  // for each row, the highest values of windows of 1, 2, 4, ... pixels; two of them cover a window of any width
  const powers = [];
  for (let size = 1; size <= 2 * radius + 1; size *= 2) {
    powers.push(new Float32Array(width + 2 * radius + 1 - size).fill(-Infinity));
  }
  for (let y = 0; y < height; y++) {
    powers[0].set(values.subarray(y * width, (y + 1) * width), radius);
    for (let power = 1; power < powers.length; power++) {
      const [last, windows, half] = [powers[power - 1], powers[power], 2 ** (power - 1)];
      for (let x = 0; x < windows.length; x++) windows[x] = last[x] > last[x + half] ? last[x] : last[x + half];
    }
    for (let down = 0; down <= most; down++) {
      const length = 2 * reaches[down] + 1;
      const windows = powers[31 - Math.clz32(length)];
      const start = radius - reaches[down];
      const other = start + length - 2 ** (31 - Math.clz32(length));
      for (const row of down ? [y - down, y + down] : [y]) {
        if (row < 0 || row >= height) continue;
        for (let x = 0, to = row * width; x < width; x++, to++) {
          if (windows[start + x] > grown[to]) grown[to] = windows[start + x];
          if (windows[other + x] > grown[to]) grown[to] = windows[other + x];
        }
      }
    }
  }
  return { values: grown, width, height };
}

/**
 * Blur with a Gaussian that ends at three standard deviations; beyond the border its pixels are repeated.
 * @param {Plane} mask
 * @param {number} sigma  pixels
 * @returns {Plane}
 */
export function blurMask(mask, sigma) {
  if (!sigma) return mask;
  const { width, height } = mask;
  const radius = Math.ceil(3 * sigma);
  const weights = Array.from({ length: 2 * radius + 1 }, (_, index) => Math.exp(-(((index - radius) / sigma) ** 2) / 2));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const kernel = Float32Array.from(weights, (weight) => weight / total);
  const rows = blurLines(mask.values, width, height, 1, width, kernel);
  return { values: blurLines(rows, height, width, width, 1, kernel), width, height };
}

/**
 * @param {Float32Array} values
 * @param {number} length  of a line
 * @param {number} lines
 * @param {number} step  from one value of a line to the next
 * @param {number} stride  from one line to the next
 * @param {Float32Array} kernel
 */
function blurLines(values, length, lines, step, stride, kernel) {
  const blurred = new Float32Array(values.length);
  const radius = (kernel.length - 1) / 2;
  const line = new Float32Array(length + 2 * radius);
  for (let index = 0; index < lines; index++) {
    const from = index * stride;
    for (let at = 0; at < line.length; at++) line[at] = values[from + clamp(at - radius, 0, length - 1) * step];
    for (let at = 0; at < length; at++) {
      let sum = 0;
      for (let tap = 0; tap < kernel.length; tap++) sum += kernel[tap] * line[at + tap];
      blurred[from + at * step] = sum;
    }
  }
  return blurred;
}
