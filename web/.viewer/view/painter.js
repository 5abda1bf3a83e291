// Draws a scene on a canvas, for the viewer and for saved images.

import {
  conceptPixels,
  fadedColormap,
  paintOutline,
  paintOutside,
  paintValues,
  paintWinners,
  REGION_PIXEL,
} from "../data/colour.js";
import { arrange, axis, fit, resize } from "../data/geometry.js";
import { joinConcepts } from "../data/heatmaps.js";
import { argmaxMask, cut } from "../data/masks.js";
import { drawCaption, drawLabels, drawRegionNames } from "./lettering.js";

/** @import {Viewport} from "../data/geometry.js" */
/** @import {Label} from "../data/segment_labels.js" */
/** @import {Scene} from "../data/scene.js" */
/** @import {Plane} from "../data/types.js" */

/** @typedef {{viewport: Viewport, concept: number | null}} Tile  one image; with one concept's heatmap, or null */

/**
 * What is drawn beside colours.
 * @typedef {{labels: Label[], outline: boolean, names: boolean, values?: number[]}} Extras  labels: names on segments;
 * names: above single heatmaps; values: beside these names, one per concept
 */

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
    /** @type {Extras | null} */
    this.extras = null;
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {Scene} scene
   * @param {number} ratio  screen pixels per CSS pixel
   * @param {number} samples  at most this many are computed per tile; the rest is interpolated
   * @param {Extras} extras
   * @param {number} [height]  of the part of the canvas to use
   * @returns {Tile[]} what was drawn where
   */
  paint(context, scene, ratio, samples, extras, height = context.canvas.height) {
    const { width } = context.canvas;
    this.extras = extras;
    context.clearRect(0, 0, width, height);
    const tiles = layOut(scene, width, height, ratio);
    for (const tile of tiles) {
      this.drawImage(context, scene, tile.viewport);
      if (scene.look.view !== "sides") {
        this.drawView(context, scene, tile.viewport, samples);
        drawLabels(context, scene, extras.labels, tile.viewport, ratio);
        this.drawRegions(context, scene, tile.viewport, samples, ratio);
        if (scene.look.wipe) this.drawWipe(context, tile.viewport, scene.look.wipe * width, ratio);
      } else {
        if (tile.concept !== null) this.drawHeatmap(context, scene, tile.viewport, [tile.concept], samples);
        else this.drawRegions(context, scene, tile.viewport, samples, ratio);
        drawCaption(context, scene, tile, ratio, extras);
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

  /** Show the image alone left of a place, as it was drawn last. @param {CanvasRenderingContext2D} context
   * @param {Viewport} viewport @param {number} place  screen pixels from the left @param {number} ratio */
  drawWipe(context, { left, top, width, height }, place, ratio) {
    const part = Math.round(Math.min(Math.max(place - left, 0), width));
    if (part) context.drawImage(this.scaledImage, 0, 0, part, height, left, top, part, height);
    context.fillStyle = "#fff";
    if (part < width) context.fillRect(left + part - ratio, top, 2 * ratio, height);
  }

  /** @param {CanvasRenderingContext2D} context @param {Scene} scene @param {Viewport} viewport
   * @param {number} samples */
  drawView(context, scene, viewport, samples) {
    const { look, shown, outlined, method } = scene;
    const edited = scene.parts.pictures.edited && scene.parts.state.hovered === null;
    if (look.view === "overlay") {
      const map = this.drawHeatmap(context, scene, viewport, shown, samples);
      if (method !== "soft" || edited) this.drawOutline(context, viewport, this.maskOf(scene, viewport, samples, map));
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
      if (method !== "soft" || edited) this.drawOutline(context, viewport, mask);
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
    paintValues(plane.values, fadedColormap(scene.look.colormap), scene.range[0], scene.range[1], pixels);
    this.overlay(context, plane, pixels, viewport, scene.look.opacity);
    return plane;
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {Viewport} viewport
   * @param {Plane} mask  its outline is where it crosses one half
   * @param {number} [colour]  of the outline
   */
  drawOutline(context, viewport, mask, colour) {
    if (!this.extras?.outline) return;
    const pixels = this.pixelsFor(mask);
    pixels.fill(0);
    paintOutline(mask.values, mask.width, mask.height, pixels, 1, colour);
    this.overlay(context, mask, pixels, viewport, 1);
  }

  /**
   * Outline the regions where something acted, with their names.
   * @param {CanvasRenderingContext2D} context
   * @param {Scene} scene
   * @param {Viewport} viewport
   * @param {number} samples
   * @param {number} ratio
   */
  drawRegions(context, scene, viewport, samples, ratio) {
    const { whole, x, y } = viewport;
    const [height, width] = sampleSize(viewport, samples);
    for (const { masks } of scene.regions) {
      const mask = masks[scene.frame];
      const rows = axis(mask.height, 1, whole[0], y, viewport.height, height);
      const columns = axis(mask.width, 1, whole[1], x, viewport.width, width);
      const plane = resize(mask.values, mask.width, rows, columns, this.memoryFor("region", height * width));
      this.drawOutline(context, viewport, plane, REGION_PIXEL);
    }
    if (this.extras?.names) drawRegionNames(context, scene, viewport, ratio);
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
    if (scene.mask) return this.visiblePart(scene.mask, viewport, samples);
    if (scene.method === "argmax") {
      const { plane, maps } = this.resizeEach(scene, viewport, samples);
      return { ...plane, values: argmaxMask(maps, scene.shown) };
    }
    const plane = sum ?? this.resizeSum(scene, viewport, scene.shown, samples, "mask");
    if (scene.level) cut(plane.values, scene.level);
    return plane;
  }

  /**
   * The visible part of a mask, pixel by pixel.
   * @param {Plane} mask  of the whole image
   * @param {Viewport} viewport
   * @param {number} samples
   * @returns {Plane}
   */
  visiblePart(mask, viewport, samples) {
    const [height, width] = sampleSize(viewport, samples);
    const values = this.memoryFor("mask", height * width);
    const columns = Int32Array.from({ length: width }, (_, x) => {
      const at = viewport.x + ((x + 0.5) / width) * viewport.width;
      return Math.floor((at / viewport.whole[1]) * mask.width);
    });
    for (let y = 0, to = 0; y < height; y++) {
      const at = viewport.y + ((y + 0.5) / height) * viewport.height;
      const from = Math.floor((at / viewport.whole[0]) * mask.height) * mask.width;
      for (let x = 0; x < width; x++, to++) values[to] = mask.values[from + columns[x]];
    }
    return { values, width, height };
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
  resizeSum({ maps, grid, visible, kind }, viewport, concepts, samples, buffer) {
    const [height, width] = sampleSize(viewport, samples);
    const rows = axis(grid[0], visible[0], viewport.whole[0], viewport.y, viewport.height, height);
    const columns = axis(grid[1], visible[1], viewport.whole[1], viewport.x, viewport.width, width);
    const sum = joinConcepts(maps, grid[0] * grid[1], concepts, kind);
    return resize(sum, grid[1], rows, columns, this.memoryFor(buffer, height * width));
  }

  /** Memory for values. @param {string} name @param {number} count */
  memoryFor(name, count) {
    let values = this.buffers.get(name);
    if (values?.length !== count) {
      values = new Float32Array(count);
      this.buffers.set(name, values);
    }
    return values;
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

/** Height and width that a viewport is computed at. @param {Viewport} viewport @param {number} samples  at most */
function sampleSize({ width, height }, samples) {
  const shrink = Math.max(1, Math.sqrt((width * height) / samples));
  return [height, width].map((side) => Math.max(1, Math.round(side / shrink)));
}
