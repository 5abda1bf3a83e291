import assert from "node:assert/strict";
import test from "node:test";

import { load } from "./lib.mjs";

const { Memo } = await load("data/memoize");

test("what takes time is computed only when there is time, and shown until then", () => {
  const memo = new Memo();
  assert.equal(memo.getSettled("a", [1], false, () => 1), undefined);
  assert.equal(memo.getSettled("a", [1], true, () => 1), 1);
  assert.equal(memo.getSettled("a", [2], false, () => 2), 1);
  assert.equal(memo.getSettled("a", [2], true, () => 2), 2);
});

test("a result is computed again only when its dependencies change", () => {
  const memo = new Memo();
  const computed = [];
  const get = (name, dependencies) =>
    memo.get(name, dependencies, () => {
      computed.push(name);
      return `${name} ${dependencies}`;
    });
  assert.equal(get("a", [1, 2]), "a 1,2");
  assert.equal(get("b", [1]), "b 1");
  assert.equal(get("a", [1, 2]), "a 1,2");
  assert.deepEqual(computed, ["a", "b"]);
  assert.ok(memo.isCurrent("a", [1, 2]) && !memo.isCurrent("a", [1]) && !memo.isCurrent("c", []));
  assert.equal(get("a", [1, 3]), "a 1,3");
  assert.deepEqual(computed, ["a", "b", "a"]);
  memo.clear();
  assert.equal(get("b", [1]), "b 1");
  assert.deepEqual(computed, ["a", "b", "a", "b"]);
});

test("changed dependencies are reported once", () => {
  const memo = new Memo();
  assert.deepEqual([[1], [1], [2], [2], [1]].map((on) => memo.changed("drawing", on)), [true, false, true, false, true]);
});
