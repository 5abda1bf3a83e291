// The canvas with the image, and its events by mouse, pen, touch and keyboard.

import { clamp, pixelAt, pointOf } from "../data/geometry.js";
import { assign, element, slider } from "./dom.js";
import { isGraphGesture } from "./graph_events.js";

/** @import {Pixel} from "../data/types.js" */
/** @import {Tile} from "./painter.js" */
/** @import {Say} from "./strings.js" */

/**
 * @typedef {{x: number, y: number}} Point
 *
 * @typedef {object} CanvasEvents
 * @property {(pixel: Pixel | null, byKey: boolean) => void} point  the cursor is at a pixel, or outside the image
 * @property {(pixel: Pixel, concept: number | null, add: boolean) => void} pick  concept: of the tile
 * @property {(factor: number, at: Point) => void} zoom  around a point of the image (0-1)
 * @property {(right: number, down: number) => void} pan  in parts of the image (0-1)
 * @property {() => void} fit
 * @property {() => void} copy
 * @property {(wipe: number) => void} wipe  part of the width (0-1] that shows the image alone
 * @property {() => void} help
 */

const CLICK_REACH = { mouse: 4, pen: 8, touch: 12 }; // CSS pixels that a pointer may move in a click

export class ImageCanvas {
  /** @param {Say} say @param {CanvasEvents} events */
  constructor(say, events) {
    this.events = events;
    const attributes = { tabindex: "0", role: "application", "aria-label": say("image_help") };
    this.canvas = element("canvas", "ca-image", attributes);
    this.marks = element("div", "ca-marks", { "aria-hidden": "true" });
    this.message = element("div", "ca-message", { role: "status" });
    this.wipe = slider("ca-wipe", say("wipe_at"), { min: 0.005, max: 1, step: 0.005 });
    this.wipe.addEventListener("input", () => events.wipe(Number(this.wipe.value)));
    const layers = [this.canvas, this.marks, this.wipe, this.message];
    this.element = element("div", "ca-canvas", {}, ...layers);
    /** @type {Tile[]} */
    this.tiles = [];
    /** @type {[number, number]} */
    this.imageSize = [1, 1];
    /** @type {[number, number]} Pixels that an arrow key moves the cursor, [down, right]. */
    this.stride = [1, 1];
    /** @type {Pixel | null} */
    this.pixel = null;
    /** @type {Map<number, Point>} Positions of pressed pointers. */
    this.pressed = new Map();
    this.moved = 0; // by the pressed pointer, CSS pixels
    const listen = /** @type {const} */ ({
      pointerdown: this.press,
      pointermove: this.move,
      pointerup: this.release,
      pointercancel: this.cancel,
      pointerleave: this.leave,
      keydown: this.key,
    });
    for (const [name, handler] of Object.entries(listen)) {
      this.canvas.addEventListener(name, /** @type {EventListener} */ (handler.bind(this)));
    }
    this.element.addEventListener("wheel", this.wheel.bind(this), { passive: false });
  }

  /** @param {{clientX: number, clientY: number}} event @returns {Point} in pixels of the canvas */
  pointOn({ clientX, clientY }) {
    const { left, top, width, height } = this.canvas.getBoundingClientRect(); // scaled by the graph's zoom
    return {
      x: ((clientX - left) / width) * this.canvas.width,
      y: ((clientY - top) / height) * this.canvas.height,
    };
  }

  /** The pixel and the tile's concept at an event; null outside all tiles.
   * @param {{clientX: number, clientY: number}} event */
  hit(event) {
    const point = this.pointOn(event);
    for (const { viewport, concept } of this.tiles) {
      const pixel = pixelAt(viewport, this.imageSize, point.x, point.y);
      if (pixel) return { pixel, concept };
    }
    return null;
  }

  /** Move the cursor to an event. @param {PointerEvent} event */
  pointAt(event) {
    this.events.point(this.hit(event)?.pixel ?? null, false);
  }

  /** @param {PointerEvent} event */
  press(event) {
    if (event.button !== 0) return; // the middle button moves the graph, the right one opens its menu
    event.stopPropagation();
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    this.pressed.set(event.pointerId, { x: event.clientX, y: event.clientY });
    this.moved = this.pressed.size > 1 ? Infinity : 0;
    this.pointAt(event);
  }

  /** @param {PointerEvent} event */
  move(event) {
    const before = this.pressed.get(event.pointerId);
    if (!before) {
      if (!event.buttons) this.pointAt(event);
      return;
    }
    event.stopPropagation();
    const now = { x: event.clientX, y: event.clientY };
    this.moved += Math.hypot(now.x - before.x, now.y - before.y);
    if (this.pressed.size > 1) return this.pinch(event.pointerId, now);
    if (event.pointerType === "touch") this.pointAt(event);
    if (!this.isClick(event)) this.drag(before, now);
    this.pressed.set(event.pointerId, now);
  }

  /** Two fingers zoom and move the image under them. @param {number} id  of the finger that moved @param {Point} now */
  pinch(id, now) {
    const [[, before]] = [...this.pressed].filter(([other]) => other === id);
    const [[, still]] = [...this.pressed].filter(([other]) => other !== id);
    this.pressed.set(id, now);
    const [far, near] = [now, before].map((point) => Math.hypot(point.x - still.x, point.y - still.y));
    const middle = { clientX: (now.x + still.x) / 2, clientY: (now.y + still.y) / 2 };
    this.drag({ x: (before.x + still.x) / 2, y: (before.y + still.y) / 2 }, { x: middle.clientX, y: middle.clientY });
    if (near > 0 && far > 0) this.events.zoom(far / near, this.partAt(middle));
  }

  /** @param {PointerEvent} event */
  isClick(event) {
    return this.moved <= (CLICK_REACH[/** @type {keyof typeof CLICK_REACH} */ (event.pointerType)] ?? 4);
  }

  /** @param {Point} before @param {Point} now  on the screen */
  drag(before, now) {
    const viewport = this.tiles[0]?.viewport;
    if (!viewport) return;
    const { width, height } = this.canvas.getBoundingClientRect();
    this.events.pan(
      (((before.x - now.x) / width) * this.canvas.width) / viewport.whole[1],
      (((before.y - now.y) / height) * this.canvas.height) / viewport.whole[0],
    );
  }

  /** @param {PointerEvent} event */
  release(event) {
    if (!this.pressed.delete(event.pointerId)) return;
    event.stopPropagation();
    const hit = this.hit(event);
    if (hit && this.isClick(event)) {
      this.events.pick(hit.pixel, hit.concept, event.shiftKey || event.ctrlKey || event.metaKey);
    }
  }

  /** @param {PointerEvent} event */
  cancel(event) {
    this.pressed.delete(event.pointerId);
  }

  /** @param {PointerEvent} event */
  leave(event) {
    if (event.pointerType !== "touch") this.events.point(null, false);
  }

  /** @param {WheelEvent} event */
  wheel(event) {
    const viewer = this.element.closest(".ca-viewer");
    if (isGraphGesture(event) || !viewer?.contains(document.activeElement)) return;
    event.preventDefault();
    event.stopPropagation();
    this.events.zoom(Math.exp(-event.deltaY / 400), this.partAt(event));
  }

  /** The point of the image (0-1) at an event. @param {{clientX: number, clientY: number}} event @returns {Point} */
  partAt(event) {
    const point = this.pointOn(event);
    const under = this.tiles.find(({ viewport }) => pixelAt(viewport, this.imageSize, point.x, point.y));
    const tile = under ?? this.tiles[0];
    if (!tile) return { x: 0.5, y: 0.5 };
    const { left, top, whole, x, y } = tile.viewport;
    return {
      x: clamp((point.x - left + x) / whole[1], 0, 1),
      y: clamp((point.y - top + y) / whole[0], 0, 1),
    };
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const here = this.pixel ?? { x: Math.floor(this.imageSize[1] / 2), y: Math.floor(this.imageSize[0] / 2) };
    const [down, right] = event.shiftKey ? [1, 1] : this.stride;
    const centre = { x: (here.x + 0.5) / this.imageSize[1], y: (here.y + 0.5) / this.imageSize[0] };
    /** @type {Record<string, () => void>} */
    const actions = {
      ArrowLeft: () => this.moveCursor(here, -right, 0),
      ArrowRight: () => this.moveCursor(here, right, 0),
      ArrowUp: () => this.moveCursor(here, 0, -down),
      ArrowDown: () => this.moveCursor(here, 0, down),
      Enter: () => this.events.pick(here, null, event.shiftKey),
      " ": () => this.events.pick(here, null, true),
      "+": () => this.events.zoom(1.25, centre),
      "=": () => this.events.zoom(1.25, centre),
      "-": () => this.events.zoom(0.8, centre),
      0: () => this.events.fit(),
      c: () => this.events.copy(),
      "?": () => this.events.help(),
      Escape: () => this.escape(),
    };
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  }

  /** @param {Pixel} from @param {number} right @param {number} down */
  moveCursor(from, right, down) {
    if (!this.pixel) this.events.point(from, true);
    else {
      const [height, width] = this.imageSize;
      this.events.point({ x: clamp(from.x + right, 0, width - 1), y: clamp(from.y + down, 0, height - 1) }, true);
    }
  }

  escape() {
    if (this.pixel) this.events.point(null, true);
    else this.canvas.blur();
  }

  /** Put the handle of the wipe where it is. @param {number} wipe  0: none */
  showWipe(wipe) {
    this.wipe.hidden = wipe === 0;
    if (wipe) assign(this.wipe, wipe);
  }

  /**
   * Mark the pixel under the cursor in every tile.
   * @param {Pixel | null} pixel
   */
  mark(pixel) {
    this.pixel = pixel;
    const all = this.tiles.flatMap(({ viewport }) =>
      pixel ? [{ viewport, ...pointOf(viewport, this.imageSize, pixel) }] : [],
    );
    const visible = all.filter(({ viewport, x, y }) => pixelAt(viewport, this.imageSize, x, y));
    while (this.marks.children.length > visible.length) this.marks.lastElementChild?.remove();
    while (this.marks.children.length < visible.length) this.marks.append(element("i", "ca-mark"));
    visible.forEach(({ x, y }, index) => {
      const mark = /** @type {HTMLElement} */ (this.marks.children[index]);
      mark.style.left = `${(100 * x) / this.canvas.width}%`;
      mark.style.top = `${(100 * y) / this.canvas.height}%`;
    });
  }
}
