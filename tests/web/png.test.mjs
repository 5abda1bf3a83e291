import { writeFileSync } from "node:fs";
import test from "node:test";

import { fixture, load } from "./lib.mjs";

const { withText } = await load("data/png");

test("a text is added to a PNG file", () => {
  writeFileSync(fixture.written, withText(Uint8Array.from(fixture.png), "concept_attention", fixture.settings));
});
