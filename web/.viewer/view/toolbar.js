// The toolbar: view, colour map, opacity, wipe, regions, zoom, copying, saving, exporting and help.

import { COLORMAP_NAMES } from "../data/colour.js";
import { assign, button, element, icon, select, slider } from "./dom.js";

/** @import {Say} from "./strings.js" */
/** @import {Look, View} from "../data/types.js" */

/**
 * @typedef {object} ToolbarEvents
 * @property {(part: Partial<Look>) => void} look
 * @property {(factor: number) => void} zoom
 * @property {() => void} fit
 * @property {() => void} save
 * @property {() => void} copy
 * @property {() => void} wipe  turns it on or off
 * @property {() => void} regions  outlines them, or no longer
 * @property {() => void} exports  opens the sheet for it
 * @property {() => void} help
 */

/** @type {View[]} */
const VIEWS = ["overlay", "sides", "segmentation", "mask"];

export class Toolbar {
  /** @param {Say} say @param {ToolbarEvents} events */
  constructor(say, events) {
    this.views = VIEWS.map((view) => {
      const item = button("", say(`${view}_help`), icon(view), element("span", "", {}, say(view)));
      item.dataset.view = view;
      item.setAttribute("aria-label", say(view));
      item.addEventListener("click", () => events.look({ view }));
      return item;
    });
    this.colormap = select("ca-colormap", say("colormap"), COLORMAP_NAMES.map((name) => [name, name]));
    this.colormap.addEventListener("change", () => events.look({ colormap: this.colormap.value }));
    this.opacity = slider("ca-opacity", say("opacity"), { min: 0, max: 1, step: 0.05 });
    this.opacity.addEventListener("input", () => events.look({ opacity: Number(this.opacity.value) }));
    const actions = /** @type {const} */ ([
      ["zoom_out", () => events.zoom(0.8)],
      ["zoom_fit", events.fit],
      ["zoom_in", () => events.zoom(1.25)],
      ["wipe", events.wipe],
      ["regions", events.regions],
      ["copy", events.copy],
      ["save", events.save],
      ["export", events.exports],
      ["help", events.help],
    ]).map(([name, act]) => {
      const item = button(`ca-${name.replace("_", "-")}${name === "wipe" ? "-button" : ""}`, say(name), icon(name));
      item.addEventListener("click", act);
      return item;
    });
    const named = (/** @type {string} */ name) =>
      /** @type {HTMLButtonElement} */ (actions.find((item) => item.classList.contains(name)));
    this.wipe = named("ca-wipe-button");
    this.regions = named("ca-regions");
    this.element = element(
      "div",
      "ca-top",
      {},
      element("div", "ca-views", { role: "group", "aria-label": say("views") }, ...this.views),
      element("div", "ca-tools", {}, this.colormap, this.opacity, element("span", "ca-buttons", {}, ...actions)),
    );
  }

  /** @param {Look} look @param {boolean} regions  whether there are any */
  update(look, regions) {
    this.regions.hidden = !regions;
    this.regions.setAttribute("aria-pressed", String(look.regions));
    for (const view of this.views) view.setAttribute("aria-pressed", String(view.dataset.view === look.view));
    assign(this.colormap, look.colormap);
    assign(this.opacity, look.opacity);
    this.wipe.setAttribute("aria-pressed", String(look.wipe > 0));
    this.wipe.disabled = look.view === "sides";
    this.colormap.disabled = look.view === "segmentation" || look.view === "mask";
  }
}
