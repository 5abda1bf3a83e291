// The viewer: its state, its data and its elements, put together. It knows nothing of ComfyUI; a host lends it all.

import { Painter } from "./painter.js";
import { element, write } from "./dom.js";
import { savePicture, tabulate } from "./save_image.js";
import { Files } from "./run_files.js";
import { nothingFits, winner } from "../data/masks.js";
import { Memo } from "../data/memoize.js";
import { Panel } from "./panel.js";
import { areaOf, lookOf, makeScene, read, strideOf } from "../data/scene.js";
import { Stage } from "./image_canvas.js";
import * as states from "../data/state.js";
import { speak } from "./strings.js";

/** @import {Cells} from "../data/summed_area.js" */
/** @import {Scene} from "./painter.js" */
/** @import {Source} from "./run_files.js" */
/** @import {PanelEvents} from "./panel.js" */
/** @import {StageEvents} from "./image_canvas.js" */
/** @import {State} from "../data/state.js" */
/** @import {Key} from "./strings.js" */
/** @import {Choice, Look, Manifest} from "../data/types.js" */

/**
 * @typedef {object} Lent
 * @property {() => string} locale
 * @property {() => Choice} choice  what the node's widgets say
 * @property {(part: Partial<Choice>) => void} choose  write to them
 * @property {(look: Look) => void} remember
 * @property {(text: string) => Promise<void>} copy
 * @property {(height: number) => void} resized  the least height that shows everything has changed
 *
 * @typedef {Source & Lent} Host
 */

const QUICK = 300_000; // samples while something moves
const SETTLED = 2_000_000; // and afterwards
const PAUSE = 160; // milliseconds without a change after which everything is drawn in full
const FILM = 125; // milliseconds per frame
const TOLD = 3000; // milliseconds that a remark is shown
const LEAST = 420; // height in CSS pixels, until it can be measured
const NARROW = 480; // width in CSS pixels below which names stand under the picture, as in the style sheet
const STAGE = 260; // least height of the picture

export class Viewer {
  /** @param {Host} host */
  constructor(host) {
    this.host = host;
    this.say = speak(host.locale());
    this.stage = new Stage(this.say, this.stageEvents());
    this.panel = new Panel(this.say, this.panelEvents(), this.stage.element);
    this.element = element("section", "ca-viewer", { "aria-label": this.say("viewer") }, this.panel.element);
    this.files = new Files(host, this.note.bind(this), this.draw.bind(this));
    this.memo = new Memo();
    this.painter = new Painter();
    /** @type {State | null} */
    this.state = null;
    /** @type {Scene | null} What is shown. */
    this.scene = null;
    this.height = LEAST; // CSS pixels in which everything is seen
    this.samples = 0; // in which it was drawn
    this.asked = 0; // the next animation frame
    this.settling = 0; // the timer after which everything is drawn in full
    this.playing = 0; // the timer of the film
    this.note("waiting");
    const watcher = new ResizeObserver(() => this.resize());
    for (const part of [this.element, this.panel.controls, this.panel.bars.list]) watcher.observe(part);
  }

  /** @returns {StageEvents} */
  stageEvents() {
    return {
      point: (pixel, byKey) => this.point(pixel, byKey),
      pick: (pixel, concept, also) => this.pickAt(pixel, concept, also),
      zoom: (factor, at) => this.change((state) => states.zoomBy(state, factor, at)),
      pan: (right, down) => this.change((state) => states.panBy(state, right, down)),
      fit: () => this.change(states.zoomOut),
      copy: () => this.copy(),
    };
  }

  /** @returns {PanelEvents} */
  panelEvents() {
    return {
      toolbar: {
        look: (part) => this.change((state) => states.withLook(state, part)),
        zoom: (factor) => this.change((state) => states.zoomBy(state, factor, state.look.zoom)),
        fit: () => this.change(states.zoomOut),
        save: () => this.save(),
        copy: () => this.copy(),
      },
      bars: {
        pick: (concept) => this.change((state) => states.pick(state, concept)),
        pin: (concept) => this.change((state) => states.pin(state, concept)),
        hover: (hovered) => this.change((state) => ({ ...state, hovered })),
      },
      film: {
        turn: (by) => this.change((state) => states.turn(state, by)),
        frame: (frame) => this.change((state) => states.withLook(state, { frame })),
        play: () => this.play(!this.playing),
      },
      choose: (part) => this.change((state) => states.withChoice(state, part)),
      steps: {
        choose: (from, to) => this.change((state) => states.chooseSteps(state, from, to)),
        single: (singleStep) => this.change((state) => states.withLook(state, { singleStep })),
        average: () => this.change(states.averageSteps),
      },
      layers: {
        choose: (from, to) => this.change((state) => states.chooseLayers(state, from, to)),
        single: (singleLayer) => this.change((state) => states.withLook(state, { singleLayer })),
        average: () => this.change(states.averageLayers),
      },
    };
  }

  /**
   * Show what a run sent.
   * @param {Manifest} manifest
   * @param {Partial<Look>} [look]
   */
  show(manifest, look) {
    this.play(false);
    this.files.begin();
    this.memo.clear();
    this.scene = null;
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
    if (same && this.files.cells.size) this.follow();
    else this.show(manifest, this.state?.look ?? look);
  }

  /** Follow the node's widgets, which someone may have written to. */
  follow() {
    if (!this.state || !states.differences(this.state.choice, this.host.choice())) return;
    this.state = states.withChoice(this.state, this.host.choice());
    this.draw();
  }

  /** @param {(state: State) => State} next */
  change(next) {
    const before = this.state;
    if (!before) return;
    this.state = next(before);
    const written = states.differences(before.choice, this.state.choice);
    if (written) this.host.choose(written);
    if (this.state.look !== before.look) this.host.remember(this.state.look);
    this.draw();
  }

  /** @param {{x: number, y: number} | null} pixel @param {boolean} byKey */
  point(pixel, byKey) {
    const before = this.state?.pixel;
    if (!this.state || (before?.x === pixel?.x && before?.y === pixel?.y)) return;
    this.state = { ...this.state, pixel };
    if (byKey && pixel && this.scene) {
      const values = read(this.scene, pixel, this.memo);
      const best = winner(values);
      const place = this.say("at", pixel.x, pixel.y);
      write(this.panel.live, `${place}: ${this.scene.concepts[best].name} ${values[best].toFixed(3)}`);
    }
    this.draw();
  }

  /** @param {{x: number, y: number}} pixel @param {number | null} concept of the tile @param {boolean} also */
  pickAt(pixel, concept, also) {
    if (!this.scene) return;
    const best = concept ?? winner(read(this.scene, pixel, this.memo));
    this.change((state) => (also ? states.pin : states.pick)({ ...state, pixel }, best));
  }

  /** @param {boolean} on */
  play(on) {
    window.clearInterval(this.playing);
    this.playing = on ? window.setInterval(() => this.advance(), FILM) : 0;
    this.draw();
  }

  advance() {
    if (this.element.isConnected) this.change(states.advance);
    else this.play(false);
  }

  /** Draw with the next animation frame, and in full once nothing changes any more. */
  draw() {
    window.clearTimeout(this.settling);
    this.settling = window.setTimeout(() => this.redraw(true), PAUSE);
    this.asked ||= requestAnimationFrame(() => {
      this.asked = 0;
      this.redraw(false);
    });
  }

  /** @param {boolean} settled  whether there is time to draw everything, and in full */
  redraw(settled) {
    const { state, files, memo, panel } = this;
    if (!state || !this.element.isConnected || !this.element.clientWidth) return;
    const cells = files.need(state.manifest, state.look.picture);
    const image = files.needImage(state.manifest, state.look.picture, state.look.frame);
    if (!cells) return;
    const scene = makeScene(state, cells, image, settled, memo);
    this.scene = scene;
    this.drawStage(state, scene, settled ? SETTLED : QUICK);
    panel.bars.update(this.readingOf(state, scene));
    panel.update(state, this.playing > 0, scene.range, areaOf(scene, memo));
    if (settled) this.drawStrip(state, scene, cells);
  }

  /** @param {State} state @param {Scene} scene @param {number} samples */
  drawStage(state, scene, samples) {
    const { stage, painter } = this;
    const { canvas } = stage;
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    const sides = [canvas.clientWidth, canvas.clientHeight];
    const [width, height] = sides.map((side) => Math.max(1, Math.round(side * ratio)));
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    const isNews = this.memo.isNews("drawn", [...lookOf(scene), width, height]);
    if (context && (isNews || samples > this.samples)) {
      this.samples = samples;
      stage.tiles = painter.paint(context, scene, ratio, samples);
    }
    stage.picture = scene.picture;
    stage.stride = strideOf(scene);
    stage.mark(state.pixel);
  }

  /** @param {State} state @param {Scene} scene @param {Cells} cells */
  drawStrip(state, { shown, range }, cells) {
    const frame = states.gridFrame(state);
    const depends = [cells, state.layers.join(), shown.join(), state.look.colormap, frame];
    if (this.memo.isNews("strip", depends)) this.panel.strip.draw(cells, state, frame, shown, range);
  }

  /** @param {State} state @param {Scene} scene @returns {import("./concept_bars.js").Reading} */
  readingOf({ pixel, manifest, picked }, scene) {
    const values = read(scene, pixel, this.memo);
    const best = pixel ? winner(values) : null;
    /** @type {Key | null} */
    let hint = null;
    if (best !== null) {
      if (manifest.kind === "share" && nothingFits(values)) hint = "nothing_fits";
      else if (manifest.concepts[best].role === "background") hint = "background_wins";
    }
    return {
      values,
      winner: best,
      picked,
      shown: scene.shown,
      range: scene.range,
      where: pixel ? this.say("at", pixel.x, pixel.y) : this.say("whole"),
      hint: hint ? this.say(hint) : "",
    };
  }

  /** What there is to say in place of the picture; null if it is there.
   * @param {Key | null} key @param {string} [detail] */
  note(key, detail = "") {
    if (key !== "loading") this.element.classList.toggle("ca-empty", key !== null);
    write(this.stage.message, key ? this.say(key, detail) : "");
  }

  /** Say something for a moment. @param {Key} key @param {string[]} parts */
  tell(key, ...parts) {
    const text = this.say(key, ...parts);
    write(this.stage.message, text);
    window.setTimeout(() => this.stage.message.textContent === text && write(this.stage.message, ""), TOLD);
  }

  copy() {
    const { state, scene } = this;
    if (!state || !scene) return;
    const text = tabulate(state, read(scene, state.pixel, this.memo));
    this.host.copy(text).then(
      () => this.tell("copied"),
      () => this.tell("not_copied"),
    );
  }

  save() {
    const { state, scene } = this;
    if (!state || !scene) return;
    savePicture(scene, state).then(
      (name) => this.tell("saved", name),
      () => this.tell("not_saved"),
    );
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
    const { toolbar, controls, bars } = this.panel;
    if (!this.scene) return LEAST;
    const around = toolbar.element.offsetHeight + controls.offsetHeight + 40;
    const names = Math.min(bars.list.scrollHeight + 24, 220);
    return Math.ceil(around + (this.element.clientWidth < NARROW ? STAGE + names : Math.max(STAGE, names)));
  }

  /** Let go of everything. */
  close() {
    this.play(false);
    window.clearTimeout(this.settling);
    cancelAnimationFrame(this.asked);
    this.asked = 0;
    this.files.begin();
    this.memo.clear();
    this.state = this.scene = null;
  }
}
