// The state of the viewer. Every change is a pure function from one state to the next.

import { clamp } from "./geometry.js";
import { SORTS } from "./order.js";
import { COLORMAPS } from "./palettes.js";
import {
  defaultLayers,
  formatLayers,
  formatNames,
  formatSteps,
  parseLayers,
  parseNames,
  parseSteps,
} from "./selection.js";

/** @import {Choice, Look, Manifest, Pixel, View} from "./types.js" */

/** @typedef {"concepts" | "subtract" | "steps" | "layers"} SelectionName */

/**
 * @typedef {object} State
 * @property {Manifest} manifest
 * @property {boolean} fixed  whether there are no steps and layers to choose
 * @property {Choice} choice  values of the node's widgets
 * @property {number[]} picked  concepts, in the order they were picked
 * @property {number[]} subtracted  concepts that are taken away from the mask
 * @property {number[]} steps  chosen S
 * @property {number[]} layers  chosen L
 * @property {SelectionName[]} invalid  widgets with an invalid text; the last valid selection stays in use
 * @property {Look} look
 * @property {Pixel | null} pixel  under the cursor
 * @property {number | null} hovered  concept under the pointer in the list
 */

/** @type {Look} */
const DEFAULT_LOOK = {
  view: "overlay",
  opacity: 0.7,
  colormap: "viridis",
  picture: 0,
  frame: 0,
  singleStep: false,
  singleLayer: false,
  wipe: 0,
  sort: "written",
  regions: true,
  zoom: { scale: 1, x: 0.5, y: 0.5 },
};
const MAX_ZOOM = 32;
/** @type {View[]} */
const VIEWS = ["overlay", "sides", "segmentation", "mask"];

/** @param {unknown} value @param {number} low @param {number} high */
function lies(value, low, high) {
  return typeof value === "number" && value >= low && value <= high;
}

/** @type {Record<keyof Look, (value: any) => boolean>} Whether a saved value can be used. */
const USABLE = {
  view: (value) => VIEWS.includes(value),
  opacity: (value) => lies(value, 0, 1),
  colormap: (value) => typeof value === "string" && Object.hasOwn(COLORMAPS, value),
  picture: Number.isInteger,
  frame: Number.isInteger,
  singleStep: (value) => typeof value === "boolean",
  singleLayer: (value) => typeof value === "boolean",
  wipe: (value) => lies(value, 0, 1),
  sort: (value) => SORTS.includes(value),
  regions: (value) => typeof value === "boolean",
  zoom: (value) => lies(value?.scale, 1, MAX_ZOOM) && lies(value.x, 0, 1) && lies(value.y, 0, 1),
};

/**
 * What can be used of a look in a workflow, which people and other programs edit too.
 * @param {unknown} saved
 * @returns {Partial<Look>}
 */
function usableLook(saved) {
  const entries = Object.entries(/** @type {Partial<Look>} */ (saved ?? {}));
  return Object.fromEntries(entries.filter(([name, value]) => USABLE[/** @type {keyof Look} */ (name)]?.(value)));
}

/** The text of a widget, whatever a workflow put into it. @param {unknown} value */
function textOf(value) {
  return typeof value === "string" ? value : String(value ?? "");
}

/**
 * @param {Manifest} manifest
 * @param {Choice} choice
 * @param {Partial<Look>} [look]  as saved
 * @returns {State}
 */
export function initialState(manifest, choice, look = {}) {
  const fixed = manifest.steps.length === 0;
  const numbered = fixed ? { ...manifest, steps: [0], layers: [0], step_groups: [[0]], layer_groups: [[0]] } : manifest;
  /** @type {State} */
  const state = {
    manifest: numbered,
    fixed,
    choice,
    picked: [],
    subtracted: [],
    steps: numbered.steps.map((_, index) => index),
    layers: defaultLayers(numbered),
    invalid: [],
    look: DEFAULT_LOOK,
    pixel: null,
    hovered: null,
  };
  return withLook(withChoice(state, choice), usableLook(look));
}

/** @param {State} state @param {Partial<Choice>} part @returns {State} */
export function withChoice(state, part) {
  const choice = { ...state.choice, ...part };
  const { manifest } = state;
  const picked = parseNames(textOf(choice.concepts), manifest.concepts);
  const subtract = parseNames(textOf(choice.subtract), manifest.concepts);
  const steps = parseSteps(textOf(choice.steps), manifest);
  const layers = parseLayers(textOf(choice.layers), manifest);
  const parsed = Object.entries({ concepts: picked, subtract, steps, layers });
  return {
    ...state,
    choice,
    picked: picked ?? state.picked,
    subtracted: subtract ?? state.subtracted,
    steps: steps ?? state.steps,
    layers: layers ?? state.layers,
    invalid: /** @type {SelectionName[]} */ (parsed.filter(([, positions]) => !positions).map(([name]) => name)),
  };
}

/** @param {State} state @param {Partial<Look>} part @returns {State} */
export function withLook(state, part) {
  const look = { ...state.look, ...part };
  const { pictures } = state.manifest;
  const picture = clamp(look.picture, 0, pictures.length - 1);
  const frame = clamp(look.frame, 0, pictures[picture].frames.length - 1);
  const { scale, x, y } = look.zoom;
  const margin = 0.5 / scale;
  const zoom = { scale, x: clamp(x, margin, 1 - margin), y: clamp(y, margin, 1 - margin) };
  return { ...state, look: { ...look, picture, frame, zoom } };
}

/** Pick some concepts and subtract others; none is both. @param {State} state @param {number[]} picked
 * @param {number[]} [subtracted] @returns {State} */
function withPicked(state, picked, subtracted = state.subtracted.filter((concept) => !picked.includes(concept))) {
  const [concepts, subtract] = [picked, subtracted].map((some) => formatNames(some, state.manifest.concepts));
  return withChoice(state, { concepts, subtract });
}

/** The part of a choice that differs from the one before; null if nothing does.
 * @param {Choice} before @param {Choice} after @returns {Partial<Choice> | null} */
export function differences(before, after) {
  const keys = /** @type {(keyof Choice)[]} */ (Object.keys(after));
  const changed = keys.filter((key) => after[key] !== before[key]);
  return changed.length ? Object.fromEntries(changed.map((key) => [key, after[key]])) : null;
}

/** Pick one concept alone. @param {State} state @param {number} concept */
export function pick(state, concept) {
  return withPicked(state, [concept]);
}

/** Add a concept to those in the mask, or remove it; the last one stays. @param {State} state @param {number} concept */
export function pin(state, concept) {
  const masked = maskedConcepts(state);
  const others = masked.filter((index) => index !== concept);
  return withPicked(state, others.length === masked.length ? [...masked, concept] : others.length ? others : masked);
}

/** Subtract a concept from the mask, or no longer; the last one in the mask stays.
 * @param {State} state @param {number} concept */
export function subtract(state, concept) {
  const { subtracted } = state;
  if (subtracted.includes(concept)) return withPicked(state, state.picked, subtracted.filter((one) => one !== concept));
  const others = maskedConcepts(state).filter((index) => index !== concept);
  return others.length ? withPicked(state, others, [...subtracted, concept]) : state;
}

/** @param {number} a @param {number} b @returns {number[]} all whole numbers between the two, both included */
function between(a, b) {
  const first = Math.min(a, b);
  return Array.from({ length: Math.abs(a - b) + 1 }, (_, index) => first + index);
}

/** @param {State} state @param {number} from @param {number} to @returns {State} */
export function chooseSteps(state, from, to) {
  return withChoice(state, { steps: formatSteps(between(from, to), state.manifest) });
}

/** @param {State} state @param {number} from @param {number} to @returns {State} */
export function chooseLayers(state, from, to) {
  return withChoice(state, { layers: formatLayers(between(from, to), state.manifest) });
}

/** @param {State} state @returns {State} */
export function averageSteps(state) {
  return withLook(withChoice(state, { steps: "all" }), { singleStep: false });
}

/** @param {State} state @returns {State} */
export function averageLayers(state) {
  return withLook(withChoice(state, { layers: "auto" }), { singleLayer: false });
}

/**
 * Zoom in or out around a point of the image, which stays where it is.
 * @param {State} state
 * @param {number} factor
 * @param {{x: number, y: number}} at  0-1
 * @returns {State}
 */
export function zoomBy(state, factor, at) {
  const { zoom } = state.look;
  const scale = clamp(zoom.scale * factor, 1, MAX_ZOOM);
  const kept = zoom.scale / scale;
  const moved = { scale, x: at.x + (zoom.x - at.x) * kept, y: at.y + (zoom.y - at.y) * kept };
  return withLook(state, { zoom: moved });
}

/** @param {State} state @param {number} right in parts of the image (0-1) @param {number} down @returns {State} */
export function panBy(state, right, down) {
  const { scale, x, y } = state.look.zoom;
  return withLook(state, { zoom: { scale, x: x + right, y: y + down } });
}

/** Show the whole image. @param {State} state @returns {State} */
export function resetZoom(state) {
  return withLook(state, { zoom: DEFAULT_LOOK.zoom });
}

/** Show another image of the batch. @param {State} state @param {number} by @returns {State} */
export function nextImage(state, by) {
  const count = state.manifest.pictures.length;
  return withLook(state, { picture: (state.look.picture + by + count) % count });
}

/** Show the next frame of the video. @param {State} state @returns {State} */
export function nextFrame(state) {
  return withLook(state, { frame: (state.look.frame + 1) % frameCount(state) });
}

/** Index of the latent frame that the shown frame belongs to. @param {State} state */
export function latentFrame({ manifest, look }) {
  return manifest.pictures[look.picture].frames[look.frame].t;
}

/** Position of the shown image or frame in the batch of masks. @param {State} state */
export function maskPosition(state) {
  return state.look.picture * frameCount(state) + state.look.frame;
}

/** Whether there are regions to outline. @param {State} state */
export function hasRegions({ manifest }) {
  return Boolean(manifest.regions?.length);
}

/** Number of frames of the shown video. @param {State} state */
export function frameCount({ manifest, look }) {
  return manifest.pictures[look.picture].frames.length;
}

/** Concepts whose mask the node returns; the first if none is picked. @param {State} state @returns {number[]} */
export function maskedConcepts(state) {
  return state.picked.length ? state.picked : [0];
}

/** Concepts whose heatmap is shown. @param {State} state @returns {number[]} */
export function shownConcepts(state) {
  return state.hovered === null ? maskedConcepts(state) : [state.hovered];
}
