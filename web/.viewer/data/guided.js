// Heatmaps that follow the edges of their image, as the server makes them: He, Sun and Tang's guided filter,
// with the mean over each token kept as it is.

import { axis, resize, roundHalfEven } from "./geometry.js";

/** @import {Kind, Plane} from "./types.js" */

const RADIUS_IN_TOKENS = 1.5;
const LOW_RADIUS = 6; // at which a large image is filtered, shrunk
const EPSILON = 1e-3;
const ROUNDS = 2; // of adding what the filtered maps lack in each token
const TINY = 1.1754943508222875e-38; // the smallest normal float32

/**
 * Resize heatmaps to pixels so that their edges follow those of an image.
 * @param {Float32Array[]} maps  one per concept
 * @param {[number, number]} grid  [height, width] of the maps
 * @param {[number, number]} visible
 * @param {Kind} kind
 * @param {Plane[]} colours  red, green and blue of the image, 0-1
 * @param {[number, number]} size  [height, width] wanted
 * @returns {Plane[]} one per concept
 */
export function sharpen(maps, grid, visible, kind, colours, size) {
  const radius = Math.max(1, roundHalfEven(RADIUS_IN_TOKENS * Math.max(size[0] / grid[0], size[1] / grid[1])));
  const shrink = Math.max(1, Math.floor(radius / LOW_RADIUS));
  const guide = guideOf(colours.map((colour) => resized(colour, size)), radius, shrink);
  const cropped = visible[0] < 1 || visible[1] < 1;
  const inImage = (/** @type {Float32Array} */ values) => {
    const plane = { values, width: grid[1], height: grid[0] };
    return cropped ? resized(plane, size, visible) : plane;
  };
  const filtered = maps.map((values) => {
    let wanted = values;
    for (let round = 0; round < ROUNDS; round++) {
      const means = tokenMeans(guide, inImage(wanted), grid, visible);
      wanted = wanted.map((each, index) => each + values[index] - means[index]);
    }
    return filter(guide, inImage(wanted));
  });
  return withinRange(filtered, maps.map(inImage), kind);
}

/** @param {Plane} plane @param {[number, number]} size @param {[number, number]} [visible] @returns {Plane} */
export function resized(plane, size, visible = [1, 1]) {
  if (plane.height === size[0] && plane.width === size[1] && visible[0] === 1 && visible[1] === 1) return plane;
  const [rows, columns] = [axis(plane.height, visible[0], size[0]), axis(plane.width, visible[1], size[1])];
  return resize(plane.values, plane.width, rows, columns);
}

/** Cut off what exceeds the range of the maps; shares keep their sum.
 * @param {Plane[]} filtered @param {Plane[]} maps @param {Kind} kind */
function withinRange(filtered, maps, kind) {
  let [low, high] = [Infinity, -Infinity];
  for (const { values } of maps) {
    for (const value of values) [low, high] = [value < low ? value : low, value > high ? value : high];
  }
  const before = kind === "share" ? sumsOf(filtered) : null;
  for (const { values } of filtered) {
    for (let index = 0; index < values.length; index++) {
      values[index] = values[index] < low ? low : values[index] > high ? high : values[index];
    }
  }
  if (!before) return filtered;
  const [least, most] = rangeOf(sumsOf(maps));
  const kept = sumsOf(filtered);
  for (let index = 0; index < kept.length; index++) {
    const wanted = Math.min(Math.max(before[index], least), most);
    before[index] = wanted / Math.max(kept[index], TINY);
  }
  for (const { values } of filtered) for (let index = 0; index < kept.length; index++) values[index] *= before[index];
  return filtered;
}

/** @param {Plane[]} planes @returns {Float32Array} */
function sumsOf(planes) {
  const sums = new Float32Array(planes[0].values.length);
  for (const { values } of planes) for (let index = 0; index < sums.length; index++) sums[index] += values[index];
  return sums;
}

/** @param {Float32Array} values @returns {[number, number]} */
function rangeOf(values) {
  return values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
}

/**
 * A guide image with what the filter needs to know of it.
 * @param {Plane[]} image  red, green and blue
 * @param {number} radius  pixels of the guide
 * @param {number} shrink  times that the functions are fitted on smaller images
 */
function guideOf(image, radius, shrink) {
  /** @type {[number, number]} */
  const small = [Math.ceil(image[0].height / shrink), Math.ceil(image[0].width / shrink)];
  const reach = Math.max(1, roundHalfEven(Math.max(1, radius / shrink)));
  const colours = image.map((colour) => Float64Array.from(resized(colour, small).values));
  const mean = (/** @type {Float64Array} */ values) => windowMean(values, small[1], small[0], reach);
  const colourMeans = colours.map(mean);
  const inverse = inverseCovariance(colours, colourMeans, mean);
  const functions = (/** @type {Plane} */ plane) =>
    localFunctions(Float64Array.from(resized(plane, small).values), colours, colourMeans, inverse, mean);
  return { image, small, colours, functions };
}

/** @typedef {ReturnType<typeof guideOf>} Guide */

/** A plane that is, around each pixel, a linear function of the guide's colours.
 * @param {Guide} guide @param {Plane} plane @returns {Plane} */
function filter({ image, small, functions }, plane) {
  const { width, height } = image[0];
  const [rows, columns] = [axis(small[0], 1, height), axis(small[1], 1, width)];
  const [red, green, blue, values] = functions(plane).map(
    (each) => resize(Float32Array.from(each), small[1], rows, columns).values,
  );
  [red, green, blue].forEach((slope, channel) => {
    const colour = image[channel].values;
    for (let index = 0; index < values.length; index++) values[index] += slope[index] * colour[index];
  });
  return { values, width, height };
}

/**
 * The mean of the filtered plane over each token; the border goes on beyond it.
 * @param {Guide} guide
 * @param {Plane} plane
 * @param {[number, number]} grid
 * @param {[number, number]} visible
 */
function tokenMeans({ small, colours, functions }, plane, grid, visible) {
  const [red, green, blue, filtered] = functions(plane).map((each) => Float32Array.from(each));
  for (let index = 0; index < filtered.length; index++) {
    filtered[index] += red[index] * colours[0][index] + green[index] * colours[1][index] + blue[index] * colours[2][index];
  }
  const [rows, columns] = [0, 1].map((side) => {
    const whole = roundHalfEven(small[side] / visible[side]);
    return Array.from({ length: grid[side] }, (_, token) => [
      Math.floor((token * whole) / grid[side]),
      Math.ceil(((token + 1) * whole) / grid[side]),
    ]);
  });
  return rows.flatMap(([top, bottom]) =>
    columns.map(([left, right]) => {
      let sum = 0;
      for (let y = top; y < bottom; y++) {
        const row = Math.min(y, small[0] - 1) * small[1];
        for (let x = left; x < right; x++) sum += filtered[row + Math.min(x, small[1] - 1)];
      }
      return sum / ((bottom - top) * (right - left));
    }),
  );
}

/**
 * The mean linear function of all windows around each pixel: three slopes and an offset.
 * @param {Float64Array} values
 * @param {Float64Array[]} colours
 * @param {Float64Array[]} colourMeans
 * @param {Float64Array[][]} inverse
 * @param {(values: Float64Array) => Float64Array} mean
 */
function localFunctions(values, colours, colourMeans, inverse, mean) {
  const average = mean(values);
  const covariance = colours.map((colour, channel) => {
    const products = mean(colour.map((each, index) => each * values[index]));
    return products.map((each, index) => each - colourMeans[channel][index] * average[index]);
  });
  const slopes = inverse.map(([red, green, blue]) =>
    average.map((_, at) => red[at] * covariance[0][at] + green[at] * covariance[1][at] + blue[at] * covariance[2][at]),
  );
  const offset = average.map((each, at) =>
    slopes.reduce((rest, slope, channel) => rest - slope[at] * colourMeans[channel][at], each),
  );
  return [...slopes, offset].map(mean);
}

/**
 * The inverse of each window's colour covariance with epsilon on its diagonal, by cofactors.
 * @param {Float64Array[]} colours
 * @param {Float64Array[]} means
 * @param {(values: Float64Array) => Float64Array} mean
 * @returns {Float64Array[][]} 3 x 3
 */
function inverseCovariance(colours, means, mean) {
  const count = colours[0].length;
  const covariance = (/** @type {number} */ a, /** @type {number} */ b) => {
    const products = mean(colours[a].map((each, index) => each * colours[b][index]));
    return products.map((each, at) => each - means[a][at] * means[b][at] + (a === b ? EPSILON : 0));
  };
  const [rr, rg, rb] = [covariance(0, 0), covariance(0, 1), covariance(0, 2)];
  const [gg, gb, bb] = [covariance(1, 1), covariance(1, 2), covariance(2, 2)];
  const inverse = Array.from({ length: 3 }, () => Array.from({ length: 3 }, () => new Float64Array(count)));
  for (let at = 0; at < count; at++) {
    const cofactors = [
      [gg[at] * bb[at] - gb[at] * gb[at], rb[at] * gb[at] - rg[at] * bb[at], rg[at] * gb[at] - rb[at] * gg[at]],
      [rb[at] * gb[at] - rg[at] * bb[at], rr[at] * bb[at] - rb[at] * rb[at], rb[at] * rg[at] - rr[at] * gb[at]],
      [rg[at] * gb[at] - rb[at] * gg[at], rb[at] * rg[at] - rr[at] * gb[at], rr[at] * gg[at] - rg[at] * rg[at]],
    ];
    const determinant = rr[at] * cofactors[0][0] + rg[at] * cofactors[0][1] + rb[at] * cofactors[0][2];
    cofactors.forEach((row, a) => row.forEach((each, b) => (inverse[a][b][at] = each / determinant)));
  }
  return inverse;
}

/**
 * The mean over a square window around each pixel; windows end at the border.
 * @param {Float64Array} values
 * @param {number} width
 * @param {number} height
 * @param {number} reach  pixels on each side
 * @returns {Float64Array}
 */
function windowMean(values, width, height, reach) {
  const columns = lineMeans(values, height, width, width, 1, reach);
  return lineMeans(columns, width, height, 1, width, reach);
}

/** @param {Float64Array} values @param {number} length  of a line @param {number} lines
 * @param {number} step  from one value of a line to the next @param {number} stride  from one line to the next
 * @param {number} reach */
function lineMeans(values, length, lines, step, stride, reach) {
  const means = new Float64Array(values.length);
  const sums = new Float64Array(length + 1);
  for (let line = 0; line < lines; line++) {
    const from = line * stride;
    for (let at = 0; at < length; at++) sums[at + 1] = sums[at] + values[from + at * step];
    for (let at = 0; at < length; at++) {
      const [first, end] = [Math.max(at - reach, 0), Math.min(at + reach + 1, length)];
      means[from + at * step] = (sums[end] - sums[first]) / (end - first);
    }
  }
  return means;
}
