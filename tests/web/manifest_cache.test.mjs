import assert from "node:assert/strict";
import test from "node:test";

import { load } from "./lib.mjs";

const { cachedManifest, cacheManifest } = await load("data/manifest_cache");

class Storage {
  constructor(room) {
    Object.assign(this, { room, text: null });
  }
  getItem() {
    return this.text;
  }
  setItem(name, text) {
    if (text.length > this.room) throw new DOMException("full", "QuotaExceededError");
    this.text = text;
  }
}

test("the latest manifest of each viewer is found again", () => {
  const storage = new Storage(1e6);
  cacheManifest(storage, "a", { run: 1 });
  cacheManifest(storage, "b", { run: 2 });
  cacheManifest(storage, "a", { run: 3 });
  const found = ["a", "b", "c"].map((key) => cachedManifest(storage, key));
  assert.deepEqual(found, [{ run: 3 }, { run: 2 }, undefined]);
});

test("the oldest manifests are dropped when there are many, or when the storage is full", () => {
  const many = new Storage(1e6);
  for (let run = 0; run < 40; run++) cacheManifest(many, `${run}`, { run });
  const found = ["9", "10", "39"].map((key) => cachedManifest(many, key));
  assert.deepEqual(found, [undefined, { run: 10 }, { run: 39 }]);
  const narrow = new Storage(60);
  for (let run = 0; run < 4; run++) cacheManifest(narrow, `${run}`, { run });
  assert.equal(cachedManifest(narrow, "0"), undefined);
  assert.deepEqual(cachedManifest(narrow, "3"), { run: 3 });
  cacheManifest(narrow, "large", { text: "x".repeat(99) }); // not even alone
  assert.equal(cachedManifest(narrow, "large"), undefined);
});

test("a damaged storage holds nothing, and is written anew", () => {
  for (const text of ["{", "null", "7", '"a"', "[null, 3]", "{}"]) {
    const storage = new Storage(1e6);
    storage.text = text;
    assert.equal(cachedManifest(storage, "a"), undefined, text);
    cacheManifest(storage, "a", { run: 1 });
    assert.deepEqual(cachedManifest(storage, "a"), { run: 1 }, text);
  }
});
