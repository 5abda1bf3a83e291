import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import test from "node:test";

import { fixture, load } from "./lib.mjs";

const { asArray, zip } = await load("data/archive");
const { fileOf, formatEdited, parseEdited } = await load("data/edited");

test("an archive is written", () => {
  const maps = { name: "maps.npy", bytes: asArray(Float32Array.from(fixture.maps), fixture.shape) };
  const line = { name: "海.npy", bytes: asArray(Float32Array.from([1, 2, 3]), [3]) };
  writeFileSync(fixture.archive, zip([maps, line, { name: "about.json", bytes: new TextEncoder().encode('{"a": 1}') }]));
});

test("edited masks are named by position", () => {
  const text = "0: clipspace/a b.png [input]\n12: c.png";
  const edited = parseEdited(`\n ${text} \nnothing`);
  assert.deepEqual([...edited], [[0, "clipspace/a b.png [input]"], [12, "c.png"]]);
  assert.equal(formatEdited(new Map([...edited].reverse())), text);
  assert.deepEqual(fileOf("clipspace/a b.png [input]"), { filename: "a b.png", subfolder: "clipspace", type: "input" });
  assert.deepEqual(fileOf("c.png"), { filename: "c.png", subfolder: "", type: "input" });
});
