import assert from "node:assert/strict";
import test from "node:test";

import { assertClose, fixture, load } from "./lib.mjs";

const { decodeRegions } = await load("data/regions");

test("masks of regions are read, relative to their strength, with the middle of their upper ends", () => {
  const { stored, shape, names, masks, tops } = fixture;
  const regions = decodeRegions(Uint8Array.from(stored).buffer, { shape }, names);
  assert.deepEqual(regions.map(({ name }) => name), names);
  regions.forEach((region, index) => {
    region.masks.forEach((mask, frame) => {
      assert.deepEqual([mask.height, mask.width], shape.slice(2));
      assertClose(mask.values, masks[index][frame], 1 / 255, names[index]);
    });
    assert.deepEqual(region.tops, tops[index]);
  });
});

test("other bytes than the names and the shape say are an error", () => {
  const bytes = Uint8Array.from(fixture.stored);
  const reference = { shape: fixture.shape };
  assert.throws(() => decodeRegions(bytes.slice(1).buffer, reference, fixture.names), /Expected 3 regions of 40 bytes/);
  assert.throws(() => decodeRegions(bytes.buffer, reference, ["one"]), /got 1 in 120/);
});
