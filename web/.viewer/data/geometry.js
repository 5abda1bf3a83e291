// Positions on the token grid, in the image and on the screen, and resizing between them.
// Convention: half-pixel centres; sample i of n covers [i, i + 1) / n of the whole.

/** @import {Pixel, Plane, Zoom} from "./types.js" */

/**
 * How each sample along one side is computed: the weighted mean of `taps` neighbouring tokens, from `first` on.
 * @typedef {{count: number, taps: number, first: Int32Array, weights: Float32Array}} Axis
 */

/** @typedef {{left: number, top: number, width: number, height: number}} Rectangle  in screen pixels */

/** @param {number} number @returns {number} the nearest whole number; ties go to the even one */
export function roundHalfEven(number) {
  const floor = Math.floor(number);
  const rest = number - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2) ? floor + 1 : floor;
}

/** @param {number} value @param {number} low @param {number} high */
export function clamp(value, low, high) {
  return Math.min(Math.max(value, low), high);
}

/**
 * How one side of a heatmap is resized: enlarging interpolates linearly, shrinking averages.
 * @param {number} tokens  along this side
 * @param {number} visible  share (0-1] of them that lies in the image
 * @param {number} pixels  along the whole image's side
 * @param {number} start  first pixel to sample; may be fractional
 * @param {number} extent  pixels to sample
 * @param {number} count  samples, spread evenly over them
 * @returns {Axis}
 */
export function axis(tokens, visible, pixels, start = 0, extent = pixels, count = extent) {
  const whole = Math.max(pixels, roundHalfEven(pixels / visible));
  const scale = (tokens / whole) * (extent / count); // tokens per sample
  const taps = Math.min(tokens, scale > 1 ? 2 * Math.ceil(scale) + 1 : 2);
  const first = new Int32Array(count);
  const weights = new Float32Array(count * taps);
  for (let sample = 0; sample < count; sample++) {
    const centre = (start + ((sample + 0.5) * extent) / count) * (tokens / whole);
    const reach = Math.max(scale, 1);
    const lowest = Math.floor(scale > 1 ? centre - reach + 0.5 : centre - 0.5);
    first[sample] = clamp(lowest, 0, tokens - taps);
    let total = 0;
    for (let tap = 0; tap < taps; tap++) {
      const distance = Math.abs(first[sample] + tap + 0.5 - centre) / reach;
      weights[sample * taps + tap] = Math.max(0, 1 - distance);
      total += weights[sample * taps + tap];
    }
    for (let tap = 0; tap < taps; tap++) weights[sample * taps + tap] /= total;
  }
  return { count, taps, first, weights };
}

/**
 * Resize a heatmap.
 * @param {Float32Array} map  row-major
 * @param {number} width  of the heatmap, in tokens
 * @param {Axis} rows
 * @param {Axis} columns
 * @param {Float32Array} [into]  memory for the result
 * @returns {Plane}
 */
export function resize(map, width, rows, columns, into) {
  const values = into ?? new Float32Array(rows.count * columns.count);
  const line = new Float32Array(width);
  for (let y = 0, to = 0; y < rows.count; y++) {
    line.fill(0);
    for (let tap = 0; tap < rows.taps; tap++) {
      const weight = rows.weights[y * rows.taps + tap];
      const from = (rows.first[y] + tap) * width;
      if (weight) for (let x = 0; x < width; x++) line[x] += weight * map[from + x];
    }
    if (columns.taps === 2) {
      const { first, weights } = columns;
      for (let x = 0; x < columns.count; x++, to++) {
        values[to] = line[first[x]] * weights[2 * x] + line[first[x] + 1] * weights[2 * x + 1];
      }
    } else {
      for (let x = 0; x < columns.count; x++, to++) {
        let sum = 0;
        for (let tap = 0; tap < columns.taps; tap++) {
          sum += line[columns.first[x] + tap] * columns.weights[x * columns.taps + tap];
        }
        values[to] = sum;
      }
    }
  }
  return { values, width: columns.count, height: rows.count };
}

/**
 * The value of a heatmap at one pixel of the image, as `resize` to the image's size gives it.
 * @param {Float32Array} map
 * @param {[number, number]} grid  [height, width]
 * @param {[number, number]} visible
 * @param {[number, number]} imageSize  [height, width]
 * @param {Pixel} pixel
 * @returns {number}
 */
export function valueAt(map, grid, visible, imageSize, { x, y }) {
  const rows = axis(grid[0], visible[0], imageSize[0], y, 1);
  const columns = axis(grid[1], visible[1], imageSize[1], x, 1);
  return resize(map, grid[1], rows, columns).values[0];
}

/**
 * The share of the image that each token covers: weights for means over the image.
 * @param {[number, number]} grid
 * @param {[number, number]} visible
 * @returns {Float32Array} sums to one
 */
export function coverage(grid, visible) {
  const [rows, columns] = [0, 1].map((side) =>
    Array.from({ length: grid[side] }, (_, token) => clamp(grid[side] * visible[side] - token, 0, 1)),
  );
  const total = grid[0] * visible[0] * grid[1] * visible[1];
  return Float32Array.from(rows.flatMap((height) => columns.map((width) => (height * width) / total)));
}

/**
 * The visible part of an enlarged image.
 * @typedef {object} Viewport
 * @property {number} left  position on the screen, in screen pixels
 * @property {number} top
 * @property {number} width
 * @property {number} height
 * @property {[number, number]} whole  [height, width] of the whole enlarged image, in screen pixels
 * @property {number} x  first visible pixel of the enlarged image
 * @property {number} y
 */

/**
 * Fit an image into a rectangle of the screen, magnified by the zoom.
 * @param {[number, number]} imageSize  [height, width]
 * @param {Rectangle} rectangle
 * @param {Zoom} zoom
 * @returns {Viewport}
 */
export function fit(imageSize, rectangle, zoom) {
  const scale = Math.min(rectangle.height / imageSize[0], rectangle.width / imageSize[1]) * zoom.scale;
  const sides = [
    { start: rectangle.top, room: rectangle.height, pixels: imageSize[0], centre: zoom.y },
    { start: rectangle.left, room: rectangle.width, pixels: imageSize[1], centre: zoom.x },
  ].map(({ start, room, pixels, centre }) => {
    const whole = Math.max(1, Math.round(pixels * scale));
    const seen = Math.min(whole, room);
    const first = clamp(Math.round(centre * whole - seen / 2), 0, whole - seen);
    return { whole, seen, first, place: start + Math.floor((room - seen) / 2) };
  });
  const [rows, columns] = sides;
  return {
    left: columns.place,
    top: rows.place,
    width: columns.seen,
    height: rows.seen,
    whole: [rows.whole, columns.whole],
    x: columns.first,
    y: rows.first,
  };
}

/**
 * The image's pixel at a point of the screen; null outside the viewport.
 * @param {Viewport} viewport
 * @param {[number, number]} imageSize
 * @param {number} x
 * @param {number} y
 * @returns {Pixel | null}
 */
export function pixelAt(viewport, imageSize, x, y) {
  const [right, down] = [x - viewport.left, y - viewport.top];
  if (right < 0 || down < 0 || right >= viewport.width || down >= viewport.height) return null;
  return {
    x: clamp(Math.floor(((right + viewport.x) / viewport.whole[1]) * imageSize[1]), 0, imageSize[1] - 1),
    y: clamp(Math.floor(((down + viewport.y) / viewport.whole[0]) * imageSize[0]), 0, imageSize[0] - 1),
  };
}

/**
 * The point of the screen at the centre of a pixel of the image.
 * @param {Viewport} viewport
 * @param {[number, number]} imageSize
 * @param {Pixel} pixel
 */
export function pointOf(viewport, imageSize, pixel) {
  return {
    x: viewport.left + ((pixel.x + 0.5) / imageSize[1]) * viewport.whole[1] - viewport.x,
    y: viewport.top + ((pixel.y + 0.5) / imageSize[0]) * viewport.whole[0] - viewport.y,
  };
}

/**
 * Arrange equal tiles in rows and columns so that images of one size come out largest.
 * @param {number} count
 * @param {[number, number]} imageSize
 * @param {number} width
 * @param {number} height
 * @param {number} gap
 * @returns {Rectangle[]}
 */
export function arrange(count, imageSize, width, height, gap) {
  let best = { columns: 1, scale: 0 };
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    const scales = [
      (height - gap * (rows - 1)) / rows / imageSize[0],
      (width - gap * (columns - 1)) / columns / imageSize[1],
    ];
    const scale = Math.min(...scales);
    if (scale > best.scale) best = { columns, scale };
  }
  const columns = best.columns;
  const rows = Math.ceil(count / columns);
  const [tileWidth, tileHeight] = [(width - gap * (columns - 1)) / columns, (height - gap * (rows - 1)) / rows];
  return Array.from({ length: count }, (_, index) => ({
    left: Math.round((index % columns) * (tileWidth + gap)),
    top: Math.round(Math.floor(index / columns) * (tileHeight + gap)),
    width: Math.max(1, Math.floor(tileWidth)),
    height: Math.max(1, Math.floor(tileHeight)),
  }));
}
