import assert from "node:assert/strict";
import test from "node:test";

import { fixture, load } from "./lib.mjs";

const { COLORMAP_NAMES } = await load("data/colour");
const { accepts, METHODS } = await load("data/masks");
const { LANGUAGES } = await load("view/strings");

test("the copied lists are the library's and the nodes'", () => {
  assert.deepEqual(METHODS, fixture.methods);
  assert.deepEqual(COLORMAP_NAMES, fixture.colormaps);
});

test("a method is offered for the kinds of heatmap that the library accepts", () => {
  for (const kind of fixture.kinds) {
    const offered = fixture.methods.filter((method) => accepts(kind, method));
    assert.deepEqual(offered, fixture.accepted[kind], kind);
  }
});

test("every method and every kind has a name in every language, a method that of the node", () => {
  for (const [language, texts] of Object.entries(LANGUAGES)) {
    for (const choice of [...fixture.methods, ...fixture.kinds]) assert.ok(texts[choice], `${language}: ${choice}`);
    for (const method of fixture.methods) assert.equal(texts[method], fixture.labels[language][method]);
  }
});
