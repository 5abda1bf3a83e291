// Colour maps for values and one colour per concept, the same as the server's, and painting with them.

import { COLORMAPS, CONCEPTS } from "./palettes.js";

/** Names of the colour maps, colour-blind safe ones first. */
export const COLORMAP_NAMES = Object.keys(COLORMAPS);

/** @type {Map<string, Uint32Array>} */
const tables = new Map();

/**
 * @param {string} code  six hexadecimal digits
 * @returns {number} an opaque canvas pixel
 */
function pixel(code) {
  const rgb = parseInt(code, 16);
  return ((255 << 24) | ((rgb & 255) << 16) | (rgb & 0xff00) | (rgb >> 16)) >>> 0;
}

/** @param {string} name @returns {Uint32Array} 256 opaque pixels */
export function colormap(name) {
  const digits = COLORMAPS[name] ?? COLORMAPS.viridis;
  let table = tables.get(name);
  if (!table) {
    table = Uint32Array.from({ length: 256 }, (_, level) => pixel(digits.slice(6 * level, 6 * level + 6)));
    tables.set(name, table);
  }
  return table;
}

/** @param {string} name @returns {Uint32Array} 256 pixels, the first transparent, the last opaque: the image shows where
 * values are low */
export function fadedColormap(name) {
  return colormap(name).map((pixel, level) => ((pixel & 0xffffff) | (level << 24)) >>> 0);
}

/** @param {number} concept @returns {string} CSS colour */
export function conceptColour(concept) {
  return `#${CONCEPTS[concept % CONCEPTS.length]}`;
}

/** @param {number} count @returns {Uint32Array} opaque pixels */
export function conceptPixels(count) {
  return Uint32Array.from({ length: count }, (_, concept) => pixel(CONCEPTS[concept % CONCEPTS.length]));
}

/**
 * Paint values in colour.
 * @param {Float32Array} values
 * @param {Uint32Array} table  256 colours
 * @param {number} low  value of the first colour; lower values have it too
 * @param {number} high  value of the last colour; higher values have it too
 * @param {Uint32Array} pixels  painted
 */
export function paintValues(values, table, low, high, pixels) {
  const factor = high > low ? 256 / (high - low) : 0;
  for (let index = 0; index < values.length; index++) {
    const level = (values[index] - low) * factor;
    pixels[index] = table[level >= 255 ? 255 : level > 0 ? level | 0 : 0];
  }
}

/**
 * Paint each pixel in the colour of the highest heatmap; of equal ones, the first.
 * @param {Float32Array[]} maps
 * @param {Uint32Array} colours  one per heatmap
 * @param {Uint32Array} pixels  painted
 */
export function paintWinners(maps, colours, pixels) {
  const best = maps[0].slice();
  pixels.fill(colours[0]);
  for (let concept = 1; concept < maps.length; concept++) {
    const [map, colour] = [maps[concept], colours[concept]];
    for (let index = 0; index < best.length; index++) {
      if (map[index] > best[index]) {
        best[index] = map[index];
        pixels[index] = colour;
      }
    }
  }
}

/**
 * Paint black outside a mask; inside it the pixels are transparent.
 * @param {Float32Array} mask  0-1
 * @param {Uint32Array} pixels  painted
 */
export function paintOutside(mask, pixels) {
  for (let index = 0; index < mask.length; index++) {
    pixels[index] = (Math.round(255 * (1 - Math.min(Math.max(mask[index], 0), 1))) << 24) >>> 0;
  }
}

const WHITE = 0xffffffff;
const BLACK = 0xff000000;
export const REGION = "#ffd400"; // of the outlines of regions, beside the white ones of masks
export const REGION_PIXEL = pixel(REGION.slice(1));

/**
 * Paint the outline of a mask: a white (or coloured) line inside and a black one outside, to be visible on any image.
 * @param {Float32Array} mask  0-1; inside is above one half
 * @param {number} width
 * @param {number} height
 * @param {Uint32Array} pixels  of the same size; only the outline is painted
 * @param {number} [line]  thickness of each line, pixels
 * @param {number} [colour]  of the line inside
 */
export function paintOutline(mask, width, height, pixels, line = 1, colour = WHITE) {
  for (let y = 0, index = 0; y < height; y++) {
    for (let x = 0; x < width; x++, index++) {
      const inside = mask[index] > 0.5;
      const differs =
        (x >= line && mask[index - line] > 0.5 !== inside) ||
        (x + line < width && mask[index + line] > 0.5 !== inside) ||
        (y >= line && mask[index - line * width] > 0.5 !== inside) ||
        (y + line < height && mask[index + line * width] > 0.5 !== inside);
      if (differs) pixels[index] = inside ? colour : BLACK;
    }
  }
}
