import assert from "node:assert/strict";
import test from "node:test";

import { load } from "./lib.mjs";

const { keep, recall } = await load("data/manifest_cache");

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

test("the latest run of every viewer is found again", () => {
  const storage = new Storage(1e6);
  keep("a", { run: 1 }, storage);
  keep("b", { run: 2 }, storage);
  keep("a", { run: 3 }, storage);
  assert.deepEqual([recall("a", storage), recall("b", storage), recall("c", storage)], [{ run: 3 }, { run: 2 }, undefined]);
});

test("the oldest go where there are many, or no room", () => {
  const many = new Storage(1e6);
  for (let run = 0; run < 40; run++) keep(`${run}`, { run }, many);
  assert.deepEqual([recall("9", many), recall("10", many), recall("39", many)], [undefined, { run: 10 }, { run: 39 }]);
  const narrow = new Storage(60);
  for (let run = 0; run < 4; run++) keep(`${run}`, { run }, narrow);
  assert.equal(recall("0", narrow), undefined);
  assert.deepEqual(recall("3", narrow), { run: 3 });
  keep("large", { text: "x".repeat(99) }, narrow); // not even alone
  assert.equal(recall("large", narrow), undefined);
});
