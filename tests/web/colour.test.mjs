import assert from "node:assert/strict";
import test from "node:test";

import { fixture, load } from "./lib.mjs";

const {
  COLORMAP_NAMES,
  colormap,
  conceptColour,
  conceptPixels,
  fadedColormap,
  paintOutline,
  paintOutside,
  paintValues,
  paintWinners,
  REGION_PIXEL,
} = await load("data/colour");

function rgbOf(pixels) {
  const bytes = new Uint8Array(pixels.buffer);
  return Array.from(bytes).filter((_, index) => index % 4 < 3);
}

test("heatmaps are painted in the library's colours", () => {
  const values = Float32Array.from(fixture.values);
  const pixels = new Uint32Array(values.length);
  for (const { name, low, high, rgb } of fixture.maps) {
    paintValues(values, colormap(name), low, high, pixels);
    assert.deepEqual(rgbOf(pixels), rgb, `${name} ${low} ${high}`);
  }
  assert.deepEqual(COLORMAP_NAMES, [...new Set(fixture.maps.map(({ name }) => name))]);
  assert.ok(new Uint8Array(pixels.buffer).every((byte, index) => index % 4 < 3 || byte === 255)); // opaque
});

test("the image shows where values are low", () => {
  const faded = new Uint8Array(fadedColormap("viridis").buffer);
  const alpha = Array.from(faded).filter((_, index) => index % 4 === 3);
  assert.deepEqual(alpha, Array.from({ length: 256 }, (_, level) => level));
  assert.deepEqual(rgbOf(fadedColormap("viridis")), rgbOf(colormap("viridis")));
});

test("concepts have the library's colours", () => {
  const wanted = fixture.palette.map((rgb) => `#${rgb.map((part) => part.toString(16).padStart(2, "0")).join("")}`);
  assert.deepEqual(wanted.map((_, concept) => conceptColour(concept)), wanted);
  assert.deepEqual(wanted.slice(0, 7), fixture.first.map((code) => `#${code}`));
  assert.deepEqual(rgbOf(conceptPixels(64)), fixture.palette.flat());
});

test("each pixel has the colour of the concept with the highest value", () => {
  const maps = fixture.shares.map((share) => Float32Array.from(share));
  const colours = conceptPixels(maps.length);
  const pixels = new Uint32Array(maps[0].length);
  paintWinners(maps, colours, pixels);
  assert.deepEqual(Array.from(pixels, (pixel) => colours.indexOf(pixel)), fixture.winners);
});

test("outside the mask is black, and its outline is white inside and black outside", () => {
  const pixels = new Uint32Array(4);
  paintOutside(Float32Array.from([0, 1, 0.5, 2]), pixels);
  assert.deepEqual(Array.from(pixels), [0xff000000, 0, 0x80000000, 0]);
  const mask = Float32Array.from([0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 0]); // 4 x 4
  const outline = new Uint32Array(16);
  paintOutline(mask, 4, 4, outline);
  const drawn = Array.from(outline, (pixel) => ({ 0: ".", [0xffffffff]: "w", [0xff000000]: "b" })[pixel]).join("");
  assert.equal(drawn, ".bb.bwwbbwwb.bb.");
  paintOutline(mask, 4, 4, outline, 1, REGION_PIXEL);
  assert.deepEqual(rgbOf(outline.slice(5, 6)), [0xff, 0xd4, 0]); // REGION, as its code says
});
