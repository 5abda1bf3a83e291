// Files of what the viewer shows: an image, all heatmaps with their numbers, an animation or a video.

import { asArray, zip } from "../data/archive.js";
import { colormap, conceptColour } from "../data/colour.js";
import { withText } from "../data/png.js";
import { readValues } from "../data/reading.js";
import { labelsOf } from "../data/scene.js";
import { settingsOf } from "../data/settings.js";
import { element } from "./dom.js";
import { shorten } from "./lettering.js";
import { Painter } from "./painter.js";

/** @import {Memo} from "../data/memoize.js" */
/** @import {Scene} from "../data/scene.js" */
/** @import {State} from "../data/state.js" */
/** @import {Say} from "./strings.js" */

/**
 * @typedef {object} ExportOptions
 * @property {number} width  pixels; 0: of the image
 * @property {boolean} names  on segments and single heatmaps
 * @property {boolean} legend  below the image
 * @property {boolean} outline  of the mask
 *
 * @typedef {{scene: Scene, state: State, memo: Memo}} Shown
 * @typedef {"gif" | "webp" | "mp4"} AnimationFormat
 * @typedef {(frames: Blob[], format: AnimationFormat, milliseconds: number) => Promise<Blob>} MakeAnimation  frames:
 *   images of one size; milliseconds: that each is shown
 */

/** @type {AnimationFormat[]} */
export const ANIMATION_FORMATS = ["gif", "webp", "mp4"];

const KEY = "concept_attention"; // of the settings in a file
const TILE = 512; // pixels, longer side of an image among others
const LARGEST = 8192; // pixels, longer side of a file
const QUALITY = 0.95; // of a frame that goes into an animation
/** @type {ExportOptions} What the button that saves the view uses. */
export const PLAIN = { width: 0, names: true, legend: false, outline: true };

/** Name of a file. @param {Scene} scene @param {string} what @param {string} suffix */
function nameOf({ shown, concepts }, what, suffix) {
  const names = shown.map((index) => concepts[index].name).join("-");
  return `concept-${what}-${names}`.replace(/[\\/:*?"<>|\s]+/g, "_").slice(0, 100) + suffix;
}

/** Put a file into the browser's download folder. @param {Blob} blob @param {string} name @returns {string} the name */
function download(blob, name) {
  const address = URL.createObjectURL(blob);
  element("a", "", { href: address, download: name }).click();
  window.setTimeout(() => URL.revokeObjectURL(address), 10_000);
  return name;
}

/** Width and height of a drawing. @param {Scene} scene @param {number} wanted  width, or 0 */
function sizeOf({ imageSize: [height, width], look, picked, concepts }, wanted) {
  let [across, down] = [width, height];
  if (look.view === "sides") {
    const count = 1 + (picked.length > 1 ? picked.length : concepts.length);
    const columns = Math.ceil(Math.sqrt(count));
    const scale = Math.min(1, TILE / Math.max(height, width));
    [across, down] = [columns * width * scale, Math.ceil(count / columns) * height * scale];
  }
  const scale = Math.min((wanted || across) / across, LARGEST / Math.max(across, down));
  return [across, down].map((side) => Math.max(1, Math.round(side * scale)));
}

/**
 * Draw a scene on a canvas of its own.
 * @param {Shown} shown
 * @param {ExportOptions} options
 * @param {Say} say
 * @param {HTMLCanvasElement} [canvas]
 * @param {Painter} [painter]
 */
export function drawExport({ scene, memo }, options, say, canvas = element("canvas", ""), painter = new Painter()) {
  const [width, height] = sizeOf(scene, options.width);
  const ratio = Math.max(1, width / 640); // lettering grows with large images
  const legend = options.legend ? legendOf(scene, say) : [];
  const line = Math.round(22 * ratio);
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.font = `${12 * ratio}px system-ui, sans-serif`;
  const lines = breakLines(context, legend, width, ratio);
  Object.assign(canvas, { width, height: height + lines.length * line });
  const values = options.names && options.legend ? readValues(scene, null, memo) : undefined;
  const extras = { labels: options.names ? labelsOf(scene, true, memo) : [], outline: options.outline, names: options.names, values };
  painter.paint(context, scene, ratio, Infinity, extras, height);
  drawLegend(context, lines, height, line, ratio);
  return canvas;
}

/** @typedef {{text: string, colours: Uint32Array | string}} LegendEntry  colours: a ramp, or one */

/** @param {Scene} scene @param {Say} say @returns {LegendEntry[]} */
function legendOf({ look, concepts, shown, range, parts }, say) {
  if (look.view === "segmentation") {
    return concepts.map(({ name }, index) => ({ text: name, colours: conceptColour(index) }));
  }
  const names = shown.map((index) => concepts[index].name).join(" + ");
  if (look.view === "mask") return [{ text: `${say("mask")}: ${names}`, colours: "#fff" }];
  const [low, high] = range.map((value) => String(Number(value.toPrecision(3))));
  const what = `${say(parts.state.manifest.kind)} ${low}–${high}`;
  return [{ text: look.view === "sides" ? what : `${names}: ${what}`, colours: colormap(look.colormap) }];
}

/** @param {CanvasRenderingContext2D} context @param {LegendEntry[]} entries @param {number} width
 * @param {number} ratio @returns {{entry: LegendEntry, left: number, text: string}[][]} */
function breakLines(context, entries, width, ratio) {
  /** @type {{entry: LegendEntry, left: number, text: string}[][]} */
  const lines = [];
  let left = Infinity;
  for (const entry of entries) {
    const swatch = (typeof entry.colours === "string" ? 18 : 86) * ratio;
    const text = shorten(context, entry.text, width - swatch - 8 * ratio);
    const needed = swatch + context.measureText(text).width + 12 * ratio;
    if (left + needed > width + 12 * ratio) {
      lines.push([]);
      left = 6 * ratio;
    }
    lines[lines.length - 1].push({ entry, left, text });
    left += needed;
  }
  return lines;
}

/** @param {CanvasRenderingContext2D} context @param {ReturnType<typeof breakLines>} lines @param {number} top
 * @param {number} line  height @param {number} ratio */
function drawLegend(context, lines, top, line, ratio) {
  if (!lines.length) return;
  context.fillStyle = "#1b1b1b";
  context.fillRect(0, top, context.canvas.width, lines.length * line);
  context.font = `${12 * ratio}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  lines.forEach((entries, row) => {
    const middle = top + (row + 0.5) * line;
    for (const { entry, left, text } of entries) {
      const width = (typeof entry.colours === "string" ? 12 : 80) * ratio;
      drawRamp(context, entry.colours, left, middle - 6 * ratio, width, 12 * ratio);
      context.fillStyle = "#fff";
      context.fillText(text, left + width + 6 * ratio, middle);
    }
  });
}

/** @param {CanvasRenderingContext2D} context @param {Uint32Array | string} colours @param {number} left
 * @param {number} top @param {number} width @param {number} height */
function drawRamp(context, colours, left, top, width, height) {
  if (typeof colours === "string") {
    context.fillStyle = colours;
    context.fillRect(left, top, width, height);
    return;
  }
  const ramp = element("canvas", "", { width: String(colours.length), height: "1" });
  const data = new ImageData(colours.length, 1);
  new Uint32Array(data.data.buffer).set(colours);
  ramp.getContext("2d")?.putImageData(data, 0, 0);
  context.drawImage(ramp, left, top, width, height);
}

/** @param {HTMLCanvasElement} canvas @param {"image/png" | "image/jpeg"} type @returns {Promise<Blob>} */
async function encode(canvas, type) {
  /** @type {Blob | null} */
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, type, QUALITY));
  if (!blob) throw new Error(`The browser cannot write ${canvas.width} x ${canvas.height} pixels.`);
  return blob;
}

/**
 * Save a view as a PNG with its settings.
 * @param {Shown} shown
 * @param {ExportOptions} options
 * @param {Say} say
 * @returns {Promise<string>} the file's name
 */
export async function saveImage(shown, options, say) {
  const blob = await encode(drawExport(shown, options, say), "image/png");
  const png = new Uint8Array(await blob.arrayBuffer());
  const file = withText(png, KEY, settingsOf(shown.state));
  return download(new Blob([file], { type: "image/png" }), nameOf(shown.scene, shown.scene.look.view, ".png"));
}

/**
 * Save the heatmaps of all concepts as a NumPy archive: `heatmaps` (C, H, W), or (T, C, H, W) of a video, and the names,
 * settings and means in `about.json`.
 * @param {Shown} shown
 * @param {Float32Array[]} frames  heatmaps [C, H, W] of every latent frame
 * @returns {string} the file's name
 */
export function saveMaps({ scene, state, memo }, frames) {
  const shape = [scene.concepts.length, ...scene.grid];
  const size = frames[0].length;
  const all = new Float32Array(frames.length * size);
  frames.forEach((maps, index) => all.set(maps, index * size));
  const about = { ...settingsOf(state), means: readValues(scene, null, memo) };
  const archive = zip([
    { name: "heatmaps.npy", bytes: asArray(all, frames.length > 1 ? [frames.length, ...shape] : shape) },
    { name: "about.json", bytes: new TextEncoder().encode(JSON.stringify(about, null, 2)) },
  ]);
  return download(new Blob([archive], { type: "application/zip" }), "concept-heatmaps.npz");
}

/**
 * Save drawings as an animation or a video.
 * @param {AsyncIterable<Shown>} drawings
 * @param {AnimationFormat} format
 * @param {number} milliseconds  that each is shown
 * @param {ExportOptions} options
 * @param {Say} say
 * @param {MakeAnimation} make
 * @returns {Promise<string>} the file's name
 */
export async function saveAnimation(drawings, format, milliseconds, options, say, make) {
  const [canvas, painter] = [element("canvas", ""), new Painter()];
  /** @type {Blob[]} */
  const frames = [];
  let name = "";
  for await (const shown of drawings) {
    drawExport(shown, options, say, canvas, painter);
    frames.push(await encode(canvas, "image/jpeg"));
    name ||= nameOf(shown.scene, shown.scene.look.view, `.${format}`);
  }
  return download(await make(frames, format, milliseconds), name);
}
