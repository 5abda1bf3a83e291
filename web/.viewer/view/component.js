// The viewer: its state, data and elements. It does not depend on ComfyUI; a host connects the two.

import { parseEdited } from "../data/edited.js";
import { Memo } from "../data/memoize.js";
import { readValues, remarkOn, winnerOf } from "../data/reading.js";
import { areaOf, dependenciesOf, labelsOf, listOrder, makeScene, strideOf } from "../data/scene.js";
import * as states from "../data/state.js";
import { canvasEvents, panelEvents } from "./actions.js";
import { element, write } from "./dom.js";
import { ImageCanvas } from "./image_canvas.js";
import { Painter } from "./painter.js";
import { Panel } from "./panel.js";
import { readPixels } from "./pixels.js";
import { RunFiles } from "./run_files.js";
import { speak } from "./strings.js";

/** @import {Scene} from "../data/scene.js" */
/** @import {State} from "../data/state.js" */
/** @import {SummedAreaTable} from "../data/summed_area.js" */
/** @import {Choice, FileRef, Look, Manifest, Pixel} from "../data/types.js" */
/** @import {MakeAnimation} from "./exports.js" */
/** @import {Source} from "./run_files.js" */
/** @import {Key} from "./strings.js" */

/**
 * @typedef {object} NodeAccess
 * @property {() => string} locale
 * @property {() => Choice} choice  values of the node's widgets
 * @property {(part: Partial<Choice>) => void} choose  sets them
 * @property {(look: Look) => void} remember
 * @property {(text: string) => Promise<void>} copy
 * @property {(known: string[]) => Promise<{words: string[], add: ((word: string) => void) | null}>} words  of the
 *   prompt, without the known ones; add: makes one a concept
 * @property {(mask: Blob, image: FileRef, saved: (name: string) => void) => Promise<void>} editMask  opens the mask
 *   editor; the mask is where the blob is transparent; saved is called with a file's name
 * @property {MakeAnimation} makeAnimation
 * @property {() => void} noteChange  tells the host that a change has taken effect
 * @property {(height: number) => void} resized  the smallest height that shows everything has changed
 *
 * @typedef {Source & NodeAccess} Host
 */

const QUICK = 300_000; // samples per tile while something moves
const SETTLED = 2_000_000; // and afterwards
const PAUSE_MS = 160; // without a change, after which everything is drawn in full
const FRAME_MS = 125; // per frame of a video
const MESSAGE_MS = 3000; // that a message is shown
const MIN_HEIGHT = 420; // CSS pixels, until it can be measured
const NARROW = 480; // CSS pixels of width below which the bars are under the image, as in the style sheet
const MIN_IMAGE_HEIGHT = 260;

export class Viewer {
  /** @param {Host} host @param {HTMLElement} [root]  the element to fill */
  constructor(host, root = element("section", "ca-viewer")) {
    this.host = host;
    this.say = speak(host.locale());
    this.canvas = new ImageCanvas(this.say, canvasEvents(this));
    this.panel = new Panel(this.say, panelEvents(this), this.canvas.element);
    this.element = root;
    root.setAttribute("aria-label", this.say("viewer"));
    root.tabIndex = -1; // clicking anywhere in it puts the focus there
    root.dataset.captureWheel = "true"; // ComfyUI leaves the wheel to it while the focus is inside
    root.replaceChildren(this.panel.element);
    const remark = this.showMessage.bind(this);
    this.files = new RunFiles(host, this.showStatus.bind(this), this.draw.bind(this), remark);
    this.memo = new Memo();
    this.painter = new Painter();
    /** @type {State | null} */
    this.state = null;
    /** @type {Scene | null} The scene on display. */
    this.scene = null;
    this.height = MIN_HEIGHT; // smallest that shows everything, CSS pixels
    this.samples = 0; // of the last drawing
    this.animationFrame = 0; // the next one requested
    this.settling = 0; // timer until everything is drawn in full
    this.playing = 0; // timer of the video
    this.showStatus("waiting");
    const observer = new ResizeObserver(() => this.resize());
    for (const part of [this.element, this.panel.controls, this.panel.bars.list]) observer.observe(part);
  }

  /**
   * Show the data of a run.
   * @param {Manifest} manifest
   * @param {Partial<Look>} [look]
   */
  show(manifest, look) {
    this.play(false);
    this.files.reset();
    this.memo.clear();
    this.scene = null;
    this.state = states.initialState(manifest, this.host.choice(), look);
    this.panel.setData(this.state);
    this.draw();
  }

  /**
   * Show the data of the latest run, unless they are on display already.
   * @param {Manifest} manifest
   * @param {Partial<Look> | undefined} look
   * @param {boolean} same  whether they equal those of the run before
   */
  update(manifest, look, same) {
    if (same && this.files.tables.size) this.readChoice();
    else this.show(manifest, this.state?.look ?? look);
  }

  /** Take over the values of the node's widgets. */
  readChoice() {
    if (!this.state || !states.differences(this.state.choice, this.host.choice())) return;
    this.state = states.withChoice(this.state, this.host.choice());
    this.draw();
  }

  /** @param {(state: State) => State} next */
  change(next) {
    const before = this.state;
    if (!before) return;
    this.state = next(before);
    const changed = states.differences(before.choice, this.state.choice);
    if (changed) this.host.choose(changed);
    if (this.state.look !== before.look) this.host.remember(this.state.look);
    this.draw();
  }

  /** Move the cursor. @param {Pixel | null} pixel @param {boolean} byKey */
  point(pixel, byKey) {
    const before = this.state?.pixel;
    if (!this.state || (before?.x === pixel?.x && before?.y === pixel?.y)) return;
    this.state = { ...this.state, pixel };
    if (byKey && pixel && this.scene) {
      const values = readValues(this.scene, pixel, this.memo);
      const winner = winnerOf(values);
      const place = this.say("at", pixel.x, pixel.y);
      write(this.panel.live, `${place}: ${this.scene.concepts[winner].name} ${values[winner].toFixed(3)}`);
    }
    this.draw();
  }

  /** Pick the concept of a tile, or the winner at a pixel.
   * @param {Pixel} pixel @param {number | null} concept  of the tile @param {boolean} add */
  pickAt(pixel, concept, add) {
    if (!this.scene) return;
    const picked = concept ?? winnerOf(readValues(this.scene, pixel, this.memo));
    this.change((state) => (add ? states.pin : states.pick)({ ...state, pixel }, picked));
  }

  /** @param {boolean} on */
  play(on) {
    window.clearInterval(this.playing);
    this.playing = on ? window.setInterval(() => this.showNextFrame(), FRAME_MS) : 0;
    this.draw();
  }

  showNextFrame() {
    if (this.element.isConnected) this.change(states.nextFrame);
    else this.play(false);
  }

  /** Draw in the next animation frame, and in full once nothing changes any more. */
  draw() {
    window.clearTimeout(this.settling);
    this.settling = window.setTimeout(() => this.redraw(true), PAUSE_MS);
    this.animationFrame ||= requestAnimationFrame(() => {
      this.animationFrame = 0;
      this.redraw(false);
    });
  }

  /** @param {boolean} settled  whether there is time to draw everything in full */
  redraw(settled) {
    const { state, files, memo, panel } = this;
    if (!state || !this.element.isConnected || !this.element.clientWidth) return;
    const table = files.table(state.manifest, state.look.picture);
    const image = files.frame(state.manifest, state.look.picture, state.look.frame);
    if (!table) return;
    const name = parseEdited(state.choice.edited).get(states.maskPosition(state));
    const edited = files.edited(name);
    const regions = files.regionsOf(state.manifest, state.look.picture);
    const scene = makeScene(state, table, { image, edited, regions, read: readPixels }, settled, memo);
    this.scene = scene;
    this.drawCanvas(state, scene, settled);
    panel.bars.update(this.readingOf(state, scene));
    panel.update(state, this.playing > 0, scene.range, areaOf(scene, memo), name !== undefined);
    if (settled) this.drawThumbnails(state, scene, table);
  }

  /** @param {State} state @param {Scene} scene @param {boolean} settled */
  drawCanvas(state, scene, settled) {
    const samples = settled ? SETTLED : QUICK;
    const { canvas } = this.canvas;
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    const sides = [canvas.clientWidth, canvas.clientHeight];
    const [width, height] = sides.map((side) => Math.max(1, Math.round(side * ratio)));
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    const changed = this.memo.changed("drawing", [...dependenciesOf(scene), width, height]);
    if (context && (changed || samples > this.samples)) {
      this.samples = samples;
      const extras = { labels: labelsOf(scene, settled, this.memo), outline: true, names: true };
      this.canvas.tiles = this.painter.paint(context, scene, ratio, samples, extras);
    }
    this.canvas.imageSize = scene.imageSize;
    this.canvas.stride = strideOf(scene);
    this.canvas.showWipe(state.look.view === "sides" ? 0 : state.look.wipe);
    this.canvas.mark(state.pixel);
  }

  /** @param {State} state @param {Scene} scene @param {SummedAreaTable} table */
  drawThumbnails(state, { shown, range }, table) {
    const frame = states.latentFrame(state);
    for (const [along, others] of /** @type {const} */ ([["steps", "layers"], ["layers", "steps"]])) {
      const dependencies = [table, state[others].join(), shown.join(), state.look.colormap, frame];
      if (!this.memo.changed(`thumbnails of ${along}`, dependencies)) continue;
      this.panel.thumbnails[along].draw(table, state, frame, shown, range);
    }
  }

  /** @param {State} state @param {Scene} scene @returns {import("./concept_bars.js").Reading} */
  readingOf({ pixel, manifest, picked, subtracted, look }, scene) {
    const values = readValues(scene, pixel, this.memo);
    const remark = pixel && remarkOn(values, manifest.kind, manifest.concepts);
    return {
      values,
      winner: pixel ? winnerOf(values) : null,
      picked,
      subtracted,
      order: listOrder(scene, this.memo),
      sort: look.sort,
      absent: scene.absent,
      shown: scene.shown,
      range: scene.range,
      where: pixel ? this.say("at", pixel.x, pixel.y) : this.say("whole"),
      remark: remark ? this.say(remark) : "",
    };
  }

  /** Show a status in place of the image; null when the image is there.
   * @param {Key | null} key @param {string} [detail] */
  showStatus(key, detail = "") {
    if (key !== "loading") this.element.classList.toggle("ca-empty", key !== null);
    write(this.canvas.message, key ? this.say(key, detail) : "");
  }

  /** Show a message for a moment. @param {Key} key @param {string[]} parts */
  showMessage(key, ...parts) {
    const text = this.say(key, ...parts);
    const { message } = this.canvas;
    write(message, text);
    window.setTimeout(() => message.textContent === text && write(message, ""), MESSAGE_MS);
  }

  resize() {
    const height = this.minHeight();
    if (this.height !== height) {
      this.height = height;
      this.host.resized(height);
    }
    this.draw();
  }

  /** CSS pixels that show everything. */
  minHeight() {
    const { toolbar, controls, bars } = this.panel;
    if (!this.scene) return MIN_HEIGHT;
    const around = toolbar.element.offsetHeight + controls.offsetHeight + 40;
    const names = Math.min(bars.list.scrollHeight + bars.tools.offsetHeight + 28, 260);
    const isNarrow = this.element.clientWidth < NARROW;
    return Math.ceil(around + (isNarrow ? MIN_IMAGE_HEIGHT + names : Math.max(MIN_IMAGE_HEIGHT, names)));
  }

  /** Stop all timers and drop all data. */
  close() {
    this.play(false);
    window.clearTimeout(this.settling);
    cancelAnimationFrame(this.animationFrame);
    this.animationFrame = 0;
    this.files.reset();
    this.memo.clear();
    this.state = this.scene = null;
  }
}
