// Texts on a drawn scene: names on segments and above single heatmaps.

import { pixelAt } from "../data/geometry.js";

/** @import {Viewport} from "../data/geometry.js" */
/** @import {Label} from "../data/segment_labels.js" */
/** @import {Scene} from "../data/scene.js" */
/** @import {Extras, Tile} from "./painter.js" */

/**
 * Names on segments that have room for them.
 * @param {CanvasRenderingContext2D} context
 * @param {Scene} scene
 * @param {Label[]} labels
 * @param {Viewport} viewport
 * @param {number} ratio
 */
export function drawLabels(context, { concepts, imageSize }, labels, viewport, ratio) {
  const size = 12 * ratio;
  context.font = `600 ${size}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.lineJoin = "round";
  context.lineWidth = 3 * ratio;
  context.strokeStyle = "#000";
  context.fillStyle = "#fff";
  for (const { concept, x, y, reach } of labels) {
    const place = { x: viewport.left + x * viewport.whole[1] - viewport.x, y: viewport.top + y * viewport.whole[0] - viewport.y };
    const room = reach * Math.max(...viewport.whole);
    if (room < size / 2 || !pixelAt(viewport, imageSize, place.x, place.y)) continue;
    const name = shorten(context, concepts[concept].name, Math.min(Math.max(4 * room, 4 * size), viewport.width));
    const half = context.measureText(name).width / 2 + 2 * ratio;
    const middle = Math.min(Math.max(place.x, viewport.left + half), viewport.left + viewport.width - half);
    context.strokeText(name, middle, place.y);
    context.fillText(name, middle, place.y);
  }
  context.textAlign = "start";
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
  const size = 12 * ratio;
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
