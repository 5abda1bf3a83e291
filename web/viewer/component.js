// The viewer: its state, its data and its elements, put together. It knows nothing of ComfyUI; a host lends it all.

import { Cells, decode } from "./cells.js";
import { Painter } from "./drawing.js";
import { element, write } from "./dom.js";
import { savePicture, tabulate } from "./export.js";
import { coverage, valueAt } from "./geometry.js";
import { nothingFits, winner } from "./masks.js";
import { measureArea, measureLevel } from "./measure.js";
import { Panel } from "./panel.js";
import { reduce } from "./reduce.js";
import { Stage } from "./stage.js";
import * as states from "./state.js";
import { speak } from "./strings.js";

/** @import {Scene} from "./drawing.js" */
/** @import {State} from "./state.js" */
/** @import {Key} from "./strings.js" */
/** @import {Choice, FileRef, Look, Manifest} from "./types.js" */

/**
 * @typedef {object} Host
 * @property {() => string} locale
 * @property {(file: FileRef) => Promise<ArrayBuffer | null>} load  null if the file is gone
 * @property {(file: FileRef) => string} address
 * @property {() => Choice} choice  what the node's widgets say
 * @property {(part: Partial<Choice>) => void} choose  write to them
 * @property {(look: Look) => void} remember
 * @property {(text: string) => Promise<void>} copy
 * @property {(height: number) => void} resized  the least height that shows everything has changed
 */

const QUICK = 300_000; // samples while something moves
const SETTLED = 2_000_000; // and afterwards
const PAUSE = 160; // milliseconds without a change after which everything is drawn in full
const FILM = 125; // milliseconds per frame
const LEAST = 420; // CSS pixels, until it can be measured
const KEPT = 2; // pictures whose values stay in memory

export class Viewer {
  /** @param {Host} host */
  constructor(host) {
    this.host = host;
    this.say = speak(host.locale());
    this.stage = new Stage(this.say, {
      point: (pixel, byKey) => this.point(pixel, byKey),
      pick: (pixel, concept, also) => this.pickAt(pixel, concept, also),
      zoom: (factor, at) => this.change((state) => states.zoomBy(state, factor, at)),
      pan: (right, down) => this.change((state) => states.panBy(state, right, down)),
      fit: () => this.change((state) => states.withLook(state, { zoom: { scale: 1, x: 0.5, y: 0.5 } })),
      copy: () => this.copy(),
    });
    this.panel = new Panel(this.say, this.events(), this.stage.element);
    this.element = element("section", "ca-viewer ca-empty", { "aria-label": this.say("viewer") }, this.panel.element);
    /** @type {State | null} */
    this.state = null;
    /** @type {Map<number, Cells>} */
    this.cells = new Map();
    /** @type {Map<string, HTMLImageElement>} */
    this.images = new Map();
    /** @type {Map<string, {on: unknown[], value: any}>} */
    this.known = new Map();
    this.painter = new Painter();
    this.height = LEAST; // CSS pixels in which everything is seen
    this.run = 0; // counts runs, so that what an earlier one still loads is not shown
    this.asked = 0; // the next animation frame
    this.settling = 0; // the timer after which everything is drawn in full
    this.playing = 0; // the timer of the film
    this.note("waiting");
    new ResizeObserver(() => this.resize()).observe(this.element);
    new ResizeObserver(() => this.resize()).observe(this.panel.controls);
  }

  /** @returns {import("./panel.js").PanelEvents} */
  events() {
    const whole = { x: 0.5, y: 0.5 };
    return {
      toolbar: {
        look: (part) => this.change((state) => states.withLook(state, part)),
        zoom: (factor) => this.change((state) => states.zoomBy(state, factor, this.state?.look.zoom ?? whole)),
        fit: () => this.change((state) => states.withLook(state, { zoom: { scale: 1, ...whole } })),
        save: () => this.save(),
        copy: () => this.copy(),
      },
      bars: {
        pick: (concept) => this.change((state) => states.pick(state, concept)),
        pin: (concept) => this.change((state) => states.pin(state, concept)),
        hover: (hovered) => this.change((state) => ({ ...state, hovered })),
      },
      film: {
        turn: (by) => this.turn(by),
        frame: (frame) => this.change((state) => states.withLook(state, { frame })),
        play: () => this.play(!this.playing),
      },
      choose: (part) => this.change((state) => states.withChoice(state, part)),
      steps: {
        choose: (from, to) => this.change((state) => states.chooseSteps(state, from, to)),
        single: (singleStep) => this.change((state) => states.withLook(state, { singleStep })),
        average: () => this.change((state) => states.withLook(states.withChoice(state, { steps: "all" }), { singleStep: false })),
      },
      layers: {
        choose: (from, to) => this.change((state) => states.chooseLayers(state, from, to)),
        single: (singleLayer) => this.change((state) => states.withLook(state, { singleLayer })),
        average: () => this.change((state) => states.withLook(states.withChoice(state, { layers: "auto" }), { singleLayer: false })),
      },
    };
  }

  /**
   * Show what a run sent.
   * @param {Manifest} manifest
   * @param {Partial<Look>} [look]  by default as it is
   */
  show(manifest, look = this.state?.look) {
    this.run += 1;
    this.cells.clear();
    this.images.clear();
    this.known.clear();
    this.play(false);
    this.state = states.begin(manifest, this.host.choice(), look);
    this.panel.begin(this.state);
    this.draw();
  }

  /**
   * Take what the latest run sent, unless it is what is shown already.
   * @param {Manifest} manifest
   * @param {Partial<Look> | undefined} look
   * @param {boolean} same  whether it is what the run before sent
   */
  take(manifest, look, same) {
    if (same && this.state && this.cells.size) this.follow();
    else this.show(manifest, this.state?.look ?? look);
  }

  /** Follow the node's widgets, which someone may have written to. */
  follow() {
    if (!this.state) return;
    const choice = this.host.choice();
    const before = this.state.choice;
    if (Object.entries(choice).every(([key, value]) => before[/** @type {keyof Choice} */ (key)] === value)) return;
    this.state = states.withChoice(this.state, choice);
    this.draw();
  }

  /** @param {(state: State) => State} next */
  change(next) {
    const before = this.state;
    if (!before) return;
    this.state = next(before);
    const { choice, look } = this.state;
    const changed = Object.entries(choice).filter(([key, value]) => before.choice[/** @type {keyof Choice} */ (key)] !== value);
    if (changed.length) this.host.choose(Object.fromEntries(changed));
    if (look !== before.look) this.host.remember(look);
    this.draw();
  }

  /** @param {{x: number, y: number} | null} pixel @param {boolean} byKey */
  point(pixel, byKey) {
    const before = this.state?.pixel;
    if (!this.state || (before?.x === pixel?.x && before?.y === pixel?.y)) return;
    this.state = { ...this.state, pixel };
    if (byKey && pixel) this.speakAt(pixel);
    this.draw();
  }

  /** @param {{x: number, y: number}} pixel @param {number | null} concept of the tile @param {boolean} also */
  pickAt(pixel, concept, also) {
    const best = concept ?? winner(this.valuesAt(pixel) ?? []);
    if (!this.state || best >= this.state.manifest.concepts.length) return;
    this.change((state) => (also ? states.pin : states.pick)({ ...state, pixel }, best));
  }

  /** @param {number} by */
  turn(by) {
    this.change((state) => {
      const count = state.manifest.pictures.length;
      return states.withLook(state, { picture: (state.look.picture + by + count) % count });
    });
  }

  /** @param {boolean} on */
  play(on) {
    window.clearInterval(this.playing);
    this.playing = on
      ? window.setInterval(() => {
          if (!this.element.isConnected) this.play(false);
          else this.change((state) => states.withLook(state, { frame: (state.look.frame + 1) % states.frameCount(state) }));
        }, FILM)
      : 0;
    this.draw();
  }

  /** Draw with the next animation frame, and in full once nothing changes any more. */
  draw() {
    window.clearTimeout(this.settling);
    this.settling = window.setTimeout(() => this.redraw(true), PAUSE);
    if (!this.asked) {
      this.asked = requestAnimationFrame(() => {
        this.asked = 0;
        this.redraw(false);
      });
    }
  }

  /** @param {boolean} settled  whether there is time to draw everything, and in full */
  redraw(settled) {
    const { state, stage, panel, element } = this;
    if (!state || !element.isConnected || !element.clientWidth) return;
    const cells = this.needCells(state);
    const image = this.needImage(state);
    if (!cells) return;
    const scene = this.scene(state, cells, image, settled);
    this.fitCanvas();
    const { canvas } = stage;
    const samples = settled ? SETTLED : QUICK;
    const context = canvas.getContext("2d");
    const drawn = [scene.maps, scene.image, scene.look, scene.level, String(scene.shown), String(scene.marked), scene.method, canvas.width, canvas.height];
    if (context && this.isNews("drawn", [...drawn, samples])) {
      stage.tiles = this.painter.paint(context, scene, this.ratio(), samples);
    }
    stage.picture = scene.picture;
    stage.stride = strideOf(scene);
    stage.mark(state.pixel);
    this.readBars(state, scene);
    const area = this.once("area", [scene.maps, scene.level, scene.method, String(scene.shown)], () => measureArea(scene));
    panel.update(state, this.playing > 0, scene.range, area);
    if (settled && this.isNews("strip", [cells, state.layers.join(), scene.shown.join(), state.look.colormap, states.gridFrame(state)])) {
      panel.strip.draw(cells, state, states.gridFrame(state), scene.shown, scene.range);
    }
  }

  /**
   * @param {State} state
   * @param {Cells} cells
   * @param {HTMLImageElement | null} image
   * @param {boolean} settled
   * @returns {Scene}
   */
  scene(state, cells, image, settled) {
    const { manifest, steps, layers, look, choice, picked } = state;
    const frame = states.gridFrame(state);
    const chosen = [cells, steps.join(), layers.join()];
    const maps = this.once("maps", [...chosen, frame], () => reduce(cells, manifest, steps, layers, frame));
    const shown = states.shown(state);
    /** @type {[number, number]} */
    const grid = [manifest.grid[1], manifest.grid[2]];
    const film = () => this.once("film", chosen, () => cells.frames < 2 ? [maps] : Array.from({ length: cells.frames }, (_, index) => reduce(cells, manifest, steps, layers, index)));
    const { method, threshold, percentile } = choice;
    const measured = [...chosen, shown.join(), method, threshold, percentile, settled];
    const level = this.once("level", measured, () => measureLevel(film, shown, { ...manifest, grid }, choice, settled));
    const range = this.once("range", [maps], () => rangeOf(maps, manifest.kind));
    const marked = state.hovered === null ? picked : [state.hovered];
    const { visible, concepts, image_size: picture } = manifest;
    return { image, picture, maps, grid, visible, range, concepts, look, shown, picked, marked, method, level };
  }

  /** The values of the picture that is shown, once they are there. @param {State} state @returns {Cells | null} */
  needCells({ manifest, look }) {
    const { picture } = look;
    const cells = this.cells.get(picture);
    if (cells) return cells;
    if (this.loading === `${this.run} ${picture}`) return null;
    this.loading = `${this.run} ${picture}`;
    this.note("loading");
    this.loadCells(manifest, picture, this.run).catch((error) => this.note("unreadable", error.message));
    return null;
  }

  /** @param {Manifest} manifest @param {number} picture @param {number} run */
  async loadCells(manifest, picture, run) {
    const source = manifest.pictures[picture];
    const buffer = await this.host.load(source.values);
    if (run !== this.run) return;
    this.loading = "";
    if (!buffer) return this.note("gone");
    const weights = [manifest.step_groups, manifest.layer_groups].map((groups) => groups.map((group) => group.length));
    for (const other of [...this.cells.keys()].slice(0, 1 - KEPT || undefined)) this.cells.delete(other);
    this.cells.set(picture, new Cells(decode(buffer, source), source, weights[0], weights[1]));
    this.note(null);
    this.draw();
  }

  /** The frame that is shown, once it is there; until then the last one. @param {State} state */
  needImage({ manifest, look }) {
    const address = this.host.address(manifest.pictures[look.picture].frames[look.frame]);
    let image = this.images.get(address);
    if (!image) {
      image = new Image();
      image.addEventListener("load", () => this.draw());
      image.src = address;
      this.images.set(address, image);
    }
    if (image.complete && image.naturalWidth) this.lastImage = image;
    return this.lastImage ?? null;
  }

  /** @param {{x: number, y: number}} pixel @returns {number[] | null} */
  valuesAt(pixel) {
    const maps = this.known.get("maps")?.value;
    if (!this.state || !maps) return null;
    const { grid, visible, image_size: picture, concepts } = this.state.manifest;
    const cells = grid[1] * grid[2];
    return concepts.map((_, index) =>
      valueAt(maps.subarray(index * cells, (index + 1) * cells), [grid[1], grid[2]], visible, picture, pixel),
    );
  }

  /** @param {State} state @param {Scene} scene */
  means(state, { maps, grid, visible }) {
    return this.once("means", [maps], () => {
      const parts = coverage(grid, visible);
      return state.manifest.concepts.map((_, index) => {
        let mean = 0;
        for (let cell = 0; cell < parts.length; cell++) mean += parts[cell] * maps[index * parts.length + cell];
        return mean;
      });
    });
  }

  /** @param {State} state @param {Scene} scene */
  readBars(state, scene) {
    const { pixel, manifest, picked } = state;
    const values = (pixel && this.valuesAt(pixel)) || this.means(state, scene);
    const best = pixel ? winner(values) : null;
    const where = pixel ? this.say("at", pixel.x, pixel.y) : this.say("whole");
    const reading = { values, winner: best, picked, shown: scene.shown, range: scene.range, where, hint: "" };
    if (best !== null) {
      const lost = manifest.kind === "share" && nothingFits(values);
      if (lost) reading.hint = this.say("nothing_fits");
      else if (manifest.concepts[best].role === "background") reading.hint = this.say("background_wins");
    }
    this.panel.bars.update(reading);
  }

  /** @param {{x: number, y: number}} pixel */
  speakAt(pixel) {
    const values = this.valuesAt(pixel);
    if (!values || !this.state) return;
    const best = winner(values);
    write(this.panel.live, `${this.say("at", pixel.x, pixel.y)}: ${this.state.manifest.concepts[best].name} ${values[best].toFixed(3)}`);
  }

  /** What there is to say in place of the picture, or for a moment. @param {Key | null} key @param {string[]} parts */
  note(key, ...parts) {
    const text = key ? this.say(key, ...parts) : "";
    write(this.stage.message, text);
    this.element.classList.toggle("ca-empty", key !== null && key !== "loading");
  }

  /** Say something for a moment. @param {Key} key @param {string[]} parts */
  tell(key, ...parts) {
    const text = this.say(key, ...parts);
    write(this.stage.message, text);
    window.setTimeout(() => this.stage.message.textContent === text && write(this.stage.message, ""), 3000);
  }

  async copy() {
    const { state } = this;
    if (!state) return;
    const values = state.pixel ? this.valuesAt(state.pixel) : this.known.get("means")?.value;
    if (!values) return;
    await this.host.copy(tabulate(state, values)).then(
      () => this.tell("copied"),
      () => this.tell("not_copied"),
    );
  }

  async save() {
    const { state } = this;
    const cells = state && this.cells.get(state.look.picture);
    if (!state || !cells) return;
    this.tell("saved", await savePicture(this.scene(state, cells, this.lastImage ?? null, true), state));
  }

  /** Screen pixels per CSS pixel. */
  ratio() {
    return Math.min(2, window.devicePixelRatio || 1);
  }

  fitCanvas() {
    const { canvas } = this.stage;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((side) => Math.max(1, Math.round(side * this.ratio())));
    if (canvas.width !== width) canvas.width = width;
    if (canvas.height !== height) canvas.height = height;
  }

  resize() {
    const height = this.leastHeight();
    if (this.height !== height) {
      this.height = height;
      this.host.resized(height);
    }
    this.draw();
  }

  /** CSS pixels in which everything is seen. */
  leastHeight() {
    const width = this.element.clientWidth || 400;
    const around = this.panel.toolbar.element.offsetHeight + this.panel.controls.offsetHeight + 40;
    const bars = Math.min(this.panel.bars.element.scrollHeight, 220);
    return Math.ceil(around + (width < 480 ? 220 + bars : Math.max(260, bars)));
  }

  /**
   * A value that is computed again only when what it depends on is another.
   * @template V
   * @param {string} name
   * @param {unknown[]} on
   * @param {() => V} compute
   * @returns {V}
   */
  once(name, on, compute) {
    if (this.isNews(name, on)) this.known.set(name, { on, value: compute() });
    return this.known.get(name)?.value;
  }

  /** Whether something depends on other things than last time. @param {string} name @param {unknown[]} on */
  isNews(name, on) {
    const before = this.known.get(name)?.on;
    if (before?.length === on.length && on.every((item, index) => item === before[index])) return false;
    this.known.set(name, { on, value: undefined });
    return true;
  }

  /** Let go of everything; the viewer is not shown again. */
  close() {
    this.run += 1;
    this.play(false);
    window.clearTimeout(this.settling);
    cancelAnimationFrame(this.asked);
    this.state = null;
    this.cells.clear();
    this.images.clear();
    this.known.clear();
  }
}

/** Pixels of the picture that a token covers, [down, right]. @param {Scene} scene @returns {[number, number]} */
function strideOf({ picture, visible, grid }) {
  const [down, right] = [0, 1].map((side) => Math.max(1, Math.round((picture[side] / grid[side]) * visible[side])));
  return [down, right];
}

/** Values drawn in the first and the last colour. @param {Float32Array} maps @param {Manifest["kind"]} kind
 * @returns {[number, number]} */
function rangeOf(maps, kind) {
  if (kind !== "score") return [0, 1];
  let [low, high] = [Infinity, -Infinity];
  for (const value of maps) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return [low, high];
}
