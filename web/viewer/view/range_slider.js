// A range of steps or of layers: two sliders on one track, or one for a single step or layer.

import { button, element, icon, slider, write } from "./dom.js";

/** @import {Say} from "./strings.js" */

/**
 * @typedef {object} SpanTexts
 * @property {"steps" | "layers"} name
 * @property {string} title
 * @property {string} from
 * @property {string} to
 * @property {string} single
 * @property {string} average
 *
 * @typedef {object} SpanEvents
 * @property {(from: number, to: number) => void} choose
 * @property {(single: boolean) => void} single
 * @property {() => void} average
 */

export class Span {
  /** @param {Say} say @param {SpanTexts} texts @param {SpanEvents} events */
  constructor(say, texts, events) {
    this.events = events;
    this.first = slider("", texts.from, { min: 0, max: 0, step: 1 });
    this.last = slider("", texts.to, { min: 0, max: 0, step: 1 });
    this.part = element("span", "ca-part");
    this.text = element("output", "ca-chosen");
    this.one = button("ca-single", texts.single, say("single"));
    this.average = button("ca-average", texts.average, icon("average"));
    const track = element("span", "ca-track", {}, this.part, this.first, this.last);
    const title = element("span", "ca-title", {}, texts.title);
    this.element = element("div", `ca-span ca-${texts.name}`, {}, title, track, this.text, this.one, this.average);
    this.first.addEventListener("input", () => this.choose(this.first));
    this.last.addEventListener("input", () => this.choose(this.last));
    this.one.addEventListener("click", () => this.makeSingle());
    this.average.addEventListener("click", () => events.average());
    this.isSingle = false;
  }

  /** The slider that is moved takes the other along. @param {HTMLInputElement} moved */
  choose(moved) {
    const [from, to] = [Number(this.first.value), Number(this.last.value)];
    const here = Number(moved.value);
    if (this.isSingle) this.events.choose(here, here);
    else if (moved === this.first) this.events.choose(from, Math.max(from, to));
    else this.events.choose(Math.min(from, to), to);
  }

  makeSingle() {
    const from = Number(this.first.value);
    this.events.single(!this.isSingle);
    if (!this.isSingle) this.events.choose(from, from);
  }

  /**
   * @param {number} count  steps or layers there are
   * @param {number[]} chosen
   * @param {boolean} isSingle
   * @param {(index: number) => string} name  what one is called
   * @param {string} text  what is chosen
   */
  update(count, chosen, isSingle, name, text) {
    const [from, to] = [chosen[0], chosen[chosen.length - 1]];
    this.isSingle = isSingle && from === to;
    this.element.hidden = count < 2;
    for (const [input, value] of /** @type {[HTMLInputElement, number][]} */ ([[this.first, from], [this.last, to]])) {
      input.max = String(count - 1);
      if (input.value !== String(value)) input.value = String(value);
      input.setAttribute("aria-valuetext", name(value));
    }
    this.last.hidden = this.isSingle;
    // with both at the end, the one that can be moved back lies above
    this.first.style.zIndex = from > (count - 1) / 2 ? "1" : "";
    this.one.setAttribute("aria-pressed", String(this.isSingle));
    this.part.style.left = `${(100 * from) / Math.max(1, count - 1)}%`;
    this.part.style.right = `${100 - (100 * to) / Math.max(1, count - 1)}%`;
    write(this.text, text);
    this.text.title = text; // where there is no room for all of it
  }
}
