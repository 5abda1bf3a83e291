// The layout of the viewer: the image canvas and all controls around it.

import { colormap } from "../data/colour.js";
import { hasRegions } from "../data/state.js";
import { ConceptBars } from "./concept_bars.js";
import { element, write } from "./dom.js";
import { ImageControls } from "./image_controls.js";
import { MaskControls } from "./mask_controls.js";
import { RangeSlider } from "./range_slider.js";
import { Sheet } from "./sheet.js";
import { Thumbnails } from "./thumbnails.js";
import { Toolbar } from "./toolbar.js";

/** @import {State} from "../data/state.js" */
/** @import {BarEvents} from "./concept_bars.js" */
/** @import {ImageEvents} from "./image_controls.js" */
/** @import {MaskEvents} from "./mask_controls.js" */
/** @import {RangeEvents} from "./range_slider.js" */
/** @import {Key, Say} from "./strings.js" */
/** @import {ToolbarEvents} from "./toolbar.js" */

/**
 * @typedef {object} PanelEvents
 * @property {ToolbarEvents} toolbar
 * @property {BarEvents} bars
 * @property {ImageEvents} images
 * @property {MaskEvents} mask
 * @property {RangeEvents} steps
 * @property {RangeEvents} layers
 */

export class Panel {
  /** @param {Say} say @param {PanelEvents} events @param {HTMLElement} canvas */
  constructor(say, events, canvas) {
    this.say = say;
    this.toolbar = new Toolbar(say, events.toolbar);
    this.bars = new ConceptBars(say, events.bars);
    this.images = new ImageControls(say, events.images);
    this.mask = new MaskControls(say, events.mask);
    this.steps = new RangeSlider(say, rangeTexts(say, "step", "steps"), events.steps);
    this.layers = new RangeSlider(say, rangeTexts(say, "layer", "layers"), events.layers);
    this.thumbnails = {
      steps: new Thumbnails(say, "steps", events.steps.choose),
      layers: new Thumbnails(say, "layers", events.layers.choose),
    };
    this.sheet = new Sheet(say);
    this.note = element("div", "ca-note");
    this.live = element("div", "ca-live", { "aria-live": "polite" });
    this.low = element("span", "");
    this.high = element("span", "");
    this.kind = element("span", "ca-kind");
    this.ramp = element("canvas", "", { width: "256", height: "1" });
    this.scale = element("div", "ca-scale", { "aria-hidden": "true" }, this.kind, this.low, this.ramp, this.high);
    const main = element("div", "ca-main", {}, canvas, this.scale);
    const body = element("div", "ca-body", {}, main, this.bars.element);
    const { steps, layers } = this.thumbnails;
    const ranges = [this.steps, steps, this.layers, layers].map((part) => part.element);
    const rows = [this.images.element, this.mask.element, this.mask.finish, ...ranges];
    this.controls = element("div", "ca-controls", {}, ...rows, this.note);
    const parts = [this.toolbar.element, body, this.controls, this.live, this.sheet.element];
    this.element = element("div", "ca-inside", {}, ...parts);
  }

  /** Adapt to the data of a run. @param {State} state */
  setData(state) {
    this.bars.setConcepts(state.manifest.concepts);
    for (const row of Object.values(this.thumbnails)) row.setData(state);
  }

  /**
   * @param {State} state
   * @param {boolean} playing
   * @param {[number, number]} range  values of the first and the last colour
   * @param {number} area  share of the image inside the mask
   * @param {boolean} edited  whether the mask is from the mask editor
   */
  update(state, playing, range, area, edited) {
    const { look, choice, manifest, steps, layers } = state;
    this.toolbar.update(look, hasRegions(state));
    this.images.update(state, playing);
    this.mask.update(state, area, edited);
    const names = { step: this.stepName.bind(this, state), layer: this.layerName.bind(this, state) };
    this.steps.update(manifest.steps.length, steps, look.singleStep, names.step, this.stepText(state));
    this.layers.update(manifest.layers.length, layers, look.singleLayer, names.layer, this.layerText(state));
    this.thumbnails.steps.mark(steps);
    this.thumbnails.layers.mark(layers);
    const errors = state.invalid.map((name) => this.say(`invalid_${name}`, choice[name]));
    write(this.note, [...errors, this.reducedText(state)].join(" ").trim());
    this.drawScale(state, range);
  }

  /** @param {State} state @param {[number, number]} range */
  drawScale({ look, manifest }, [low, high]) {
    this.scale.hidden = look.view === "segmentation" || look.view === "mask";
    write(this.kind, this.say(manifest.kind));
    write(this.low, String(Number(low.toPrecision(3))));
    write(this.high, String(Number(high.toPrecision(3))));
    if (this.ramp.dataset.colormap === look.colormap) return;
    this.ramp.dataset.colormap = look.colormap;
    const data = new ImageData(256, 1);
    new Uint32Array(data.data.buffer).set(colormap(look.colormap));
    this.ramp.getContext("2d")?.putImageData(data, 0, 0);
  }

  /** What the server averaged. @param {State} state */
  reducedText({ manifest }) {
    if (!manifest.reduced) return "";
    const { steps, step_groups, layers, layer_groups } = manifest;
    const parts = [this.groupsText("step", steps, step_groups), this.groupsText("layer", layers, layer_groups)];
    const written = parts.filter(Boolean);
    return written.length ? this.say("reduced", written.join("; ")) : this.say("averaged");
  }

  /** The averaged groups of steps or layers; empty if there are none.
   * @param {"step" | "layer"} what @param {number[]} first  of each group @param {number[][]} groups */
  groupsText(what, first, groups) {
    if (groups.every((group) => group.length === 1)) return "";
    const spans = groups.map((group, index) => spanText(what, first[index], group.length)[1]);
    return this.say(`some_${what}s`, spans.join(", "));
  }

  /** @param {State} state @param {number} index */
  stepName({ manifest }, index) {
    const name = this.say(...spanText("step", manifest.steps[index], manifest.step_groups[index].length));
    const sigma = manifest.sigmas[index];
    return sigma === undefined ? name : `${name}, ${this.say("sigma", sigma.toFixed(2))}`;
  }

  /** @param {State} state @param {number} index */
  layerName({ manifest }, index) {
    return this.say(...spanText("layer", manifest.layers[index], manifest.layer_groups[index].length));
  }

  /** @param {State} state */
  stepText(state) {
    const { steps, manifest, choice } = state;
    if (steps.length === 1) return this.stepName(state, steps[0]);
    if (steps.length === manifest.steps.length) return this.say("all_steps", manifest.step_groups.flat().length);
    return this.say("some_steps", choice.steps);
  }

  /** @param {State} state */
  layerText(state) {
    const { layers, manifest, choice } = state;
    if (layers.length === 1) return this.layerName(state, layers[0]);
    const word = /^\s*[a-z]+\s*$/i.test(choice.layers) ? choice.layers.trim() : "";
    if (!word) return this.say("some_layers", choice.layers);
    const [first, last] = [layers[0], layers[layers.length - 1]].map((index) => manifest.layers[index]);
    return `${this.say("some_layers", `${first}–${last}`)} (${word})`;
  }
}

/** Text of one step or layer, or of a group of neighbours.
 * @param {"step" | "layer"} what @param {number} first @param {number} count
 * @returns {[Key, number | string]} */
function spanText(what, first, count) {
  return count === 1 ? [`one_${what}`, first] : [`some_${what}s`, `${first}–${first + count - 1}`];
}

/** @param {Say} say @param {"step" | "layer"} one @param {"steps" | "layers"} name */
function rangeTexts(say, one, name) {
  return {
    name,
    title: say(name),
    from: say(`first_${one}`),
    to: say(`last_${one}`),
    single: say(`single_${name}`),
    average: say(`average_${name}`),
  };
}
