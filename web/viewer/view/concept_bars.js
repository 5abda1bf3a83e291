// The list of concepts with their values as bars. Hovering a name shows its heatmap, clicking it picks the concept.

import { conceptColour } from "../data/colour.js";
import { button, element, icon, write } from "./dom.js";

/** @import {Concept} from "../data/types.js" */
/** @import {Say} from "./strings.js" */

/**
 * @typedef {object} BarEvents
 * @property {(concept: number) => void} pick
 * @property {(concept: number) => void} pin
 * @property {(concept: number | null) => void} hover
 *
 * @typedef {object} Reading
 * @property {number[]} values  one per concept
 * @property {number | null} winner
 * @property {number[]} picked
 * @property {number[]} shown
 * @property {[number, number]} range  of the bars
 * @property {string} where  the place of the values
 * @property {string} remark
 */

export class ConceptBars {
  /** @param {Say} say @param {BarEvents} events */
  constructor(say, events) {
    this.say = say;
    this.events = events;
    this.where = element("div", "ca-where");
    this.remark = element("div", "ca-remark");
    this.list = element("ul", "ca-bars", { "aria-label": say("concepts"), "data-capture-wheel": "true" });
    const head = element("div", "ca-head", {}, this.where, this.remark);
    this.element = element("div", "ca-side", {}, head, this.list);
    this.list.addEventListener("keydown", this.key.bind(this));
    /** @type {Concept[]} */
    this.concepts = [];
  }

  /** @param {Concept[]} concepts */
  setConcepts(concepts) {
    if (JSON.stringify(concepts) === JSON.stringify(this.concepts)) return;
    this.concepts = concepts;
    this.rows = concepts.map((concept, index) => this.row(concept, index));
    this.list.replaceChildren(...this.rows.map(({ bar }) => bar));
  }

  /** @param {Concept} concept @param {number} index */
  row({ name, role }, index) {
    const { say, events } = this;
    const swatch = element("span", "ca-swatch");
    swatch.style.background = conceptColour(index);
    const pick = button("ca-pick", say("pick", name), swatch, element("span", "ca-name", {}, name));
    if (role === "background") pick.append(element("span", "ca-role", {}, say("background")));
    const fill = element("span", "ca-fill");
    const meter = element("span", "ca-meter", { role: "meter", "aria-label": name }, fill);
    const value = element("span", "ca-value");
    const pin = button("ca-pin", "", icon("pin"));
    const bar = element("li", "ca-bar", { "data-concept": name }, pick, value, pin, meter);
    bar.addEventListener("click", (event) => {
      if (!(event.target instanceof Node && pin.contains(event.target))) {
        if (event.shiftKey || event.ctrlKey || event.metaKey) events.pin(index);
        else events.pick(index);
      }
    });
    pin.addEventListener("click", () => events.pin(index));
    bar.addEventListener("pointerenter", (event) => event.pointerType !== "touch" && events.hover(index));
    bar.addEventListener("pointerleave", () => events.hover(null));
    pick.addEventListener("focus", () => pick.matches(":focus-visible") && events.hover(index));
    pick.addEventListener("blur", () => events.hover(null));
    return { bar, pick, fill, meter, value, pin };
  }

  /** Up and down move the focus from name to name. @param {KeyboardEvent} event */
  key(event) {
    const picks = (this.rows ?? []).map(({ pick }) => pick);
    const at = picks.findIndex((pick) => pick.parentElement?.contains(document.activeElement));
    /** @type {Record<string, number>} */
    const targets = { ArrowUp: at - 1, ArrowDown: at + 1, Home: 0, End: picks.length - 1 };
    const target = targets[event.key];
    if (target === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    picks[Math.min(Math.max(target, 0), picks.length - 1)].focus();
  }

  /** @param {Reading} reading */
  update({ values, winner, picked, shown, range, where, remark }) {
    write(this.where, where);
    write(this.remark, remark);
    const [low, high] = range;
    this.rows?.forEach(({ bar, pick, fill, meter, value, pin }, index) => {
      const number = values[index].toFixed(3);
      const part = high > low ? (values[index] - low) / (high - low) : 0;
      write(value, number);
      fill.style.width = `${100 * Math.min(Math.max(part, 0), 1)}%`;
      meter.setAttribute("aria-valuenow", number);
      meter.setAttribute("aria-valuemin", low.toFixed(3));
      meter.setAttribute("aria-valuemax", high.toFixed(3));
      bar.classList.toggle("ca-winner", index === winner);
      bar.setAttribute("aria-current", String(index === winner));
      bar.classList.toggle("ca-shown", shown.includes(index));
      const isPicked = picked.includes(index);
      pick.setAttribute("aria-pressed", String(isPicked));
      pin.setAttribute("aria-pressed", String(isPicked));
      const label = this.say(isPicked ? "unpin" : "pin", this.concepts[index].name);
      pin.title = label;
      pin.setAttribute("aria-label", label);
    });
  }
}
