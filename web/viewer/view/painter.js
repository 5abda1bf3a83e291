// Draws a scene on a canvas, for the viewer and for saved images.

import { colormap, conceptPixels, paintOutline, paintOutside, paintValues, paintWinners } from "../data/colour.js";
import { arrange, axis, fit, resize } from "../data/geometry.js";
import { sumConcepts } from "../data/heatmaps.js";
import { argmaxMask, cut } from "../data/masks.js";

/** @import {Viewport} from "../data/geometry.js" */
/** @import {Scene} from "../data/scene.js" */
/** @import {Plane} from "../data/types.js" */

/** @typedef {{viewport: Viewport, concept: number | null}} Tile  one image; with one concept's heatmap, or null */

const GAP = 6; // CSS pixels between tiles

/**
 * @param {Scene} scene
 * @param {number} width
 * @param {number} height
 * @param {number} ratio  screen pixels per CSS pixel
 * @returns {Tile[]}
 */
function layOut(scene, width, height, ratio) {
  const { imageSize, look, picked, concepts } = scene;
  const whole = { left: 0, top: 0, width, height };
  if (look.view !== "sides") return [{ viewport: fit(imageSize, whole, look.zoom), concept: null }];
  const chosen = picked.length > 1 ? picked : concepts.map((_, index) => index);
  const rectangles = arrange(chosen.length + 1, imageSize, width, height, GAP * ratio);
  return rectangles.map((rectangle, index) => ({
    viewport: fit(imageSize, rectangle, look.zoom),
    concept: index ? chosen[index - 1] : null,
  }));
}

export class Painter {
  constructor() {
    this.scaledImage = document.createElement("canvas"); // the image at its size on the screen
    /** @type {unknown[]} What the scaled image depends on. */
    this.dependencies = [];
    this.layer = document.createElement("canvas"); // what is drawn over it
    /** @type {Map<string, Float32Array>} Memory for heatmaps, used again. */
    this.buffers = new Map();
    this.pixels = new Uint32Array(0); // memory, used again
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {Scene} scene
   * @param {number} ratio  screen pixels per CSS pixel
   * @param {number} samples  at most this many are computed per tile; the rest is interpolated
   * @returns {Tile[]} what was drawn where
   */
  paint(context, scene, ratio, samples) {
    const { width, height } = context.canvas;
    context.clearRect(0, 0, width, height);
    const tiles = layOut(scene, width, height, ratio);
    for (const tile of tiles) {
      this.drawImage(context, scene, tile.viewport);
      if (scene.look.view !== "sides") this.drawView(context, scene, tile.viewport, samples);
      else {
        if (tile.concept !== null) this.drawHeatmap(context, scene, tile.viewport, [tile.concept], samples);
        drawCaption(context, scene, tile, ratio);
      }
    }
    return tiles;
  }

  /** @param {CanvasRenderingContext2D} context @param {Scene} scene @param {Viewport} viewport */
  drawImage(context, { image }, { left, top, width, height, whole, x, y }) {
    if (!image) return;
    const dependencies = [image, width, height, whole[0], whole[1], x, y];
    if (dependencies.some((item, index) => item !== this.dependencies[index])) {
      this.dependencies = dependencies;
      this.scaledImage.width = width;
      this.scaledImage.height = height;
      const scaled = /** @type {CanvasRenderingContext2D} */ (this.scaledImage.getContext("2d"));
      const [down, across] = [image.naturalHeight / whole[0], image.naturalWidth / whole[1]];
      scaled.drawImage(image, x * across, y * down, width * across, height * down, 0, 0, width, height);
    }
    context.drawImage(this.scaledImage, left, top);
  }

  /** @param {CanvasRenderingContext2D} context @param {Scene} scene @param {Viewport} viewport
   * @param {number} samples */
  drawView(context, scene, viewport, samples) {
    const { look, shown, outlined, method } = scene;
    if (look.view === "overlay") {
      const map = this.drawHeatmap(context, scene, viewport, shown, samples);
      if (method !== "soft") this.drawOutline(context, viewport, this.maskOf(scene, viewport, samples, map));
    } else if (look.view === "segmentation") {
      const { plane, maps } = this.resizeEach(scene, viewport, samples);
      const pixels = this.pixelsFor(plane);
      paintWinners(maps, conceptPixels(maps.length), pixels);
      this.overlay(context, plane, pixels, viewport, look.opacity);
      if (outlined.length) this.drawOutline(context, viewport, { ...plane, values: argmaxMask(maps, outlined) });
    } else {
      const mask = this.maskOf(scene, viewport, samples);
      const pixels = this.pixelsFor(mask);
      paintOutside(mask.values, pixels);
      this.overlay(context, mask, pixels, viewport, look.opacity);
      if (method !== "soft") this.drawOutline(context, viewport, mask);
    }
  }

  /**
   * Draw the sum of some concepts' heatmaps.
   * @param {CanvasRenderingContext2D} context
   * @param {Scene} scene
   * @param {Viewport} viewport
   * @param {number[]} concepts
   * @param {number} samples
   * @returns {Plane} the sum
   */
  drawHeatmap(context, scene, viewport, concepts, samples) {
    const plane = this.resizeSum(scene, viewport, concepts, samples, "heatmap");
    const pixels = this.pixelsFor(plane);
    paintValues(plane.values, colormap(scene.look.colormap), scene.range[0], scene.range[1], pixels);
    this.overlay(context, plane, pixels, viewport, scene.look.opacity);
    return plane;
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {Viewport} viewport
   * @param {Plane} mask  ones and zeros
   */
  drawOutline(context, viewport, mask) {
    const pixels = this.pixelsFor(mask);
    pixels.fill(0);
    paintOutline(mask.values, mask.width, mask.height, pixels);
    this.overlay(context, mask, pixels, viewport, 1);
  }

  /**
   * The mask of the shown concepts.
   * @param {Scene} scene
   * @param {Viewport} viewport
   * @param {number} samples
   * @param {Plane} [sum]  of these concepts' heatmaps, if it exists already; it is overwritten
   * @returns {Plane}
   */
  maskOf(scene, viewport, samples, sum) {
    if (scene.method === "argmax") {
      const { plane, maps } = this.resizeEach(scene, viewport, samples);
      return { ...plane, values: argmaxMask(maps, scene.shown) };
    }
    const plane = sum ?? this.resizeSum(scene, viewport, scene.shown, samples, "mask");
    if (scene.level) cut(plane.values, scene.level);
    return plane;
  }

  /** Every concept's heatmap, and the first as a plane. @param {Scene} scene @param {Viewport} viewport
   * @param {number} samples */
  resizeEach(scene, viewport, samples) {
    const planes = scene.concepts.map((_, index) => this.resizeSum(scene, viewport, [index], samples, `${index}`));
    return { plane: planes[0], maps: planes.map((plane) => plane.values) };
  }

  /**
   * The visible part of the sum of some concepts' heatmaps, at most `samples` large.
   * @param {Scene} scene
   * @param {Viewport} viewport
   * @param {number[]} concepts
   * @param {number} samples
   * @param {string} buffer  name of the memory to use
   * @returns {Plane}
   */
  resizeSum({ maps, grid, visible }, viewport, concepts, samples, buffer) {
    const shrink = Math.max(1, Math.sqrt((viewport.width * viewport.height) / samples));
    const [height, width] = [viewport.height, viewport.width].map((side) => Math.max(1, Math.round(side / shrink)));
    const rows = axis(grid[0], visible[0], viewport.whole[0], viewport.y, viewport.height, height);
    const columns = axis(grid[1], visible[1], viewport.whole[1], viewport.x, viewport.width, width);
    const sum = sumConcepts(maps, grid[0] * grid[1], concepts);
    let values = this.buffers.get(buffer);
    if (values?.length !== height * width) {
      values = new Float32Array(height * width);
      this.buffers.set(buffer, values);
    }
    return resize(sum, grid[1], rows, columns, values);
  }

  /** Memory for the pixels of a plane. @param {Plane} plane */
  pixelsFor({ width, height }) {
    if (this.pixels.length !== width * height) this.pixels = new Uint32Array(width * height);
    return this.pixels;
  }

  /**
   * Draw pixels over a viewport.
   * @param {CanvasRenderingContext2D} context
   * @param {Plane} plane  for its size
   * @param {Uint32Array<ArrayBuffer>} pixels
   * @param {Viewport} viewport
   * @param {number} opacity
   */
  overlay(context, { width, height }, pixels, viewport, opacity) {
    const { layer } = this;
    const data = new ImageData(new Uint8ClampedArray(pixels.buffer), width, height);
    if (layer.width !== width || layer.height !== height) Object.assign(layer, { width, height });
    /** @type {CanvasRenderingContext2D} */ (layer.getContext("2d")).putImageData(data, 0, 0);
    context.globalAlpha = opacity;
    context.drawImage(layer, viewport.left, viewport.top, viewport.width, viewport.height);
    context.globalAlpha = 1;
  }
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Scene} scene
 * @param {Tile} tile
 * @param {number} ratio
 */
function drawCaption(context, { concepts, outlined }, { viewport, concept }, ratio) {
  if (concept === null) return;
  const { left, top, width, height } = viewport;
  if (outlined.includes(concept)) {
    context.strokeStyle = "#fff";
    context.lineWidth = 2 * ratio;
    context.strokeRect(left + ratio, top + ratio, width - 2 * ratio, height - 2 * ratio);
  }
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

/** The text, shortened to a width. @param {CanvasRenderingContext2D} context @param {string} text
 * @param {number} width */
function shorten(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  let kept = [...text];
  while (kept.length && context.measureText(`${kept.join("")}…`).width > width) kept = kept.slice(0, -1);
  return kept.length ? `${kept.join("")}…` : "";
}
