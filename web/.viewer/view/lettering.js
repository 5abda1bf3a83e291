// Text in a drawing: names on segments, regions and single heatmaps.

import { REGION } from "../data/colour.js";
import { pixelAt } from "../data/geometry.js";

/** @import {Viewport} from "../data/geometry.js" */
/** @import {Label} from "../data/segment_labels.js" */
/** @import {Scene} from "../data/scene.js" */
/** @import {Extras, Tile} from "./painter.js" */

const SIZE = 12; // CSS pixels

/**
 * Names on segments that have room for them.
 * @param {CanvasRenderingContext2D} context
 * @param {Scene} scene
 * @param {Label[]} labels
 * @param {Viewport} viewport
 * @param {number} ratio
 */
export function drawLabels(context, { concepts, imageSize }, labels, viewport, ratio) {
  const size = SIZE * ratio;
  prepare(context, ratio, "#fff");
  for (const { concept, x, y, reach } of labels) {
    const place = placeIn(viewport, x, y);
    const room = reach * Math.max(...viewport.whole);
    if (room < size / 2 || !pixelAt(viewport, imageSize, place.x, place.y)) continue;
    write(context, concepts[concept].name, place, Math.max(4 * room, 4 * size), viewport, ratio);
  }
  context.textAlign = "start";
}

/**
 * Names of regions above their upper ends.
 * @param {CanvasRenderingContext2D} context
 * @param {Scene} scene
 * @param {Viewport} viewport
 * @param {number} ratio
 */
export function drawRegionNames(context, { regions, frame, imageSize }, viewport, ratio) {
  prepare(context, ratio, REGION);
  for (const { name, tops } of regions) {
    const top = tops[frame];
    if (!top) continue;
    const place = placeIn(viewport, top.x, top.y);
    if (!pixelAt(viewport, imageSize, place.x, place.y)) continue;
    const y = Math.max(place.y - 0.8 * SIZE * ratio, viewport.top + 0.8 * SIZE * ratio);
    write(context, name, { x: place.x, y }, viewport.width, viewport, ratio);
  }
  context.textAlign = "start";
}

/** Set up text in a colour with a black rim. @param {CanvasRenderingContext2D} context @param {number} ratio
 * @param {string} colour */
function prepare(context, ratio, colour) {
  context.font = `600 ${SIZE * ratio}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.lineJoin = "round";
  context.lineWidth = 3 * ratio;
  context.strokeStyle = "#000";
  context.fillStyle = colour;
}

/** A place of the image (0-1) on the screen. @param {Viewport} viewport @param {number} x @param {number} y */
function placeIn(viewport, x, y) {
  return { x: viewport.left + x * viewport.whole[1] - viewport.x, y: viewport.top + y * viewport.whole[0] - viewport.y };
}

/**
 * Write a name around a place, inside the viewport.
 * @param {CanvasRenderingContext2D} context
 * @param {string} text
 * @param {{x: number, y: number}} place
 * @param {number} width  at most
 * @param {Viewport} viewport
 * @param {number} ratio
 */
function write(context, text, { x, y }, width, viewport, ratio) {
  const name = shorten(context, text, Math.min(width, viewport.width));
  const half = context.measureText(name).width / 2 + 2 * ratio;
  const middle = Math.min(Math.max(x, viewport.left + half), viewport.left + viewport.width - half);
  context.strokeText(name, middle, y);
  context.fillText(name, middle, y);
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Scene} scene
 * @param {Tile} tile
 * @param {number} ratio
 * @param {Extras} extras
 */
export function drawCaption(context, { concepts, outlined }, { viewport, concept }, ratio, { names, values, outline }) {
  if (concept === null) return;
  const { left, top, width, height } = viewport;
  if (outline && outlined.includes(concept)) {
    context.strokeStyle = "#fff";
    context.lineWidth = 2 * ratio;
    context.strokeRect(left + ratio, top + ratio, width - 2 * ratio, height - 2 * ratio);
  }
  if (!names) return;
  const size = SIZE * ratio;
  context.font = `${size}px system-ui, sans-serif`;
  const text = values ? `${concepts[concept].name} ${values[concept].toFixed(3)}` : concepts[concept].name;
  const name = shorten(context, text, width - 1.5 * size);
  if (!name) return;
  context.fillStyle = "rgba(0, 0, 0, 0.65)";
  context.fillRect(left, top, context.measureText(name).width + size, 1.6 * size);
  context.fillStyle = "#fff";
  context.textBaseline = "middle";
  context.fillText(name, left + size / 2, top + 0.82 * size);
}

/** The text, shortened to a width. @param {CanvasRenderingContext2D} context @param {string} text
 * @param {number} width */
export function shorten(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  let kept = [...text];
  while (kept.length && context.measureText(`${kept.join("")}…`).width > width) kept = kept.slice(0, -1);
  return kept.length ? `${kept.join("")}…` : "";
}
