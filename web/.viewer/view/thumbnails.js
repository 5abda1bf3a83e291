// A row of thumbnails: the heatmap at each step, or in each layer.

import { colormap, paintValues } from "../data/colour.js";
import { makeHeatmaps, joinConcepts } from "../data/heatmaps.js";
import { button, element } from "./dom.js";

/** @import {State} from "../data/state.js" */
/** @import {SummedAreaTable} from "../data/summed_area.js" */
/** @import {Say} from "./strings.js" */

export class Thumbnails {
  /**
   * @param {Say} say
   * @param {"steps" | "layers"} along
   * @param {(from: number, to: number) => void} choose
   */
  constructor(say, along, choose) {
    this.say = say;
    this.along = along;
    this.choose = choose;
    const attributes = { role: "group", "aria-label": say(`thumbnails_${along}`), "data-capture-wheel": "true" };
    this.element = element("div", `ca-thumbnails ca-thumbnails-${along}`, attributes);
    this.element.addEventListener("keydown", this.key.bind(this));
    /** @type {HTMLButtonElement[]} */
    this.items = [];
    this.anchor = 0; // the one that was clicked last without Shift
    /** @type {HTMLElement | undefined} */
    this.revealed = undefined;
  }

  /** Adapt to the data of a run. @param {State} state */
  setData({ manifest, fixed }) {
    const numbers = manifest[this.along];
    this.element.hidden = fixed || numbers.length < 2;
    this.items = numbers.map((number, index) => {
      const sigma = (manifest.sigmas[index] ?? 0).toFixed(2);
      const label = this.along === "steps" ? this.say("thumbnail", number, sigma) : this.say("one_layer", number);
      const item = button("ca-thumbnail", label, element("canvas", ""), element("span", "", {}, String(number)));
      item.addEventListener("click", (event) => {
        if (!event.shiftKey) this.anchor = index;
        this.choose(Math.min(this.anchor, index), Math.max(this.anchor, index));
      });
      return item;
    });
    this.element.replaceChildren(...this.items);
  }

  /** Left and right move the focus from one to the next. @param {KeyboardEvent} event */
  key(event) {
    const at = this.items.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement));
    /** @type {Record<string, number>} */
    const targets = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: this.items.length - 1 };
    if (!(event.key in targets)) return;
    event.preventDefault();
    event.stopPropagation();
    this.items[targets[event.key]]?.focus();
  }

  /** Mark the chosen ones. @param {number[]} chosen */
  mark(chosen) {
    this.items.forEach((item, index) => {
      item.setAttribute("aria-pressed", String(chosen.includes(index)));
      item.tabIndex = index === (chosen[0] ?? 0) ? 0 : -1; // Tab stops once in the row
    });
    if (chosen.length === 1) this.reveal(this.items[chosen[0]]);
  }

  /** Scroll an item into view, without scrolling anything around the row. @param {HTMLElement | undefined} item */
  reveal(item) {
    if (!item || item === this.revealed) return;
    this.revealed = item;
    const { scrollLeft, clientWidth } = this.element;
    const [left, right] = [item.offsetLeft, item.offsetLeft + item.offsetWidth];
    if (left < scrollLeft) this.element.scrollLeft = left;
    else if (right > scrollLeft + clientWidth) this.element.scrollLeft = right - clientWidth;
  }

  /**
   * @param {SummedAreaTable} table
   * @param {State} state
   * @param {number} frame
   * @param {number[]} concepts
   * @param {[number, number]} range
   */
  draw(table, { manifest, steps, layers, look }, frame, concepts, range) {
    const [, rows, columns] = manifest.grid;
    const width = Math.max(1, Math.round(columns * manifest.visible[1]));
    const height = Math.max(1, Math.round(rows * manifest.visible[0]));
    const data = new ImageData(columns, rows);
    const pixels = new Uint32Array(data.data.buffer);
    this.items.forEach((item, index) => {
      const chosen = this.along === "steps" ? { steps: [index], layers } : { steps, layers: [index] };
      const maps = makeHeatmaps(table, manifest, chosen.steps, chosen.layers, frame);
      const map = joinConcepts(maps, rows * columns, concepts, manifest.kind);
      paintValues(map, colormap(look.colormap), range[0], range[1], pixels);
      const canvas = /** @type {HTMLCanvasElement} */ (item.firstElementChild);
      if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
      canvas.getContext("2d")?.putImageData(data, 0, 0);
    });
  }
}
