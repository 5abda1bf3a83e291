// What the viewer shows and what was chosen in it. Every change is a function from one state to the next.

import { clamp } from "./geometry.js";
import { RELATIVE } from "./masks.js";
import {
  defaultLayers,
  formatLayers,
  formatNames,
  formatSteps,
  parseLayers,
  parseNames,
  parseSteps,
  span,
} from "./selection.js";

/** @import {Choice, Look, Manifest, Method} from "./types.js" */

/** @typedef {"concepts" | "steps" | "layers"} Unread */

/**
 * @typedef {object} State
 * @property {Manifest} manifest
 * @property {boolean} fixed  there are no steps and layers to choose
 * @property {Choice} choice  what the node's widgets say
 * @property {number[]} picked  concepts, in the order they were picked
 * @property {number[]} steps  chosen S
 * @property {number[]} layers  chosen L
 * @property {Unread[]} unread  choices that could not be read; what was there before still counts
 * @property {Look} look
 * @property {{x: number, y: number} | null} pixel  of the picture, under the pointer
 * @property {number | null} hovered  concept whose name is pointed at
 */

/** @type {Look} */
const FIRST_LOOK = {
  view: "overlay",
  opacity: 0.7,
  colormap: "viridis",
  picture: 0,
  frame: 0,
  singleStep: false,
  singleLayer: false,
  zoom: { scale: 1, x: 0.5, y: 0.5 },
};
const GREATEST_ZOOM = 32;

/**
 * @param {Manifest} manifest
 * @param {Choice} choice
 * @param {Partial<Look>} [look]  as it was saved
 * @returns {State}
 */
export function begin(manifest, choice, look = {}) {
  const fixed = manifest.steps.length === 0;
  const numbered = fixed ? { ...manifest, steps: [0], layers: [0], step_groups: [[0]], layer_groups: [[0]] } : manifest;
  /** @type {State} */
  const state = {
    manifest: numbered,
    fixed,
    choice,
    picked: [],
    steps: numbered.steps.map((_, index) => index),
    layers: defaultLayers(numbered),
    unread: [],
    look: FIRST_LOOK,
    pixel: null,
    hovered: null,
  };
  return withLook(withChoice(state, choice), look);
}

/** @param {State} state @param {Partial<Choice>} part @returns {State} */
export function withChoice(state, part) {
  const choice = { ...state.choice, ...part };
  const { manifest } = state;
  const picked = parseNames(choice.concepts, manifest.concepts);
  const steps = parseSteps(choice.steps, manifest);
  const layers = parseLayers(choice.layers, manifest);
  const read = Object.entries({ concepts: picked, steps, layers });
  return {
    ...state,
    choice,
    picked: picked ?? state.picked,
    steps: steps ?? state.steps,
    layers: layers ?? state.layers,
    unread: /** @type {Unread[]} */ (read.filter(([, positions]) => !positions).map(([name]) => name)),
  };
}

/** @param {State} state @param {Partial<Look>} part @returns {State} */
export function withLook(state, part) {
  const look = { ...state.look, ...part };
  const { pictures } = state.manifest;
  const picture = clamp(look.picture, 0, pictures.length - 1);
  const frame = clamp(look.frame, 0, pictures[picture].frames.length - 1);
  const { scale, x, y } = look.zoom;
  const room = 0.5 / scale;
  const zoom = { scale, x: clamp(x, room, 1 - room), y: clamp(y, room, 1 - room) };
  return { ...state, look: { ...look, picture, frame, zoom } };
}

/** @param {State} state @param {number[]} picked @returns {State} */
function withPicked(state, picked) {
  return withChoice(state, { concepts: formatNames(picked, state.manifest.concepts) });
}

/** What of a choice is another than before; null if nothing is. @param {Choice} before @param {Choice} after
 * @returns {Partial<Choice> | null} */
export function differences(before, after) {
  const keys = /** @type {(keyof Choice)[]} */ (Object.keys(after));
  const changed = keys.filter((key) => after[key] !== before[key]);
  return changed.length ? Object.fromEntries(changed.map((key) => [key, after[key]])) : null;
}

/** Only this concept; none if it already was the only one. @param {State} state @param {number} concept */
export function pick(state, concept) {
  const only = state.picked.length === 1 && state.picked[0] === concept;
  return withPicked(state, only ? [] : [concept]);
}

/** This concept as well, or no longer. @param {State} state @param {number} concept */
export function pin(state, concept) {
  const others = state.picked.filter((index) => index !== concept);
  return withPicked(state, others.length < state.picked.length ? others : [...state.picked, concept]);
}

/** @param {State} state @param {number} from @param {number} to @returns {State} */
export function chooseSteps(state, from, to) {
  const chosen = span(Math.min(from, to), Math.max(from, to));
  return withChoice(state, { steps: formatSteps(chosen, state.manifest) });
}

/** @param {State} state @param {number} from @param {number} to @returns {State} */
export function chooseLayers(state, from, to) {
  const chosen = span(Math.min(from, to), Math.max(from, to));
  return withChoice(state, { layers: formatLayers(chosen, state.manifest) });
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
 * Magnify, keeping one point of the picture where it is.
 * @param {State} state
 * @param {number} factor
 * @param {{x: number, y: number}} at  0-1
 * @returns {State}
 */
export function zoomBy(state, factor, at) {
  const { zoom } = state.look;
  const scale = clamp(zoom.scale * factor, 1, GREATEST_ZOOM);
  const kept = zoom.scale / scale;
  const moved = { scale, x: at.x + (zoom.x - at.x) * kept, y: at.y + (zoom.y - at.y) * kept };
  return withLook(state, { zoom: moved });
}

/** @param {State} state @param {number} right in parts of the picture @param {number} down @returns {State} */
export function panBy(state, right, down) {
  const { scale, x, y } = state.look.zoom;
  return withLook(state, { zoom: { scale, x: x + right, y: y + down } });
}

/** The whole picture. @param {State} state @returns {State} */
export function zoomOut(state) {
  return withLook(state, { zoom: FIRST_LOOK.zoom });
}

/** Another picture of the batch. @param {State} state @param {number} by @returns {State} */
export function turn(state, by) {
  const count = state.manifest.pictures.length;
  return withLook(state, { picture: (state.look.picture + by + count) % count });
}

/** The next frame. @param {State} state @returns {State} */
export function advance(state) {
  return withLook(state, { frame: (state.look.frame + 1) % frameCount(state) });
}

/** Which of the grid's frames belongs to the frame that is shown. @param {State} state */
export function gridFrame({ manifest, look }) {
  return manifest.pictures[look.picture].frames[look.frame].t;
}

/** Frames of the picture that is shown. @param {State} state */
export function frameCount({ manifest, look }) {
  return manifest.pictures[look.picture].frames.length;
}

/** Concepts whose mask the node gives; the first if none is picked. @param {State} state @returns {number[]} */
export function masked(state) {
  return state.picked.length ? state.picked : [0];
}

/** Concepts that are drawn. @param {State} state @returns {number[]} */
export function shown(state) {
  return state.hovered === null ? masked(state) : [state.hovered];
}

/** Whether the node refuses the method for this kind of map. @param {State} state @param {Method} method */
export function refused(state, method) {
  return state.manifest.kind !== "share" && !RELATIVE.includes(method);
}
