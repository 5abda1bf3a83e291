// What buttons start that is more than a change of state: files, the clipboard, sheets and the mask editor.

import { formatEdited, parseEdited } from "../data/edited.js";
import { Memo } from "../data/memoize.js";
import { readValues } from "../data/reading.js";
import { makeScene } from "../data/scene.js";
import { computeMask } from "../data/scene_mask.js";
import { tabulate } from "../data/settings.js";
import * as states from "../data/state.js";
import { element } from "./dom.js";
import { exportContent } from "./export_sheet.js";
import { PLAIN, saveAnimation, saveImage, saveMaps } from "./exports.js";
import { helpContent } from "./help.js";
import { readPixels } from "./pixels.js";
import { wordsContent } from "./words.js";

/** @import {Plane} from "../data/types.js" */
/** @import {Viewer} from "./component.js" */
/** @import {Along} from "./export_sheet.js" */
/** @import {AnimationFormat, ExportOptions, Shown} from "./exports.js" */

const DURATIONS = { steps: 300, frames: 125 }; // of a drawing in an animation, milliseconds

/** What is shown, or null. @param {Viewer} viewer @returns {Shown | null} */
function shownBy({ scene, state, memo }) {
  return scene && state ? { scene, state, memo } : null;
}

/** Copy the values at the cursor. @param {Viewer} viewer */
export function copy(viewer) {
  const shown = shownBy(viewer);
  if (!shown) return;
  const text = tabulate(shown.state, readValues(shown.scene, shown.state.pixel, viewer.memo));
  viewer.host.copy(text).then(
    () => viewer.showMessage("copied"),
    () => viewer.showMessage("not_copied"),
  );
}

/** Say which file was saved, or why none was. @param {Viewer} viewer @param {() => string | Promise<string>} save */
async function report(viewer, save) {
  try {
    viewer.showMessage("saved", await save());
  } catch (error) {
    viewer.showMessage("not_saved", error instanceof Error ? error.message : String(error));
  }
}

/** Save the view. @param {Viewer} viewer @param {ExportOptions} [options] */
export function save(viewer, options = PLAIN) {
  const shown = shownBy(viewer);
  if (shown) report(viewer, () => saveImage(shown, options, viewer.say));
}

/** @param {Viewer} viewer */
export function showHelp({ panel, say }) {
  panel.sheet.toggle(say("help"), helpContent(say));
}

/** Show words of the prompt that could be concepts. @param {Viewer} viewer */
export async function showWords({ panel, say, host, state }) {
  const known = state?.manifest.concepts.map(({ name }) => name) ?? [];
  const { words, add } = await host.words(known);
  panel.sheet.toggle(say("words"), wordsContent(say, words, add));
}

/** Show what can be exported. @param {Viewer} viewer */
export function showExports(viewer) {
  const shown = shownBy(viewer);
  if (!shown) return;
  const { panel, say } = viewer;
  /** @type {Along[]} */
  const moving = [];
  if (shown.state.manifest.steps.length > 1) moving.push("steps");
  if (states.frameCount(shown.state) > 1) moving.push("frames");
  const events = {
    image: (/** @type {ExportOptions} */ options) => save(viewer, options),
    maps: () => report(viewer, () => saveMaps(shown, shown.scene.parts.allFrames())),
    animation: (/** @type {Along} */ along, /** @type {AnimationFormat} */ format, /** @type {ExportOptions} */ options) => {
      const save = () =>
        saveAnimation(drawings(viewer, along), format, DURATIONS[along], options, say, viewer.host.makeAnimation);
      report(viewer, save);
    },
  };
  panel.sheet.toggle(say("export"), exportContent(say, shown.state.manifest.image_size[1], moving, events));
}

/** The view at each step, or of each frame. @param {Viewer} viewer @param {Along} along
 * @returns {AsyncGenerator<Shown>} */
async function* drawings({ state: start, files }, along) {
  const table = start && files.table(start.manifest, start.look.picture);
  if (!start || !table) return;
  const count = along === "steps" ? start.manifest.steps.length : states.frameCount(start);
  for (let index = 0; index < count; index++) {
    const state = along === "steps" ? { ...start, steps: [index] } : states.withLook(start, { frame: index });
    const image = await files.loadedFrame(state.manifest, state.look.picture, state.look.frame);
    const regions = files.regionsOf(state.manifest, state.look.picture);
    const memo = new Memo();
    yield { scene: makeScene(state, table, { image, edited: null, regions, read: readPixels }, true, memo), state, memo };
  }
}

/** A mask as the mask editor reads it: transparent where the mask is. @param {Plane} mask @returns {Promise<Blob | null>} */
function asTransparency({ values, width, height }) {
  const canvas = element("canvas", "", { width: String(width), height: String(height) });
  const data = new ImageData(width, height);
  values.forEach((value, index) => (data.data[4 * index + 3] = Math.round(255 * (1 - value))));
  canvas.getContext("2d")?.putImageData(data, 0, 0);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

/** Hand the mask to ComfyUI's mask editor, and take back what is saved there. @param {Viewer} viewer */
export async function editMask(viewer) {
  const shown = shownBy(viewer);
  if (!shown) return;
  const { scene, state, memo } = shown;
  const subtracted = state.subtracted.filter((concept) => !scene.shown.includes(concept));
  const edited = scene.parts.pictures.edited;
  const mask = edited && scene.mask ? scene.mask : computeMask(scene.parts, subtracted, Infinity, memo);
  const blob = await asTransparency(mask);
  const frame = state.manifest.pictures[state.look.picture].frames[state.look.frame];
  const position = states.maskPosition(state);
  if (!blob) return;
  try {
    await viewer.host.editMask(blob, frame, (name) => setEdited(viewer, position, name));
  } catch (error) {
    viewer.showMessage("not_edited", error instanceof Error ? error.message : String(error));
  }
}

/** @param {Viewer} viewer @param {number} position @param {string | null} name  of the file; null for none */
function setEdited(viewer, position, name) {
  viewer.change((state) => {
    const edited = parseEdited(state.choice.edited);
    if (name) edited.set(position, name);
    else edited.delete(position);
    return states.withChoice(state, { edited: formatEdited(edited) });
  });
  viewer.host.noteChange();
}

/** Go back to the mask that is made from heatmaps. @param {Viewer} viewer */
export function discardEdited(viewer) {
  if (viewer.state) setEdited(viewer, states.maskPosition(viewer.state), null);
}
