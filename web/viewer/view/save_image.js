// What is taken away from the viewer: the view as a picture file, and its numbers as text.

import { Painter } from "./painter.js";
import { element } from "./dom.js";
import { withText } from "../data/png.js";

/** @import {Scene} from "./painter.js" */
/** @import {State} from "../data/state.js" */

const KEY = "concept_attention";
const TILE = 512; // pixels, long side of a picture among others

/** Everything that made a view. @param {State} state */
export function settings({ manifest, choice, picked, steps, layers, look, pixel }) {
  const names = picked.map((index) => manifest.concepts[index].name);
  return {
    concepts: manifest.concepts.map(({ name }) => name),
    picked: names,
    kind: manifest.kind,
    layers: layers.map((index) => manifest.layers[index]),
    steps: steps.map((index) => manifest.steps[index]),
    method: choice.method,
    threshold: choice.threshold,
    percentile: choice.percentile,
    ...look,
    pixel,
    reduced: manifest.reduced,
  };
}

/**
 * Save a view as a PNG in the browser's download folder.
 * @param {Scene} scene
 * @param {State} state
 * @returns {Promise<string>} its name
 */
export async function savePicture(scene, state) {
  const canvas = element("canvas", "");
  const [height, width] = scene.picture;
  if (scene.look.view === "sides") {
    const count = 1 + (scene.picked.length > 1 ? scene.picked.length : scene.concepts.length);
    const columns = Math.ceil(Math.sqrt(count));
    const scale = Math.min(1, TILE / Math.max(height, width));
    canvas.width = Math.round(columns * width * scale);
    canvas.height = Math.round(Math.ceil(count / columns) * height * scale);
  } else Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  if (context) new Painter().paint(context, scene, 1, Infinity);
  /** @type {Blob | null} */
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  if (!blob) throw new Error("The browser could not make a PNG.");
  const file = withText(new Uint8Array(await blob.arrayBuffer()), KEY, settings(state));
  const names = scene.shown.map((index) => scene.concepts[index].name).join("-");
  const name = `concept-${scene.look.view}-${names}`.replace(/[\\/:*?"<>|\s]+/g, "_").slice(0, 100) + ".png";
  const address = URL.createObjectURL(new Blob([file], { type: "image/png" }));
  element("a", "", { href: address, download: name }).click();
  window.setTimeout(() => URL.revokeObjectURL(address), 10_000);
  return name;
}

/**
 * Numbers as a table that spreadsheets take.
 * @param {State} state
 * @param {number[]} values  one per concept
 * @returns {string}
 */
export function tabulate({ manifest, pixel }, values) {
  const place = pixel ? `x ${pixel.x}, y ${pixel.y}` : "mean";
  const lines = manifest.concepts.map(({ name }, index) => `${name}\t${values[index].toFixed(6)}`);
  return [`${manifest.kind}\t${place}`, ...lines].join("\n");
}
