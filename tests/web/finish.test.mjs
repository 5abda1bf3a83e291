import assert from "node:assert/strict";
import test from "node:test";

import { assertClose, fixture, load } from "./lib.mjs";

const { blurMask, dropIslands, fillHoles, growMask } = await load("data/finish");
const { sharpen } = await load("data/guided");

const plane = ({ values, width, height }) => ({ values: Float32Array.from(values), width, height });

test("holes and islands are the library's", () => {
  for (const { mask, percent, holes, islands } of fixture.areas) {
    for (const [act, expected] of [[fillHoles, holes], [dropIslands, islands]]) {
      const made = plane(mask);
      act(made, percent);
      assert.deepEqual(Array.from(made.values), expected, `${act.name} ${percent}`);
    }
  }
});

test("masks grow and shrink exactly as in the library", () => {
  for (const { mask, pixels, grown } of fixture.grown) {
    assert.deepEqual(Array.from(growMask(plane(mask), pixels).values), Array.from(Float32Array.from(grown)), `${pixels}`);
  }
});

test("masks are blurred as in the library", () => {
  for (const { mask, sigma, blurred } of fixture.blurred) {
    assertClose(blurMask(plane(mask), sigma).values, blurred, 1e-6, `${sigma}`);
  }
});

test("heatmaps follow the edges of an image as in the library", () => {
  for (const { maps, grid, visible, kind, image, size, sharpened } of fixture.sharpened) {
    const colours = image.colours.map((values) => plane({ ...image, values }));
    const made = sharpen(maps.map((map) => Float32Array.from(map)), grid, visible, colours, size);
    made.forEach(({ values }, concept) => assertClose(values, sharpened[concept], 5e-6, `${kind} ${size} ${concept}`));
  }
});
