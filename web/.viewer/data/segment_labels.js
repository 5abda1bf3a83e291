// Where names fit on segments: the middle of the largest square inside each.

import { axis, resize } from "./geometry.js";

const SIDE = 64; // samples along the longer side

/**
 * @typedef {{concept: number, x: number, y: number, reach: number}} Label  the middle (0-1), and how far its segment
 * reaches at least, in parts of the image's longer side
 */

/**
 * @param {Float32Array} maps  [C, H, W]
 * @param {number} concepts
 * @param {[number, number]} grid
 * @param {[number, number]} visible
 * @param {[number, number]} imageSize
 * @returns {Label[]} for each concept with a segment
 */
export function segmentLabels(maps, concepts, grid, visible, imageSize) {
  const [height, width] = imageSize.map((side) => Math.max(1, Math.round((SIDE * side) / Math.max(...imageSize))));
  const [rows, columns] = [axis(grid[0], visible[0], height), axis(grid[1], visible[1], width)];
  const tokens = grid[0] * grid[1];
  const planes = Array.from({ length: concepts }, (_, index) =>
    resize(maps.subarray(index * tokens, (index + 1) * tokens), grid[1], rows, columns).values,
  );
  const winners = planes[0].map((_, at) => planes.reduce((best, plane, index) => (plane[at] > planes[best][at] ? index : best), 0));
  const distances = toOthers(winners, width, height);
  /** @type {Map<number, Label>} */
  const labels = new Map();
  distances.forEach((distance, at) => {
    const reach = distance / Math.max(width, height);
    const [x, y] = [((at % width) + 0.5) / width, (Math.floor(at / width) + 0.5) / height];
    if (reach > (labels.get(winners[at])?.reach ?? 0)) labels.set(winners[at], { concept: winners[at], x, y, reach });
  });
  return [...labels.values()];
}

/**
 * Steps, diagonal ones too, from each sample to the nearest of another segment or beyond the border.
 * @param {Float32Array} segments
 * @param {number} width
 * @param {number} height
 */
function toOthers(segments, width, height) {
  const distances = new Float32Array(segments.length);
  /** @param {number} at @param {number} dy  to the row already done */
  const update = (at, dy) => {
    const [x, y] = [at % width, Math.floor(at / width)];
    const before = [[-1, dy], [0, dy], [1, dy], [dy, 0]];
    for (const [right, down] of before) {
      const [column, row] = [x + right, y + down];
      const inside = column >= 0 && row >= 0 && column < width && row < height;
      const other = row * width + column;
      const distance = inside && segments[other] === segments[at] ? distances[other] + 1 : 1;
      distances[at] = Math.min(distances[at], distance);
    }
  };
  distances.fill(Infinity);
  for (let at = 0; at < segments.length; at++) update(at, -1);
  for (let at = segments.length - 1; at >= 0; at--) update(at, 1);
  return distances;
}
