import assert from "node:assert/strict";
import test from "node:test";

import { load } from "./lib.mjs";

const { tabulate } = await load("data/settings");

const table = (names, values, pixel = null) =>
  tabulate({ manifest: { kind: "share", concepts: names.map((name) => ({ name })) }, pixel }, values);

test("values are copied as a table", () => {
  assert.equal(table(["sky", "a, b"], [0.25, 0.75], { x: 3, y: 4 }), "share\tx 3, y 4\nsky\t0.250000\na, b\t0.750000");
  assert.equal(table(["sky"], [-1.5]), "share\tmean\nsky\t-1.500000");
});

test("a spreadsheet takes no name for a formula", () => {
  const names = ['=HYPERLINK("http://x","y")', "+1", "-cat", "@sum", " =1", "a=b", "'sky"];
  const lines = table(names, names.map(() => 0)).split("\n").slice(1);
  const expected = ['\'=HYPERLINK("http://x","y")', "'+1", "'-cat", "'@sum", "' =1", "a=b", "'sky"];
  assert.deepEqual(lines.map((line) => line.split("\t")[0]), expected);
});
