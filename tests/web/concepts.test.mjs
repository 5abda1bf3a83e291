import assert from "node:assert/strict";
import test from "node:test";

import { assertClose, fixture, load } from "./lib.mjs";

const { absentConcepts } = await load("data/absent");
const { concentrations, orderOf, SORTS } = await load("data/order");
const { segmentLabels } = await load("data/segment_labels");

const frames = fixture.frames.map((maps) => Float32Array.from(maps.flat()));
const count = fixture.concepts.length;

test("absent concepts are those of the library's summary", () => {
  assert.deepEqual(absentConcepts(frames, count), fixture.absent);
});

test("concentration is the part of a map's total in its highest tenth", () => {
  assertClose(concentrations(frames[0], count), fixture.concentrations, 1e-6);
});

test("concepts are sorted", () => {
  const concepts = fixture.concepts.map((name) => ({ name, role: "concept" }));
  for (const by of SORTS) assert.deepEqual(orderOf(by, concepts, fixture.means, fixture.concentrations), fixture.orders[by], by);
});

test("a name stands in its segment, as far from others as it says", () => {
  const { labels } = fixture;
  const made = segmentLabels(Float32Array.from(labels.maps.flat()), labels.maps.length, labels.grid, [1, 1], labels.size);
  assert.deepEqual(made.map(({ concept }) => concept).sort(), labels.winners);
  for (const { concept, x, y, reach } of made) {
    const [left, top, right, bottom] = labels.boxes[concept];
    const room = Math.min(x - left, right - x, (y - top) * labels.tall, (bottom - y) * labels.tall);
    assert.ok(room > 0 && Math.abs(room - reach) < 0.06, `${concept}: ${room} ${reach}`);
  }
});
