// The files of a run: values of every picture, and its frames. Loaded when they are first wanted.

import { Cells, decode } from "../data/summed_area.js";

/** @import {Key} from "./strings.js" */
/** @import {FileRef, Manifest} from "../data/types.js" */

/**
 * @typedef {object} Source
 * @property {(file: FileRef) => Promise<ArrayBuffer | null>} load  null if the file is gone
 * @property {(file: FileRef) => string} address
 */

const KEPT = 2; // pictures whose values stay in memory

export class Files {
  /**
   * @param {Source} source
   * @param {(news: Key | null, detail?: string) => void} tell  what is going on; null when everything is there
   * @param {() => void} arrived  another file
   */
  constructor(source, tell, arrived) {
    this.source = source;
    this.tell = tell;
    this.arrived = arrived;
    this.failed = false;
    this.run = 0; // counts runs, so that what comes late of an earlier one is not taken
    /** @type {Map<number, Cells>} */
    this.cells = new Map();
    /** @type {Set<number>} Pictures whose values are being loaded, or never will be. */
    this.asked = new Set();
    /** @type {Map<string, HTMLImageElement>} */
    this.images = new Map();
    /** @type {HTMLImageElement | null} */
    this.last = null;
  }

  /** Let go of everything, for another run. */
  begin() {
    this.run += 1;
    this.failed = false;
    this.cells.clear();
    this.asked.clear();
    this.images.clear();
  }

  /** The values of a picture, once they are there. @param {Manifest} manifest @param {number} picture */
  need(manifest, picture) {
    if (!this.asked.has(picture)) {
      this.asked.add(picture);
      this.tell("loading");
      this.bring(manifest, picture, this.run).catch((error) => this.fail("unreadable", String(error.message)));
    }
    return this.cells.get(picture) ?? null;
  }

  /** @param {Manifest} manifest @param {number} picture @param {number} run */
  async bring(manifest, picture, run) {
    const reference = manifest.pictures[picture];
    const buffer = await this.source.load(reference.values);
    if (run !== this.run) return;
    if (!buffer) return this.fail("gone");
    const weights = [manifest.step_groups, manifest.layer_groups].map((groups) => groups.map((group) => group.length));
    for (const other of [...this.cells.keys()].slice(0, Math.max(0, this.cells.size + 1 - KEPT))) {
      this.cells.delete(other);
      this.asked.delete(other);
    }
    this.cells.set(picture, new Cells(decode(buffer, reference), reference, weights[0], weights[1]));
    if (!this.failed) this.tell(null);
    this.arrived();
  }

  /** @param {Key} problem @param {string} [detail] */
  fail(problem, detail) {
    this.failed = true;
    this.tell(problem, detail);
  }

  /** A frame, once it is there; until then the one before. @param {Manifest} manifest @param {number} picture
   * @param {number} frame @returns {HTMLImageElement | null} */
  needImage(manifest, picture, frame) {
    const address = this.source.address(manifest.pictures[picture].frames[frame]);
    let image = this.images.get(address);
    if (!image) {
      image = new Image();
      const { run } = this;
      image.addEventListener("load", () => run === this.run && this.arrived());
      image.addEventListener("error", () => run === this.run && this.fail("gone"));
      image.src = address;
      this.images.set(address, image);
    }
    if (image.complete && image.naturalWidth) this.last = image;
    return this.last;
  }
}
