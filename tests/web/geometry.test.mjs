import assert from "node:assert/strict";
import test from "node:test";

import { assertClose, fixture, load } from "./lib.mjs";

const { arrange, axis, coverage, fit, pixelAt, pointOf, resize, valueAt } = await load("data/geometry");

test("resizing and reading a pixel give the library's numbers", () => {
  for (const { grid, size, visible, map, resized } of fixture.cases) {
    const what = `${grid} to ${size} of ${visible}`;
    const values = Float32Array.from(map);
    const axes = [0, 1].map((side) => axis(grid[side], visible[side], size[side]));
    const plane = resize(values, grid[1], axes[0], axes[1]);
    assert.deepEqual([plane.height, plane.width], size);
    assertClose(plane.values, resized, 2e-6, what);
    for (const pixel of [{ x: 0, y: 0 }, { x: size[1] - 1, y: size[0] - 1 }, { x: size[1] >> 1, y: size[0] >> 2 }]) {
      const expected = resized[pixel.y * size[1] + pixel.x];
      assertClose([valueAt(values, grid, visible, size, pixel)], [expected], 2e-6, `${what} ${JSON.stringify(pixel)}`);
    }
  }
});

test("a part of an enlarged heatmap equals that part of the whole", () => {
  const { grid, size, visible, map, resized } = fixture.cases[0];
  const rows = axis(grid[0], visible[0], size[0], 11, 20);
  const columns = axis(grid[1], visible[1], size[1], 5, 33);
  const part = resize(Float32Array.from(map), grid[1], rows, columns);
  const expected = [];
  for (let y = 11; y < 31; y++) expected.push(...resized.slice(y * size[1] + 5, y * size[1] + 38));
  assertClose(part.values, expected, 2e-6);
});

test("fewer samples are spread evenly over the same part", () => {
  const ramp = Float32Array.from({ length: 10 }, (_, index) => index);
  const columns = axis(10, 1, 400, 100, 200, 50); // the middle half, of which every fourth pixel
  const got = resize(ramp, 10, axis(1, 1, 1), columns).values;
  assertClose(got, Array.from({ length: 50 }, (_, index) => 2.05 + 0.1 * index), 1e-5);
});

test("means over the image leave out what lies outside it", () => {
  assertClose(coverage([2, 4], [1, 0.625]), [0.2, 0.2, 0.1, 0, 0.2, 0.2, 0.1, 0], 1e-6);
});

test("a pixel of the image and the point of the screen at it belong together, at any zoom", () => {
  const imageSize = [300, 500];
  for (const zoom of [{ scale: 1, x: 0.5, y: 0.5 }, { scale: 3.3, x: 0.3, y: 0.8 }, { scale: 20, x: 1, y: 0 }]) {
    const viewport = fit(imageSize, { left: 40, top: 10, width: 700, height: 350 }, zoom);
    for (const [x, y] of [[viewport.left + 1, viewport.top + 1], [viewport.left + viewport.width - 1, viewport.top + viewport.height - 1]]) {
      const pixel = pixelAt(viewport, imageSize, x, y);
      const point = pointOf(viewport, imageSize, pixel);
      const reach = Math.max(viewport.whole[1] / imageSize[1], 1);
      assert.ok(Math.abs(point.x - x) <= reach && Math.abs(point.y - y) <= reach, JSON.stringify({ zoom, pixel, point, x, y }));
    }
    assert.equal(pixelAt(viewport, imageSize, viewport.left - 1, viewport.top + 1), null);
    assert.equal(pixelAt(viewport, imageSize, viewport.left + viewport.width, viewport.top + 1), null);
  }
  const whole = fit(imageSize, { left: 40, top: 10, width: 700, height: 350 }, { scale: 1, x: 0.5, y: 0.5 });
  assert.deepEqual([whole.left, whole.top, whole.width, whole.height], [40 + 58, 10, 583, 350]);
  assert.deepEqual(pixelAt(whole, imageSize, whole.left, whole.top), { x: 0, y: 0 });
  assert.deepEqual(pixelAt(whole, imageSize, whole.left + 582.9, whole.top + 349.9), { x: 499, y: 299 });
});

test("tiles fill the rectangle without overlapping", () => {
  const tiles = arrange(6, [512, 512], 900, 600, 6);
  assert.equal(new Set(tiles.map(({ left }) => left)).size, 3);
  for (const { left, top, width, height } of tiles) assert.ok(left + width <= 900 && top + height <= 600);
  assert.equal(arrange(4, [100, 300], 200, 900, 6).filter(({ left }) => left === 0).length, 4); // wide images in a tall node
});
