// The list of concepts with their values as bars. Hovering a name shows its heatmap, clicking it picks the concept.

import { conceptColour } from "../data/colour.js";
import { SORTS } from "../data/order.js";
import { assign, button, element, icon, select, write } from "./dom.js";

/** @import {Concept, Look, SortName} from "../data/types.js" */
/** @import {Say} from "./strings.js" */

/**
 * @typedef {object} BarEvents
 * @property {(concept: number) => void} pick
 * @property {(concept: number) => void} pin
 * @property {(concept: number) => void} subtract
 * @property {(concept: number | null) => void} hover
 * @property {(part: Partial<Look>) => void} look
 * @property {() => void} words  of the prompt
 *
 * @typedef {object} Reading
 * @property {number[]} values  one per concept
 * @property {number | null} winner
 * @property {number[]} picked
 * @property {number[]} subtracted
 * @property {number[]} shown
 * @property {number[]} order  of the list
 * @property {SortName} sort
 * @property {boolean[] | null} absent
 * @property {[number, number]} range  of the bars
 * @property {string} where  the place of the values
 * @property {string} remark
 */

const MANY = 7; // concepts from which on there is a search box

export class ConceptBars {
  /** @param {Say} say @param {BarEvents} events */
  constructor(say, events) {
    this.say = say;
    this.events = events;
    this.where = element("div", "ca-where");
    this.remark = element("div", "ca-remark");
    this.sort = select("ca-sort", say("sort"), SORTS.map((sort) => [sort, say(`sort_${sort}`)]));
    this.sort.addEventListener("change", () => events.look({ sort: /** @type {SortName} */ (this.sort.value) }));
    this.search = element("input", "ca-search", { type: "search", placeholder: say("search"), "aria-label": say("search") });
    this.search.addEventListener("input", () => this.filter());
    this.search.addEventListener("keydown", (event) => event.stopPropagation()); // typing is not for the graph
    this.words = button("ca-add-words", say("words"), icon("words"));
    this.words.addEventListener("click", events.words);
    this.list = element("ul", "ca-bars", { "aria-label": say("concepts"), "data-capture-wheel": "true", tabindex: "-1" });
    const head = element("div", "ca-head", {}, this.where, this.remark);
    this.tools = element("div", "ca-list-tools", {}, this.search, this.sort, this.words);
    this.element = element("div", "ca-side", {}, head, this.tools, this.list);
    this.list.addEventListener("keydown", this.key.bind(this));
    /** @type {Concept[]} */
    this.concepts = [];
    /** @type {ReturnType<ConceptBars["row"]>[]} */
    this.rows = [];
    this.order = "";
  }

  /** @param {Concept[]} concepts */
  setConcepts(concepts) {
    if (JSON.stringify(concepts) === JSON.stringify(this.concepts)) return;
    this.concepts = concepts;
    this.rows = concepts.map((concept, index) => this.row(concept, index));
    this.order = concepts.map((_, index) => index).join();
    this.list.replaceChildren(...this.rows.map(({ bar }) => bar));
    this.search.hidden = concepts.length < MANY;
    this.search.value = "";
  }

  /** Show only the concepts whose name has what is typed into the search box. */
  filter() {
    const wanted = this.search.value.trim().toLowerCase();
    this.rows.forEach(({ bar }, index) => {
      bar.hidden = !this.concepts[index].name.toLowerCase().includes(wanted);
    });
  }

  /** @param {Concept} concept @param {number} index */
  row({ name, role }, index) {
    const { say, events } = this;
    const swatch = element("span", "ca-swatch");
    swatch.style.background = conceptColour(index);
    const isBackground = role === "background";
    const title = isBackground ? `${say("pick", name)} (${say("background")})` : say("pick", name);
    const absent = element("span", "ca-absent", { title: say("absent_help"), hidden: true }, say("absent"));
    // its name is its text, with what is said after it
    const pick = element("button", "ca-pick", { type: "button", title }, swatch, element("span", "ca-name", {}, name), absent);
    if (isBackground) pick.append(element("span", "ca-role", {}, say("background")));
    const fill = element("span", "ca-fill");
    const meter = element("span", "ca-meter", { role: "meter", "aria-label": name }, fill);
    const value = element("span", "ca-value");
    const pin = button("ca-pin", "", icon("pin"));
    const subtract = button("ca-subtract", "", icon("subtract"));
    const bar = element("li", "ca-bar", { "data-concept": name }, pick, value, pin, subtract, meter);
    bar.addEventListener("click", (event) => {
      if (event.target instanceof Node && (pin.contains(event.target) || subtract.contains(event.target))) return;
      if (event.shiftKey || event.ctrlKey || event.metaKey) events.pin(index);
      else events.pick(index);
    });
    pin.addEventListener("click", () => events.pin(index));
    subtract.addEventListener("click", () => events.subtract(index));
    bar.addEventListener("pointerenter", (event) => event.pointerType !== "touch" && events.hover(index));
    bar.addEventListener("pointerleave", () => events.hover(null));
    pick.addEventListener("focus", () => pick.matches(":focus-visible") && events.hover(index));
    pick.addEventListener("blur", () => events.hover(null));
    return { bar, pick, fill, meter, value, pin, subtract, absent };
  }

  /** Up and down move the focus from name to name. @param {KeyboardEvent} event */
  key(event) {
    const picks = [...this.list.children].flatMap((bar) => {
      const pick = /** @type {HTMLElement} */ (bar).hidden ? null : bar.querySelector("button");
      return pick ? [pick] : [];
    });
    const at = picks.findIndex((pick) => pick.parentElement?.contains(document.activeElement));
    /** @type {Record<string, number>} */
    const targets = { ArrowUp: at - 1, ArrowDown: at + 1, Home: 0, End: picks.length - 1 };
    const target = targets[event.key];
    if (target === undefined || !picks.length) return;
    event.preventDefault();
    event.stopPropagation();
    picks[Math.min(Math.max(target, 0), picks.length - 1)].focus();
  }

  /** Put the rows in order, unless the focus or the pointer is among them: they would move away from it.
   * @param {number[]} order */
  arrange(order) {
    const wanted = order.join();
    if (this.order === wanted || this.list.contains(document.activeElement) || this.list.matches(":hover")) return;
    this.order = wanted;
    this.list.replaceChildren(...order.map((index) => this.rows[index].bar));
  }

  /** @param {Reading} reading */
  update({ values, winner, picked, subtracted, shown, order, sort, absent, range, where, remark }) {
    write(this.where, where);
    write(this.remark, remark);
    assign(this.sort, sort);
    this.arrange(order);
    const [low, high] = range;
    this.rows.forEach((row, index) => {
      const number = values[index].toFixed(3);
      const part = high > low ? (values[index] - low) / (high - low) : 0;
      write(row.value, number);
      row.fill.style.width = `${100 * Math.min(Math.max(part, 0), 1)}%`;
      row.meter.setAttribute("aria-valuenow", number);
      row.meter.setAttribute("aria-valuemin", low.toFixed(3));
      row.meter.setAttribute("aria-valuemax", high.toFixed(3));
      row.bar.classList.toggle("ca-winner", index === winner);
      row.bar.setAttribute("aria-current", String(index === winner));
      row.bar.classList.toggle("ca-shown", shown.includes(index));
      row.bar.classList.toggle("ca-subtracted", subtracted.includes(index));
      row.absent.hidden = !absent?.[index];
      const isPicked = picked.includes(index);
      row.pick.setAttribute("aria-pressed", String(isPicked));
      this.toggle(row.pin, isPicked, isPicked ? "unpin" : "pin", index);
      this.toggle(row.subtract, subtracted.includes(index), subtracted.includes(index) ? "unsubtract" : "subtract", index);
    });
  }

  /** @param {HTMLButtonElement} item @param {boolean} isOn
   * @param {"pin" | "unpin" | "subtract" | "unsubtract"} label @param {number} index */
  toggle(item, isOn, label, index) {
    const text = this.say(label, this.concepts[index].name);
    item.setAttribute("aria-pressed", String(isOn));
    if (item.title === text) return;
    item.title = text;
    item.setAttribute("aria-label", text);
  }
}
