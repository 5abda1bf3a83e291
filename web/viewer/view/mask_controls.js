// Controls for the mask's method and level, and the mask's area.

import { accepts, METHODS } from "../data/masks.js";
import { assign, element, select, slider, write } from "./dom.js";

/** @import {State} from "../data/state.js" */
/** @import {Choice, Method} from "../data/types.js" */
/** @import {Say} from "./strings.js" */

export class MaskControls {
  /** @param {Say} say @param {(part: Partial<Choice>) => void} choose */
  constructor(say, choose) {
    this.say = say;
    this.method = select("ca-method", say("mask_method"), METHODS.map((method) => [method, say(method)]));
    this.method.addEventListener("change", () => choose({ method: /** @type {Method} */ (this.method.value) }));
    this.threshold = slider("ca-threshold", say("threshold"), { min: 0, max: 1, step: 0.01 });
    this.threshold.addEventListener("input", () => choose({ threshold: Number(this.threshold.value) }));
    this.percentile = slider("ca-percentile", say("percentile"), { min: 0, max: 100, step: 0.5 });
    this.percentile.addEventListener("input", () => choose({ percentile: Number(this.percentile.value) }));
    this.level = element("output", "ca-level");
    this.area = element("output", "ca-area");
    const title = element("span", "ca-title", {}, say("mask_method"));
    const parts = [this.method, this.threshold, this.percentile, this.level, this.area];
    this.element = element("div", "ca-mask", {}, title, ...parts);
  }

  /** @param {State} state @param {number} area  share of the image inside the mask */
  update(state, area) {
    const { method, threshold, percentile } = state.choice;
    const { kind } = state.manifest;
    for (const option of this.method.options) option.disabled = !accepts(kind, /** @type {Method} */ (option.value));
    assign(this.method, method);
    assign(this.threshold, threshold);
    assign(this.percentile, percentile);
    this.threshold.hidden = method !== "threshold";
    this.percentile.hidden = method !== "percentile";
    const level = method === "threshold" ? threshold.toFixed(2) : method === "percentile" ? `${percentile} %` : "";
    write(this.level, level);
    write(this.area, this.say("of_image", (100 * area).toFixed(1)));
  }
}
