import test from "node:test";

import { assertClose, fixture, load } from "./lib.mjs";

const { joinConcepts, makeHeatmaps } = await load("data/heatmaps");
const { decode, SummedAreaTable } = await load("data/summed_area");

test("means over any steps and layers are the library's heatmaps", () => {
  const image = { ...fixture, dtype: "uint16" };
  const buffer = Uint16Array.from(fixture.stored).buffer;
  const table = new SummedAreaTable(decode(buffer, image), image, fixture.weights[0], fixture.weights[1]);
  const tolerance = fixture.average === "softmax" ? (1.5 * fixture.scale) / fixture.temperature : 0.51 * fixture.scale + 1e-6;
  for (const { steps, layers, frames } of fixture.choices) {
    frames.forEach((expected, frame) => {
      const maps = makeHeatmaps(table, fixture, steps, layers, frame);
      assertClose(maps, expected, tolerance, `steps ${steps} layers ${layers} frame ${frame}`);
    });
  }
});

test("several concepts are summed", () => {
  const maps = Float32Array.from([1, 2, 10, 20, 100, 200]);
  assertClose(joinConcepts(maps, 2, [0, 2], "share"), [101, 202], 0);
  assertClose(joinConcepts(maps, 2, [1], "share"), [10, 20], 0);
  assertClose(joinConcepts(Float32Array.from([3, 2, 1, 4]), 2, [0, 1], "presence"), [3, 4], 0);
});
