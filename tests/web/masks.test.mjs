import assert from "node:assert/strict";
import test from "node:test";

import { assertClose, fixture, load } from "./lib.mjs";

const { axis, resize } = await load("data/geometry");
const { argmaxMask, cut, levelOf, otsuLevel } = await load("data/masks");

const [rows, columns] = [0, 1].map((side) => axis(fixture.grid[side], fixture.visible[side], fixture.size[side]));
const enlarge = (map) => resize(Float32Array.from(map), fixture.grid[1], rows, columns).values;

function maskOf({ chosen, method, threshold, percentile }) {
  if (method === "argmax") return fixture.frames.flatMap((planes) => Array.from(argmaxMask(planes.map(enlarge), chosen)));
  const sums = fixture.frames.map((planes) => planes[0].map((_, token) => chosen.reduce((sum, index) => sum + planes[index][token], 0)));
  const values = Float32Array.from(sums.flatMap((sum) => Array.from(enlarge(sum))));
  if (method !== "soft") cut(values, levelOf(values, method, threshold, percentile));
  return Array.from(values);
}

test("every method gives the library's masks", () => {
  for (const given of fixture.cases) {
    const { mask, ...what } = given;
    assertClose(maskOf(given), mask, given.method === "soft" ? 2e-6 : 0, JSON.stringify(what));
  }
});

test("otsu's level is the library's", () => {
  for (const { values, level: expected } of fixture.otsu) assert.equal(otsuLevel(Float32Array.from(values)), expected);
});
