import assert from "node:assert/strict";
import test from "node:test";

import { fixture, load } from "./lib.mjs";

const { finishedMask, isFinished } = await load("data/finished_mask");
const { levelOf } = await load("data/masks");

const colours = fixture.image.map((values) => ({ values: Float32Array.from(values), width: fixture.size[1], height: fixture.size[0] }));

test("finished masks are the library's", () => {
  for (const { choice, chosen, subtracted, mask } of fixture.cases) {
    const source = {
      maps: Float32Array.from(fixture.maps.flat()),
      concepts: fixture.maps.length,
      grid: fixture.grid,
      visible: fixture.visible,
      kind: fixture.kind,
      colours: choice.guided ? colours : null,
      size: fixture.size,
      scale: 1,
      levelOf: (_, { values }) =>
        ["soft", "argmax"].includes(choice.method) ? null : levelOf(values, choice.method, choice.threshold, choice.percentile),
    };
    assert.ok(isFinished(choice, subtracted));
    const { values } = finishedMask(source, chosen, subtracted, choice);
    const different = mask.filter((value, index) => Math.abs(value - values[index]) > 1e-4).length;
    assert.ok(different <= fixture.allowed * mask.length, `${JSON.stringify({ choice, chosen, subtracted })}: ${different} pixels`);
  }
});

test("a mask that nothing finishes is known", () => {
  const choice = { method: "soft", holes: 5, islands: 5, grow: 0, blur: 0, guided: false };
  assert.ok(!isFinished(choice, []));
  assert.ok(isFinished({ ...choice, method: "otsu" }, []));
});
