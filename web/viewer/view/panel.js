// Everything around the picture, put together.

import { Bars } from "./concept_bars.js";
import { colormap } from "../data/colour.js";
import { element, write } from "./dom.js";
import { Film } from "./image_controls.js";
import { Masking } from "./mask_controls.js";
import { Span } from "./range_slider.js";
import { Strip } from "./step_thumbnails.js";
import { Toolbar } from "./toolbar.js";

/** @import {BarEvents} from "./concept_bars.js" */
/** @import {FilmEvents} from "./image_controls.js" */
/** @import {SpanEvents} from "./range_slider.js" */
/** @import {State} from "../data/state.js" */
/** @import {Key, Say} from "./strings.js" */
/** @import {ToolbarEvents} from "./toolbar.js" */
/** @import {Choice} from "../data/types.js" */

/**
 * @typedef {object} PanelEvents
 * @property {ToolbarEvents} toolbar
 * @property {BarEvents} bars
 * @property {FilmEvents} film
 * @property {(part: Partial<Choice>) => void} choose
 * @property {SpanEvents} steps
 * @property {SpanEvents} layers
 */

export class Panel {
  /** @param {Say} say @param {PanelEvents} events @param {HTMLElement} stage */
  constructor(say, events, stage) {
    this.say = say;
    this.toolbar = new Toolbar(say, events.toolbar);
    this.bars = new Bars(say, events.bars);
    this.film = new Film(say, events.film);
    this.masking = new Masking(say, events.choose);
    this.steps = new Span(say, spanTexts(say, "step", "steps"), events.steps);
    this.layers = new Span(say, spanTexts(say, "layer", "layers"), events.layers);
    this.strip = new Strip(say, events.steps.choose);
    this.note = element("div", "ca-note");
    this.live = element("div", "ca-live", { "aria-live": "polite" });
    this.low = element("span", "");
    this.high = element("span", "");
    this.kind = element("span", "ca-kind");
    this.ramp = element("canvas", "", { width: "256", height: "1" });
    this.scale = element("div", "ca-scale", { "aria-hidden": "true" }, this.kind, this.low, this.ramp, this.high);
    const main = element("div", "ca-main", {}, stage, this.scale);
    const body = element("div", "ca-body", {}, main, this.bars.element);
    const rows = [this.film, this.masking, this.steps, this.strip, this.layers].map((part) => part.element);
    this.controls = element("div", "ca-controls", {}, ...rows, this.note);
    this.element = element("div", "ca-inside", {}, this.toolbar.element, body, this.controls, this.live);
  }

  /** Fit to the data of another run. @param {State} state */
  begin(state) {
    this.bars.setConcepts(state.manifest.concepts);
    this.strip.setSteps(state);
  }

  /**
   * @param {State} state
   * @param {boolean} playing
   * @param {[number, number]} range  values drawn in the first and the last colour
   * @param {number} area  part of the picture that the mask holds
   */
  update(state, playing, range, area) {
    const { look, choice, manifest, steps, layers } = state;
    this.toolbar.update(look);
    this.film.update(state, playing);
    this.masking.update(state, area);
    const names = { step: this.stepName.bind(this, state), layer: this.layerName.bind(this, state) };
    this.steps.update(manifest.steps.length, steps, look.singleStep, names.step, this.stepText(state));
    this.layers.update(manifest.layers.length, layers, look.singleLayer, names.layer, this.layerText(state));
    this.strip.mark(steps);
    const unread = state.unread.map((what) => this.say(`unread_${what}`, choice[what]));
    write(this.note, [...unread, this.reduced(state)].join(" ").trim());
    this.drawScale(state, range);
  }

  /** @param {State} state @param {[number, number]} range */
  drawScale({ look, manifest }, [low, high]) {
    this.scale.hidden = look.view === "segmentation" || look.view === "mask";
    write(this.kind, this.say(manifest.kind));
    write(this.low, String(Number(low.toPrecision(3))));
    write(this.high, String(Number(high.toPrecision(3))));
    if (this.ramp.dataset.colours === look.colormap) return;
    this.ramp.dataset.colours = look.colormap;
    const data = new ImageData(256, 1);
    new Uint32Array(data.data.buffer).set(colormap(look.colormap));
    this.ramp.getContext("2d")?.putImageData(data, 0, 0);
  }

  /** What was averaged on the server. @param {State} state */
  reduced({ manifest }) {
    if (!manifest.reduced) return "";
    const { steps, step_groups, layers, layer_groups } = manifest;
    const parts = [this.joins("step", steps, step_groups), this.joins("layer", layers, layer_groups)].filter(Boolean);
    return parts.length ? this.say("reduced", parts.join("; ")) : this.say("averaged");
  }

  /** Which steps or layers were joined.
   * @param {"step" | "layer"} one @param {number[]} first @param {number[][]} groups */
  joins(one, first, groups) {
    if (groups.every((group) => group.length === 1)) return "";
    const spans = groups.map((group, index) => joined(one, first[index], group.length)[1]);
    return this.say(`some_${one}s`, spans.join(", "));
  }

  /** @param {State} state @param {number} index */
  stepName({ manifest }, index) {
    const name = this.say(...joined("step", manifest.steps[index], manifest.step_groups[index].length));
    const sigma = manifest.sigmas[index];
    return sigma === undefined ? name : `${name}, ${this.say("sigma", sigma.toFixed(2))}`;
  }

  /** @param {State} state @param {number} index */
  layerName({ manifest }, index) {
    return this.say(...joined("layer", manifest.layers[index], manifest.layer_groups[index].length));
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

/** What to say of a step or layer, or of several neighbours that were joined.
 * @param {"step" | "layer"} one @param {number} first @param {number} count
 * @returns {[Key, number | string]} */
function joined(one, first, count) {
  return count === 1 ? [`one_${one}`, first] : [`some_${one}s`, `${first}–${first + count - 1}`];
}

/** @param {Say} say @param {"step" | "layer"} one @param {"steps" | "layers"} name */
function spanTexts(say, one, name) {
  return {
    name,
    title: say(name),
    from: say(`first_${one}`),
    to: say(`last_${one}`),
    single: say(`single_${name}`),
    average: say(`average_${name}`),
  };
}
