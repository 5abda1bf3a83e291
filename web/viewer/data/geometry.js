// Between a map's grid, the picture's pixels and the screen. Half-pixel centres everywhere: sample i of n covers
// [i, i + 1) / n of the whole.

/** @import {Plane, Zoom} from "./types.js" */

/**
 * For every wanted sample, the neighbouring cells it is a weighted mean of.
 * @typedef {{count: number, taps: number, first: Int32Array, weights: Float32Array}} Axis
 */

/** @param {number} number @returns {number} the nearest whole number, of two the even one */
function roundHalfEven(number) {
  const floor = Math.floor(number);
  const rest = number - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2) ? floor + 1 : floor;
}

/** @param {number} value @param {number} low @param {number} high */
export function clamp(value, low, high) {
  return Math.min(Math.max(value, low), high);
}

/**
 * How one side of a map is resized: enlarging interpolates, shrinking averages.
 * @param {number} cells  of the map's side
 * @param {number} visible  share (0-1] of them that lies in the picture
 * @param {number} pixels  of the whole picture's side
 * @param {number} start  first pixel wanted; may lie between two
 * @param {number} extent  pixels wanted
 * @param {number} count  samples to take of them
 * @returns {Axis}
 */
export function axis(cells, visible, pixels, start = 0, extent = pixels, count = extent) {
  const whole = Math.max(pixels, roundHalfEven(pixels / visible));
  const scale = (cells / whole) * (extent / count); // cells per sample
  const taps = Math.min(cells, scale > 1 ? 2 * Math.ceil(scale) + 1 : 2);
  const first = new Int32Array(count);
  const weights = new Float32Array(count * taps);
  for (let sample = 0; sample < count; sample++) {
    const centre = (start + ((sample + 0.5) * extent) / count) * (cells / whole);
    const reach = Math.max(scale, 1);
    const lowest = Math.floor(scale > 1 ? centre - reach + 0.5 : centre - 0.5);
    first[sample] = clamp(lowest, 0, cells - taps);
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
 * A map resized.
 * @param {Float32Array} map  row-major
 * @param {number} width  of the map, in cells
 * @param {Axis} rows
 * @param {Axis} columns
 * @param {Float32Array} [into]
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
 * A map's value at one pixel of the picture: what `resize` to the picture's size gives there.
 * @param {Float32Array} map
 * @param {[number, number]} grid  [height, width]
 * @param {[number, number]} visible
 * @param {[number, number]} picture  [height, width]
 * @param {{x: number, y: number}} pixel
 * @returns {number}
 */
export function valueAt(map, grid, visible, picture, { x, y }) {
  const rows = axis(grid[0], visible[0], picture[0], y, 1);
  const columns = axis(grid[1], visible[1], picture[1], x, 1);
  return resize(map, grid[1], rows, columns).values[0];
}

/**
 * How much of the picture every cell of a map covers, to take means over the picture.
 * @param {[number, number]} grid
 * @param {[number, number]} visible
 * @returns {Float32Array} sums to one
 */
export function coverage(grid, visible) {
  const [rows, columns] = [0, 1].map((side) =>
    Array.from({ length: grid[side] }, (_, cell) => clamp(grid[side] * visible[side] - cell, 0, 1)),
  );
  const total = grid[0] * visible[0] * grid[1] * visible[1];
  return Float32Array.from(rows.flatMap((height) => columns.map((width) => (height * width) / total)));
}

/**
 * The part of an enlarged picture that is seen in a rectangle of the screen.
 * @typedef {object} Window
 * @property {number} left  where it is drawn, in screen pixels
 * @property {number} top
 * @property {number} width
 * @property {number} height
 * @property {[number, number]} whole  [height, width] of the enlarged picture, in screen pixels
 * @property {number} x  first pixel of the enlarged picture that is seen
 * @property {number} y
 */

/**
 * @param {[number, number]} picture  [height, width]
 * @param {{left: number, top: number, width: number, height: number}} tile
 * @param {Zoom} zoom
 * @returns {Window}
 */
export function fit(picture, tile, zoom) {
  const scale = Math.min(tile.height / picture[0], tile.width / picture[1]) * zoom.scale;
  const sides = [
    { start: tile.top, room: tile.height, pixels: picture[0], centre: zoom.y },
    { start: tile.left, room: tile.width, pixels: picture[1], centre: zoom.x },
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
 * The picture's pixel under a point of the screen; null if the point lies beside it.
 * @param {Window} window
 * @param {[number, number]} picture
 * @param {number} x
 * @param {number} y
 */
export function pixelAt(window, picture, x, y) {
  const [right, down] = [x - window.left, y - window.top];
  if (right < 0 || down < 0 || right >= window.width || down >= window.height) return null;
  return {
    x: clamp(Math.floor(((right + window.x) / window.whole[1]) * picture[1]), 0, picture[1] - 1),
    y: clamp(Math.floor(((down + window.y) / window.whole[0]) * picture[0]), 0, picture[0] - 1),
  };
}

/**
 * The point of the screen over the middle of a picture's pixel.
 * @param {Window} window
 * @param {[number, number]} picture
 * @param {{x: number, y: number}} pixel
 */
export function pointOf(window, picture, pixel) {
  return {
    x: window.left + ((pixel.x + 0.5) / picture[1]) * window.whole[1] - window.x,
    y: window.top + ((pixel.y + 0.5) / picture[0]) * window.whole[0] - window.y,
  };
}

/**
 * Rows and columns of equal tiles in which pictures of one aspect come out largest.
 * @param {number} count
 * @param {[number, number]} picture
 * @param {number} width
 * @param {number} height
 * @param {number} gap
 */
export function arrange(count, picture, width, height, gap) {
  let best = { columns: 1, scale: 0 };
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    const scales = [
      (height - gap * (rows - 1)) / rows / picture[0],
      (width - gap * (columns - 1)) / columns / picture[1],
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
