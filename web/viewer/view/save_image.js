// Saving a view as a PNG file.

import { withText } from "../data/png.js";
import { settingsOf } from "../data/settings.js";
import { element } from "./dom.js";
import { Painter } from "./painter.js";

/** @import {Scene} from "../data/scene.js" */
/** @import {State} from "../data/state.js" */

const KEY = "concept_attention";
const TILE = 512; // pixels, long side of an image among others

/**
 * Save a view as a PNG with its settings, in the browser's download folder.
 * @param {Scene} scene
 * @param {State} state
 * @returns {Promise<string>} the file's name
 */
export async function saveImage(scene, state) {
  const canvas = element("canvas", "");
  const [height, width] = scene.imageSize;
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
  const file = withText(new Uint8Array(await blob.arrayBuffer()), KEY, settingsOf(state));
  const names = scene.shown.map((index) => scene.concepts[index].name).join("-");
  const name = `concept-${scene.look.view}-${names}`.replace(/[\\/:*?"<>|\s]+/g, "_").slice(0, 100) + ".png";
  const address = URL.createObjectURL(new Blob([file], { type: "image/png" }));
  element("a", "", { href: address, download: name }).click();
  window.setTimeout(() => URL.revokeObjectURL(address), 10_000);
  return name;
}
