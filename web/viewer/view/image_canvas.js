// The picture: a canvas that can be looked into with mouse, pen, touch and keyboard.

import { element } from "./dom.js";
import { clamp, pixelAt, pointOf } from "../data/geometry.js";

/** @import {Tile} from "./painter.js" */
/** @import {Say} from "./strings.js" */

/**
 * @typedef {{x: number, y: number}} Point
 *
 * @typedef {object} StageEvents
 * @property {(pixel: Point | null, byKey: boolean) => void} point  at a pixel of the picture, or away from it
 * @property {(pixel: Point, concept: number | null, also: boolean) => void} pick
 * @property {(factor: number, at: Point) => void} zoom  around a point of the picture (0-1)
 * @property {(right: number, down: number) => void} pan  in parts of the picture
 * @property {() => void} fit
 * @property {() => void} copy
 */

const CLICK_REACH = { mouse: 4, pen: 8, touch: 12 }; // CSS pixels a click may move

export class Stage {
  /** @param {Say} say @param {StageEvents} events */
  constructor(say, events) {
    this.events = events;
    const attributes = { tabindex: "0", role: "application", "aria-label": say("picture_help") };
    this.canvas = element("canvas", "ca-picture", attributes);
    this.marks = element("div", "ca-marks", { "aria-hidden": "true" });
    this.message = element("div", "ca-message", { role: "status" });
    this.element = element("div", "ca-stage", { "data-capture-wheel": "true" }, this.canvas, this.marks, this.message);
    /** @type {Tile[]} */
    this.tiles = [];
    /** @type {[number, number]} */
    this.picture = [1, 1];
    /** @type {[number, number]} How far an arrow key goes. */
    this.stride = [1, 1];
    /** @type {Point | null} */
    this.pixel = null;
    /** @type {Map<number, Point>} Pointers that are down. */
    this.down = new Map();
    this.moved = 0;
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
  place({ clientX, clientY }) {
    const { left, top, width, height } = this.canvas.getBoundingClientRect(); // as the graph's zoom shows it
    return {
      x: ((clientX - left) / width) * this.canvas.width,
      y: ((clientY - top) / height) * this.canvas.height,
    };
  }

  /** @param {Point} place */
  hit(place) {
    for (const { window, concept } of this.tiles) {
      const pixel = pixelAt(window, this.picture, place.x, place.y);
      if (pixel) return { pixel, concept };
    }
    return null;
  }

  /** @param {PointerEvent} event */
  press(event) {
    if (event.button !== 0) return; // the middle button moves the graph, the right one opens its menu
    event.stopPropagation();
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    this.down.set(event.pointerId, { x: event.clientX, y: event.clientY });
    this.moved = this.down.size > 1 ? Infinity : 0;
    this.events.point(this.hit(this.place(event))?.pixel ?? null, false);
  }

  /** @param {PointerEvent} event */
  move(event) {
    const before = this.down.get(event.pointerId);
    if (!before) {
      if (!event.buttons) this.events.point(this.hit(this.place(event))?.pixel ?? null, false);
      return;
    }
    event.stopPropagation();
    const now = { x: event.clientX, y: event.clientY };
    this.moved += Math.hypot(now.x - before.x, now.y - before.y);
    if (this.down.size > 1) return; // two fingers are the graph's
    if (event.pointerType === "touch") this.events.point(this.hit(this.place(event))?.pixel ?? null, false);
    if (!this.isClick(event)) this.drag(before, now);
    this.down.set(event.pointerId, now);
  }

  /** @param {PointerEvent} event */
  isClick(event) {
    return this.moved <= (CLICK_REACH[/** @type {keyof typeof CLICK_REACH} */ (event.pointerType)] ?? 4);
  }

  /** @param {Point} before @param {Point} now  on the screen */
  drag(before, now) {
    const window = this.tiles[0]?.window;
    if (!window) return;
    const { width, height } = this.canvas.getBoundingClientRect();
    this.events.pan(
      (((before.x - now.x) / width) * this.canvas.width) / window.whole[1],
      (((before.y - now.y) / height) * this.canvas.height) / window.whole[0],
    );
  }

  /** @param {PointerEvent} event */
  release(event) {
    if (!this.down.delete(event.pointerId)) return;
    event.stopPropagation();
    const hit = this.hit(this.place(event));
    if (hit && this.isClick(event)) {
      this.events.pick(hit.pixel, hit.concept, event.shiftKey || event.ctrlKey || event.metaKey);
    }
  }

  /** @param {PointerEvent} event */
  cancel(event) {
    this.down.delete(event.pointerId);
  }

  /** @param {PointerEvent} event */
  leave(event) {
    if (event.pointerType !== "touch") this.events.point(null, false);
  }

  /** @param {WheelEvent} event */
  wheel(event) {
    const toGraph = event.ctrlKey || event.metaKey || Math.abs(event.deltaX) > Math.abs(event.deltaY);
    if (toGraph || !this.element.contains(document.activeElement)) return;
    event.preventDefault();
    event.stopPropagation();
    this.events.zoom(Math.exp(-event.deltaY / 400), this.part(event));
  }

  /** Where in the picture (0-1) a point of the screen is.
   * @param {{clientX: number, clientY: number}} event @returns {Point} */
  part(event) {
    const place = this.place(event);
    const tile = this.tiles.find(({ window }) => pixelAt(window, this.picture, place.x, place.y)) ?? this.tiles[0];
    if (!tile) return { x: 0.5, y: 0.5 };
    const { left, top, whole, x, y } = tile.window;
    return {
      x: clamp((place.x - left + x) / whole[1], 0, 1),
      y: clamp((place.y - top + y) / whole[0], 0, 1),
    };
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const here = this.pixel ?? { x: Math.floor(this.picture[1] / 2), y: Math.floor(this.picture[0] / 2) };
    const [down, right] = event.shiftKey ? [1, 1] : this.stride;
    const middle = { x: (here.x + 0.5) / this.picture[1], y: (here.y + 0.5) / this.picture[0] };
    /** @type {Record<string, () => void>} */
    const actions = {
      ArrowLeft: () => this.go(here, -right, 0),
      ArrowRight: () => this.go(here, right, 0),
      ArrowUp: () => this.go(here, 0, -down),
      ArrowDown: () => this.go(here, 0, down),
      Enter: () => this.events.pick(here, null, event.shiftKey),
      " ": () => this.events.pick(here, null, true),
      "+": () => this.events.zoom(1.25, middle),
      "=": () => this.events.zoom(1.25, middle),
      "-": () => this.events.zoom(0.8, middle),
      0: () => this.events.fit(),
      c: () => this.events.copy(),
      Escape: () => this.escape(),
    };
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  }

  /** @param {Point} from @param {number} right @param {number} down */
  go(from, right, down) {
    if (!this.pixel) this.events.point(from, true);
    else {
      const [height, width] = this.picture;
      this.events.point({ x: clamp(from.x + right, 0, width - 1), y: clamp(from.y + down, 0, height - 1) }, true);
    }
  }

  escape() {
    if (this.pixel) this.events.point(null, true);
    else this.canvas.blur();
  }

  /**
   * Mark the pixel that is pointed at, in every tile.
   * @param {Point | null} pixel
   */
  mark(pixel) {
    this.pixel = pixel;
    const seen = pixel ? this.tiles.map(({ window }) => ({ window, ...pointOf(window, this.picture, pixel) })) : [];
    const inside = seen.filter(({ window, x, y }) => pixelAt(window, this.picture, x, y));
    while (this.marks.children.length > inside.length) this.marks.lastElementChild?.remove();
    while (this.marks.children.length < inside.length) this.marks.append(element("i", "ca-mark"));
    inside.forEach(({ x, y }, index) => {
      const mark = /** @type {HTMLElement} */ (this.marks.children[index]);
      mark.style.left = `${(100 * x) / this.canvas.width}%`;
      mark.style.top = `${(100 * y) / this.canvas.height}%`;
    });
  }
}
