// Controls for the mask: its method and level, how it is finished, the mask editor; and the mask's area.

import { accepts, METHODS } from "../data/masks.js";
import { assign, button, element, icon, numberField, select, slider, write } from "./dom.js";

/** @import {State} from "../data/state.js" */
/** @import {Choice, Method} from "../data/types.js" */
/** @import {Say} from "./strings.js" */

/**
 * @typedef {object} MaskEvents
 * @property {(part: Partial<Choice>) => void} choose
 * @property {() => void} edit  in the mask editor
 * @property {() => void} discard  the edited mask
 */

const FIELDS = /** @type {const} */ ([
  ["holes", { min: 0, max: 100, step: 0.1 }, "%"],
  ["islands", { min: 0, max: 100, step: 0.1 }, "%"],
  ["grow", { min: -512, max: 512, step: 1 }, "px"],
  ["blur", { min: 0, max: 256, step: 0.5 }, "px"],
]);

export class MaskControls {
  /** @param {Say} say @param {MaskEvents} events */
  constructor(say, events) {
    const { choose } = events;
    this.say = say;
    this.method = select("ca-method", say("mask_method"), METHODS.map((method) => [method, say(method)]));
    this.method.addEventListener("change", () => choose({ method: /** @type {Method} */ (this.method.value) }));
    this.threshold = slider("ca-threshold", say("threshold"), { min: 0, max: 1, step: 0.01 });
    this.threshold.addEventListener("input", () => choose({ threshold: Number(this.threshold.value) }));
    this.percentile = slider("ca-percentile", say("percentile"), { min: 0, max: 100, step: 0.5 });
    this.percentile.addEventListener("input", () => choose({ percentile: Number(this.percentile.value) }));
    this.level = element("output", "ca-level");
    this.area = element("output", "ca-area");
    this.guided = button("ca-guided", say("guided_help"), say("guided"));
    this.guided.addEventListener("click", () => choose({ guided: this.guided.ariaPressed !== "true" }));
    this.fields = FIELDS.map(([name, limits, unit]) => {
      const input = numberField(`ca-${name}`, say(`${name}_help`), limits);
      input.addEventListener("input", () => {
        if (input.value.trim() && input.checkValidity()) choose({ [name]: Number(input.value) });
      });
      input.addEventListener("change", () => {
        if (!input.value.trim() || !input.checkValidity()) assign(input, this.values[name]);
      });
      return { name, input, element: element("label", "ca-field", {}, say(name), input, unit) };
    });
    /** @type {Record<string, number>} The latest values, by name. */
    this.values = {};
    this.edit = button("ca-edit", say("edit_mask"), icon("edit"));
    this.edit.addEventListener("click", events.edit);
    this.discard = button("ca-discard", say("discard_help"), say("discard"));
    this.discard.addEventListener("click", events.discard);
    const title = element("span", "ca-title", {}, say("mask_method"));
    const parts = [this.method, this.threshold, this.percentile, this.level, this.guided, this.edit, this.discard, this.area];
    const fields = this.fields.map((field) => field.element);
    this.element = element("div", "ca-mask", {}, title, ...parts);
    this.finish = element("div", "ca-finish", { role: "group", "aria-label": say("finish") }, ...fields);
  }

  /** @param {State} state @param {number} area  share of the image inside the mask @param {boolean} edited */
  update(state, area, edited) {
    const { method, threshold, percentile, guided } = state.choice;
    const { kind } = state.manifest;
    for (const option of this.method.options) option.disabled = !accepts(kind, /** @type {Method} */ (option.value));
    assign(this.method, method);
    assign(this.threshold, threshold);
    assign(this.percentile, percentile);
    this.threshold.hidden = method !== "threshold";
    this.percentile.hidden = method !== "percentile";
    this.guided.setAttribute("aria-pressed", String(Boolean(guided)));
    for (const { name, input } of this.fields) {
      this.values[name] = Number(state.choice[name]);
      const typing = input === document.activeElement && !input.value; // the old number is deleted, the new one comes
      if (!typing && (!input.value || Number(input.value) !== this.values[name])) assign(input, this.values[name]);
      input.disabled = edited || (method === "soft" && (name === "holes" || name === "islands"));
    }
    for (const control of [this.method, this.threshold, this.percentile, this.guided]) control.disabled = edited;
    this.discard.hidden = !edited;
    const level = method === "threshold" ? threshold.toFixed(2) : method === "percentile" ? `${percentile} %` : "";
    write(this.level, level);
    write(this.area, this.say("of_image", (100 * area).toFixed(1)));
  }
}
