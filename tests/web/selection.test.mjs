import assert from "node:assert/strict";
import test from "node:test";

import { fixture, load } from "./lib.mjs";

const { formatLayers, formatNames, formatNumbers, formatSteps, parseLayers, parseNames, parseSteps } = await load("data/selection");

const manifest = {
  default_layers: fixture.defaults,
  layer_groups: fixture.kept.map((layer) => [layer]),
  step_groups: [0, 1, 2, 3, 4, 5].map((step) => [step]),
};

test("layers are parsed as the nodes parse them", () => {
  for (const [text, expected] of Object.entries(fixture.layers)) {
    const got = parseLayers(text, manifest);
    assert.deepEqual(got && got.map((index) => fixture.kept[index]), expected, text);
  }
});

test("steps are parsed as the nodes parse them", () => {
  for (const [text, expected] of Object.entries(fixture.steps)) assert.deepEqual(parseSteps(text, manifest), expected, text);
});

test("formatted selections parse to the same positions", () => {
  assert.equal(formatNumbers([3, 7, 9, 10, 11]), "3,7,9-11");
  assert.equal(formatLayers([2, 3], manifest), "auto");
  assert.equal(formatLayers([0, 1, 2, 3], manifest), "all");
  assert.equal(formatSteps([0, 1, 2, 3, 4, 5], manifest), "all");
  for (const chosen of [[0], [0, 1], [1, 2, 3], [0, 3]]) {
    assert.deepEqual(parseLayers(formatLayers(chosen, manifest), manifest), chosen);
    assert.deepEqual(parseSteps(formatSteps(chosen, manifest), manifest), chosen);
  }
});

test("averaged groups of steps and layers are selected together", () => {
  const grouped = { default_layers: [4, 9], layer_groups: [[1, 2], [4, 9]], step_groups: [[0, 1, 2], [3, 4, 5]] };
  assert.equal(formatLayers([0], grouped), "1-2");
  assert.equal(formatSteps([1], grouped), "3-5");
  assert.deepEqual(parseLayers("2", grouped), [0]);
  assert.deepEqual(parseLayers("auto", grouped), [1]);
  assert.deepEqual(parseSteps("2-3", grouped), [0, 1]);
  assert.deepEqual(parseSteps("-1", grouped), [1]);
});

test("names are parsed as the nodes parse them, and formatted names parse to the same concepts", () => {
  for (const { text, found } of fixture.names) assert.deepEqual(parseNames(text, fixture.concepts), found, text);
  for (const chosen of [[0], [2, 3], [4, 1, 6], [5]]) {
    assert.deepEqual(parseNames(formatNames(chosen, fixture.concepts), fixture.concepts), chosen);
  }
  assert.equal(parseNames("nobody, sky", fixture.concepts), null);
  assert.deepEqual(parseNames("", fixture.concepts), []);
});
