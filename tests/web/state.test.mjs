import assert from "node:assert/strict";
import test from "node:test";

import { load } from "./lib.mjs";

const { accepts } = await load("data/masks");
const states = await load("data/state");
const { LANGUAGES, speak } = await load("view/strings");

const frame = (t) => ({ filename: "f", subfolder: "", type: "temp", width: 8, height: 8, t });
const manifest = {
  concepts: [{ name: "sky", role: "concept" }, { name: "a, b", role: "concept" }, { name: "grass", role: "background" }],
  kind: "share",
  average: "values",
  layers: [3, 7, 8, 9],
  layer_groups: [[3], [7], [8], [9]],
  default_layers: [8, 9],
  steps: [4, 5, 6],
  step_groups: [[0], [1], [2]],
  sigmas: [1, 0.6, 0.2],
  grid: [2, 4, 4],
  pictures: [{ frames: [frame(0), frame(1), frame(1)] }, { frames: [frame(0)] }],
};
const choice = { concepts: "", layers: "auto", steps: "all", method: "soft", threshold: 0.5, percentile: 90, subtract: "" };
const begin = (part = {}, look = {}) => states.initialState(manifest, { ...choice, ...part }, look);

test("with nothing picked the first concept is shown and masked", () => {
  const state = begin();
  assert.deepEqual([state.picked, states.maskedConcepts(state), states.shownConcepts(state)], [[], [0], [0]]);
  assert.deepEqual([state.layers, state.steps], [[2, 3], [0, 1, 2]]);
});

test("picking selects one concept, pinning adds and removes, and names are written as the node parses them", () => {
  let state = states.pick(begin(), 1);
  assert.equal(state.choice.concepts, "a\\, b");
  state = states.pin(state, 2);
  assert.deepEqual([state.picked, state.choice.concepts], [[1, 2], "a\\, b, grass"]);
  state = states.pin(state, 1);
  assert.deepEqual(state.picked, [2]);
  assert.deepEqual(states.shownConcepts({ ...state, hovered: 0 }), [0]); // hovered, for display only
  assert.deepEqual(states.maskedConcepts({ ...state, hovered: 0 }), [2]);
});

test("no click empties the choice", () => {
  const state = states.pick(begin(), 2);
  assert.deepEqual(states.pick(state, 2).picked, [2]); // a double click
  assert.deepEqual(states.pin(state, 2).picked, [2]);
  assert.deepEqual(states.pin(begin(), 0).picked, [0]); // it is shown already
  assert.deepEqual(states.pin(begin(), 1).picked, [0, 1]); // added to what is shown
});

test("a concept is in the mask or subtracted from it, never both, and one is always in it", () => {
  let state = states.subtract(states.pin(begin(), 2), 2);
  assert.deepEqual([state.picked, state.subtracted, state.choice.subtract], [[0], [2], "grass"]);
  assert.equal(states.subtract(state, 0), state); // nothing would be left
  state = states.subtract(state, 1);
  assert.deepEqual(state.choice.subtract, "grass, a\\, b");
  state = states.pin(state, 2);
  assert.deepEqual([state.picked, state.subtracted], [[0, 2], [1]]);
  assert.deepEqual(states.subtract(state, 1).subtracted, []);
  assert.deepEqual(states.withChoice(state, { subtract: "cow" }).invalid, ["subtract"]);
});

test("an edited mask belongs to an image, or to a frame", () => {
  assert.deepEqual([{}, { frame: 2 }, { picture: 1 }].map((look) => states.maskPosition(begin({}, look))), [0, 2, 1]);
});

test("sliders write texts that the node parses", () => {
  const state = begin();
  assert.equal(states.chooseLayers(state, 0, 1).choice.layers, "3,7");
  assert.equal(states.chooseLayers(state, 2, 2).choice.layers, "8");
  assert.equal(states.chooseLayers(state, 0, 3).choice.layers, "all");
  assert.equal(states.chooseSteps(state, 2, 1).choice.steps, "1-2");
  assert.deepEqual(states.chooseSteps(state, 1, 1).steps, [1]);
});

test("invalid texts are reported, and the last valid selection stays in use", () => {
  const state = states.withChoice(begin({ steps: "1" }), { concepts: "cow", steps: "1-", layers: "4" });
  assert.deepEqual([state.invalid, state.steps, state.layers], [["concepts", "steps", "layers"], [1], [2, 3]]);
  assert.deepEqual(states.withChoice(state, { concepts: "sky", steps: "all", layers: "all" }).invalid, []);
});

test("zooming keeps a point where it is and the image in view", () => {
  const at = { x: 0.2, y: 0.7 };
  const state = states.zoomBy(begin(), 4, at);
  const { scale, x, y } = state.look.zoom;
  assert.equal(scale, 4);
  const position = (zoom) => (at.x - zoom.x) * zoom.scale; // from the centre, in parts of the view
  assert.ok(Math.abs(position({ scale, x }) - (at.x - 0.5)) < 1e-9 && Math.abs((at.y - y) * scale - 0.2) < 1e-9);
  assert.deepEqual(states.panBy(state, 9, -9).look.zoom, { scale: 4, x: 0.875, y: 0.125 });
  assert.deepEqual(states.zoomBy(state, 0.001, at).look.zoom, { scale: 1, x: 0.5, y: 0.5 });
  assert.equal(states.zoomBy(state, 1e9, at).look.zoom.scale, 32);
});

test("frames belong to latent frames, and a saved look is limited to the data", () => {
  const state = begin({}, { frame: 2, view: "mask" });
  assert.deepEqual([states.latentFrame(state), states.frameCount(state), state.look.view], [1, 3, "mask"]);
  const second = states.withLook(state, { picture: 1 });
  assert.deepEqual([second.look.frame, states.latentFrame(second)], [0, 0]);
  assert.equal(begin({}, { picture: 7, frame: 9 }).look.picture, 1);
});

test("of a damaged look only what can be used is taken", () => {
  const sound = begin().look;
  const damaged = [
    null, 7, "look", [1], { view: "none", opacity: 2, colormap: "constructor", picture: "x", frame: 0.5 },
    { singleStep: 1, singleLayer: "yes", zoom: null, picture: null, frame: NaN }, { zoom: { scale: 0, x: 0.5, y: 0.5 } },
    { zoom: { scale: NaN, x: 0.5, y: 0.5 } }, { zoom: 3, opacity: "0.5" }, { zoom: { scale: 4, x: null } }, { other: 1 },
  ];
  for (const look of damaged) assert.deepEqual(begin({}, look).look, sound, JSON.stringify(look));
  const mixed = begin({}, { view: "mask", opacity: -1, zoom: { scale: 2, x: 0.5, y: 0.25 }, frame: -3, singleStep: true });
  assert.deepEqual(mixed.look, { ...sound, view: "mask", zoom: { scale: 2, x: 0.5, y: 0.25 }, singleStep: true });
});

test("a widget without a text is reported, or empty", () => {
  const state = begin({ concepts: null, steps: 1, layers: undefined });
  assert.deepEqual([state.picked, state.steps, state.layers, state.invalid], [[], [1], [2, 3], ["layers"]]);
  assert.deepEqual(begin({ concepts: { a: 1 }, steps: [], layers: [3] }).invalid, ["concepts", "steps"]);
});

test("finished heatmaps have no steps and layers to choose", () => {
  const finished = { ...manifest, kind: "score", steps: [], step_groups: [], layers: [], layer_groups: [], default_layers: [], sigmas: [] };
  const state = states.initialState(finished, choice);
  assert.deepEqual([state.fixed, state.steps, state.layers, state.invalid], [true, [0], [0], []]);
  assert.deepEqual(["soft", "argmax", "otsu"].map((method) => accepts(state.manifest.kind, method)), [false, false, true]);
});

test("every language has every text", () => {
  const [english, ...others] = Object.values(LANGUAGES);
  const places = (text) => (text.match(/\{\d\}/g) ?? []).sort().join();
  for (const texts of others) {
    assert.deepEqual(Object.keys(texts), Object.keys(english));
    for (const key of Object.keys(english)) assert.equal(places(texts[key]), places(english[key]), key);
  }
  assert.equal(speak("zh-TW")("at", 1, 2), "位置 1, 2");
  assert.equal(speak("de")("at", 1, 2), "At 1, 2");
});
