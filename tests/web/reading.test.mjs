import assert from "node:assert/strict";
import test from "node:test";

import { load } from "./lib.mjs";

const { isUndecided, remarkOn, winnerOf } = await load("data/reading");

test("the first of equal concepts wins", () => {
  assert.equal(winnerOf([0.2, 0.4, 0.4]), 1);
});

test("shares are undecided where no concept stands out", () => {
  assert.ok(isUndecided([0.21, 0.2, 0.19, 0.2, 0.2]));
  assert.ok(!isUndecided([0.4, 0.15, 0.15, 0.15, 0.15]));
  assert.ok(!isUndecided([1])); // a single concept has no other to stand out from
});

test("a remark says that no concept stands out, or that a background concept has the highest value", () => {
  const concepts = [{ name: "sky", role: "background" }, { name: "sun", role: "concept" }];
  assert.equal(remarkOn([0.52, 0.48], "share", concepts), "nothing_fits");
  assert.equal(remarkOn([0.9, 0.1], "share", concepts), "background_wins");
  assert.equal(remarkOn([0.1, 0.9], "share", concepts), null);
  assert.equal(remarkOn([7.1, 7.0], "score", concepts), "background_wins"); // only shares have an even value
});
