// Draws what the viewer shows, on its canvas and into saved pictures alike.

import { colormap, conceptPixels, paintBorder, paintOutside, paintValues, paintWinners } from "../data/colour.js";
import { arrange, axis, fit, resize } from "../data/geometry.js";
import { cut, wins } from "../data/masks.js";
import { together } from "../data/heatmaps.js";

/** @import {Window} from "../data/geometry.js" */
/** @import {Level} from "../data/masks.js" */
/** @import {Concept, Look, Method, Plane} from "../data/types.js" */

/**
 * Everything that is drawn.
 * @typedef {object} Scene
 * @property {HTMLImageElement | null} image
 * @property {[number, number]} picture  [height, width]
 * @property {Float32Array} maps  [C, H, W]
 * @property {[number, number]} grid  [height, width]
 * @property {[number, number]} visible
 * @property {[number, number]} range  values drawn in the first and the last colour
 * @property {Concept[]} concepts
 * @property {Look} look
 * @property {number[]} shown  concepts
 * @property {number[]} picked
 * @property {number[]} marked  concepts whose place is marked among the others
 * @property {Method} method
 * @property {Level | null} level  of the method, unless it compares concepts
 *
 * @typedef {{window: Window, concept: number | null}} Tile  of one concept, or null
 */

const GAP = 6; // screen pixels between tiles

/**
 * @param {Scene} scene
 * @param {number} width
 * @param {number} height
 * @param {number} ratio  screen pixels per CSS pixel
 * @returns {Tile[]}
 */
export function layOut(scene, width, height, ratio) {
  const { picture, look, picked, concepts } = scene;
  const all = { left: 0, top: 0, width, height };
  if (look.view !== "sides") return [{ window: fit(picture, all, look.zoom), concept: null }];
  const chosen = picked.length > 1 ? picked : concepts.map((_, index) => index);
  const places = arrange(chosen.length + 1, picture, width, height, GAP * ratio);
  return places.map((place, index) => ({
    window: fit(picture, place, look.zoom),
    concept: index ? chosen[index - 1] : null,
  }));
}

export class Painter {
  constructor() {
    this.base = document.createElement("canvas"); // the picture, as large as it is shown
    this.raster = document.createElement("canvas"); // what is laid over it
    /** @type {unknown[]} What the base was drawn from. */
    this.based = [];
    /** @type {Map<string, Float32Array>} */
    this.buffers = new Map();
    this.memory = new Uint32Array(0);
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {Scene} scene
   * @param {number} ratio  screen pixels per CSS pixel
   * @param {number} samples  at most so many are computed for each tile; the rest is interpolated
   * @returns {Tile[]} what is where
   */
  paint(context, scene, ratio, samples) {
    const { width, height } = context.canvas;
    context.clearRect(0, 0, width, height);
    const tiles = layOut(scene, width, height, ratio);
    for (const tile of tiles) {
      this.drawPicture(context, scene, tile.window);
      if (scene.look.view !== "sides") this.drawView(context, scene, tile.window, samples);
      else {
        if (tile.concept !== null) this.drawMap(context, scene, tile.window, [tile.concept], samples);
        drawCaption(context, scene, tile, ratio);
      }
    }
    return tiles;
  }

  /** @param {CanvasRenderingContext2D} context @param {Scene} scene @param {Window} window */
  drawPicture(context, { image }, { left, top, width, height, whole, x, y }) {
    if (!image) return;
    const from = [image, width, height, whole[0], whole[1], x, y];
    if (from.some((item, index) => item !== this.based[index])) {
      this.based = from;
      this.base.width = width;
      this.base.height = height;
      const base = /** @type {CanvasRenderingContext2D} */ (this.base.getContext("2d"));
      const [down, across] = [image.naturalHeight / whole[0], image.naturalWidth / whole[1]];
      base.drawImage(image, x * across, y * down, width * across, height * down, 0, 0, width, height);
    }
    context.drawImage(this.base, left, top);
  }

  /** @param {CanvasRenderingContext2D} context @param {Scene} scene @param {Window} window @param {number} samples */
  drawView(context, scene, window, samples) {
    const { look, shown, marked, method } = scene;
    if (look.view === "overlay") {
      const map = this.drawMap(context, scene, window, shown, samples);
      if (method !== "soft") this.drawBorder(context, window, this.mask(scene, window, samples, map));
    } else if (look.view === "segmentation") {
      const planes = scene.concepts.map((_, concept) => this.plane(scene, window, [concept], samples, `${concept}`));
      const maps = planes.map((plane) => plane.values);
      const pixels = this.pixels(planes[0]);
      paintWinners(maps, conceptPixels(maps.length), pixels);
      this.lay(context, planes[0], pixels, window, look.opacity);
      if (marked.length) this.drawBorder(context, window, { ...planes[0], values: wins(maps, marked) });
    } else {
      const mask = this.mask(scene, window, samples);
      const pixels = this.pixels(mask);
      paintOutside(mask.values, pixels);
      this.lay(context, mask, pixels, window, look.opacity);
      if (method !== "soft") this.drawBorder(context, window, mask);
    }
  }

  /**
   * One map of some concepts in colour.
   * @param {CanvasRenderingContext2D} context
   * @param {Scene} scene
   * @param {Window} window
   * @param {number[]} concepts
   * @param {number} samples
   * @returns {Plane} the map
   */
  drawMap(context, scene, window, concepts, samples) {
    const plane = this.plane(scene, window, concepts, samples, "map");
    const pixels = this.pixels(plane);
    paintValues(plane.values, colormap(scene.look.colormap), scene.range[0], scene.range[1], pixels);
    this.lay(context, plane, pixels, window, scene.look.opacity);
    return plane;
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {Window} window
   * @param {Plane} mask  ones and zeros
   */
  drawBorder(context, window, mask) {
    const pixels = this.pixels(mask);
    pixels.fill(0);
    paintBorder(mask.values, mask.width, mask.height, pixels);
    this.lay(context, mask, pixels, window, 1);
  }

  /**
   * The mask of the concepts that are shown.
   * @param {Scene} scene
   * @param {Window} window
   * @param {number} samples
   * @param {Plane} [map]  of these concepts, if it is there already; it is overwritten
   * @returns {Plane}
   */
  mask(scene, window, samples, map) {
    if (scene.method === "argmax") {
      const planes = scene.concepts.map((_, concept) => this.plane(scene, window, [concept], samples, `${concept}`));
      return { ...planes[0], values: wins(planes.map((plane) => plane.values), scene.shown) };
    }
    const plane = map ?? this.plane(scene, window, scene.shown, samples, "mask");
    if (scene.level) cut(plane.values, scene.level);
    return plane;
  }

  /**
   * The map of some concepts, as much of it as a window shows.
   * @param {Scene} scene
   * @param {Window} window
   * @param {number[]} concepts
   * @param {number} samples
   * @param {string} buffer  which memory to use again
   * @returns {Plane}
   */
  plane({ maps, grid, visible }, window, concepts, samples, buffer) {
    const shrink = Math.max(1, Math.sqrt((window.width * window.height) / samples));
    const [height, width] = [window.height, window.width].map((side) => Math.max(1, Math.round(side / shrink)));
    const rows = axis(grid[0], visible[0], window.whole[0], window.y, window.height, height);
    const columns = axis(grid[1], visible[1], window.whole[1], window.x, window.width, width);
    const map = together(maps, grid[0] * grid[1], concepts);
    let values = this.buffers.get(buffer);
    if (values?.length !== height * width) {
      values = new Float32Array(height * width);
      this.buffers.set(buffer, values);
    }
    return resize(map, grid[1], rows, columns, values);
  }

  /** @param {Plane} plane memory for its pixels */
  pixels({ width, height }) {
    if (this.memory.length !== width * height) this.memory = new Uint32Array(width * height);
    return this.memory;
  }

  /**
   * Lay pixels over a window.
   * @param {CanvasRenderingContext2D} context
   * @param {Plane} plane
   * @param {Uint32Array<ArrayBuffer>} pixels
   * @param {Window} window
   * @param {number} opacity
   */
  lay(context, plane, pixels, window, opacity) {
    const { raster } = this;
    const data = new ImageData(new Uint8ClampedArray(pixels.buffer), plane.width, plane.height);
    if (raster.width !== plane.width || raster.height !== plane.height) {
      raster.width = plane.width;
      raster.height = plane.height;
    }
    /** @type {CanvasRenderingContext2D} */ (raster.getContext("2d")).putImageData(data, 0, 0);
    context.globalAlpha = opacity;
    context.drawImage(raster, window.left, window.top, window.width, window.height);
    context.globalAlpha = 1;
  }
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Scene} scene
 * @param {Tile} tile
 * @param {number} ratio
 */
function drawCaption(context, { concepts, marked }, { window, concept }, ratio) {
  const { left, top, width, height } = window;
  if (concept !== null && marked.includes(concept)) {
    context.strokeStyle = "#fff";
    context.lineWidth = 2 * ratio;
    context.strokeRect(left + ratio, top + ratio, width - 2 * ratio, height - 2 * ratio);
  }
  if (concept === null) return;
  const size = 12 * ratio;
  context.font = `${size}px system-ui, sans-serif`;
  const name = shorten(context, concepts[concept].name, width - 1.5 * size);
  if (!name) return;
  context.fillStyle = "rgba(0, 0, 0, 0.65)";
  context.fillRect(left, top, context.measureText(name).width + size, 1.6 * size);
  context.fillStyle = "#fff";
  context.textBaseline = "middle";
  context.fillText(name, left + size / 2, top + 0.82 * size);
}

/** @param {CanvasRenderingContext2D} context @param {string} text @param {number} room */
function shorten(context, text, room) {
  if (context.measureText(text).width <= room) return text;
  let kept = [...text];
  while (kept.length && context.measureText(`${kept.join("")}…`).width > room) kept = kept.slice(0, -1);
  return kept.length ? `${kept.join("")}…` : "";
}
