// Shared by the tests of the viewer's modules: loading a module, and the library's numbers to compare with.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

export const fixture = JSON.parse(readFileSync(process.env.FIXTURE, "utf-8"));

export function load(name) {
  return import(`${process.env.VIEWER}/${name}.js`);
}

export function assertClose(got, expected, tolerance, what = "") {
  assert.equal(got.length, expected.length, what);
  for (let index = 0; index < got.length; index++) {
    const difference = Math.abs(got[index] - expected[index]);
    assert.ok(difference <= tolerance, `${what} at ${index}: got ${got[index]}, expected ${expected[index]}`);
  }
}
