// A slider with two ends for a range of steps or layers, or with one for a single step or layer.

import { assign, button, element, icon, slider, write } from "./dom.js";

/** @import {Say} from "./strings.js" */

/**
 * @typedef {object} RangeTexts
 * @property {"steps" | "layers"} name
 * @property {string} title
 * @property {string} from
 * @property {string} to
 * @property {string} single
 * @property {string} average
 *
 * @typedef {object} RangeEvents
 * @property {(from: number, to: number) => void} choose
 * @property {(single: boolean) => void} single
 * @property {() => void} average
 */

export class RangeSlider {
  /** @param {Say} say @param {RangeTexts} texts @param {RangeEvents} events */
  constructor(say, texts, events) {
    this.events = events;
    this.first = slider("", texts.from, { min: 0, max: 0, step: 1 });
    this.last = slider("", texts.to, { min: 0, max: 0, step: 1 });
    this.part = element("span", "ca-part");
    this.text = element("output", "ca-chosen");
    this.single = button("ca-single", texts.single, say("single"));
    this.average = button("ca-average", texts.average, icon("average"));
    const track = element("span", "ca-track", {}, this.part, this.first, this.last);
    const title = element("span", "ca-title", {}, texts.title);
    this.element = element("div", `ca-range ca-${texts.name}`, {}, title, track, this.text, this.single, this.average);
    this.first.addEventListener("input", () => this.choose(this.first));
    this.last.addEventListener("input", () => this.choose(this.last));
    this.single.addEventListener("click", () => this.toggleSingle());
    this.average.addEventListener("click", () => events.average());
    this.isSingle = false;
  }

  /** An end that is moved past the other takes it along. @param {HTMLInputElement} moved */
  choose(moved) {
    const [from, to] = [Number(this.first.value), Number(this.last.value)];
    const value = Number(moved.value);
    if (this.isSingle) this.events.choose(value, value);
    else if (moved === this.first) this.events.choose(from, Math.max(from, to));
    else this.events.choose(Math.min(from, to), to);
  }

  toggleSingle() {
    const from = Number(this.first.value);
    this.events.single(!this.isSingle);
    if (!this.isSingle) this.events.choose(from, from);
  }

  /**
   * @param {number} count  of steps or layers
   * @param {number[]} chosen
   * @param {boolean} isSingle
   * @param {(index: number) => string} nameOf  one step or layer
   * @param {string} text  what is chosen
   */
  update(count, chosen, isSingle, nameOf, text) {
    const [from, to] = [chosen[0], chosen[chosen.length - 1]];
    this.isSingle = isSingle && from === to;
    this.element.hidden = count < 2;
    for (const [input, value] of /** @type {[HTMLInputElement, number][]} */ ([[this.first, from], [this.last, to]])) {
      input.max = String(count - 1);
      assign(input, value);
      input.setAttribute("aria-valuetext", nameOf(value));
    }
    this.last.hidden = this.isSingle;
    // where both ends meet at the right, the first must be on top, or neither could be moved
    this.first.style.zIndex = from > (count - 1) / 2 ? "1" : "";
    this.single.setAttribute("aria-pressed", String(this.isSingle));
    this.part.style.left = `${(100 * from) / Math.max(1, count - 1)}%`;
    this.part.style.right = `${100 - (100 * to) / Math.max(1, count - 1)}%`;
    write(this.text, text);
    this.text.title = text; // it may be cut off
  }
}
