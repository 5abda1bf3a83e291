// The files of a run, loaded on demand: the values and the frames of each image.

import { fileOf } from "../data/edited.js";
import { decodeRegions } from "../data/regions.js";
import { decode, SummedAreaTable } from "../data/summed_area.js";

/** @import {Region} from "../data/regions.js" */
/** @import {FileRef, Manifest} from "../data/types.js" */
/** @import {Key} from "./strings.js" */

/**
 * @typedef {object} Source
 * @property {(file: FileRef) => Promise<ArrayBuffer | null>} load  null if the file does not exist any more
 * @property {(file: FileRef) => string} address
 */

const MOST_TABLES = 2; // kept in memory

export class RunFiles {
  /**
   * @param {Source} source
   * @param {(status: Key | null, detail?: string) => void} report  called with null when everything is loaded
   * @param {() => void} loaded  called after each file
   * @param {(remark: Key) => void} remark  called if a file is missing that can be done without
   */
  constructor(source, report, loaded, remark) {
    this.remark = remark;
    this.source = source;
    this.report = report;
    this.loaded = loaded;
    this.failed = false;
    this.run = 0; // counts runs; files of an earlier one that arrive late are ignored
    /** @type {Map<number, SummedAreaTable>} Values by image. */
    this.tables = new Map();
    /** @type {Set<number>} Images whose values were requested. */
    this.requested = new Set();
    /** @type {Map<number, Region[]>} Regions by image, none while they are loading. */
    this.regions = new Map();
    /** @type {Map<string, HTMLImageElement>} Frames by address. */
    this.frames = new Map();
    /** @type {HTMLImageElement | null} */
    this.lastFrame = null;
  }

  /** Drop everything, for another run. */
  reset() {
    this.run += 1;
    this.failed = false;
    this.tables.clear();
    this.regions.clear();
    this.requested.clear();
    this.frames.clear();
  }

  /** The values of an image; null until they are loaded. @param {Manifest} manifest @param {number} image */
  table(manifest, image) {
    if (!this.requested.has(image)) {
      this.requested.add(image);
      this.report("loading");
      this.loadTable(manifest, image, this.run).catch((error) => this.fail("unreadable", String(error.message)));
    }
    return this.tables.get(image) ?? null;
  }

  /** @param {Manifest} manifest @param {number} image @param {number} run */
  async loadTable(manifest, image, run) {
    const reference = manifest.pictures[image];
    const buffer = await this.source.load(reference.values);
    if (run !== this.run) return;
    if (!buffer) return this.fail("gone");
    const weights = [manifest.step_groups, manifest.layer_groups].map((groups) => groups.map((group) => group.length));
    for (const other of [...this.tables.keys()].slice(0, Math.max(0, this.tables.size + 1 - MOST_TABLES))) {
      this.tables.delete(other);
      this.requested.delete(other);
    }
    this.tables.set(image, new SummedAreaTable(decode(buffer, reference), reference, weights[0], weights[1]));
    if (!this.failed) this.report(null);
    this.loaded();
  }

  /** The regions of an image; none until they are loaded. @param {Manifest} manifest @param {number} image */
  regionsOf(manifest, image) {
    let found = this.regions.get(image);
    if (!found) {
      this.regions.set(image, (found = []));
      this.loadRegions(manifest, image, this.run).catch((error) => this.fail("unreadable", String(error.message)));
    }
    return found;
  }

  /** @param {Manifest} manifest @param {number} image @param {number} run */
  async loadRegions(manifest, image, run) {
    const reference = manifest.pictures[image].regions;
    if (!reference) return;
    const buffer = await this.source.load(reference);
    if (run !== this.run) return;
    if (!buffer) return this.fail("gone");
    this.regions.set(image, decodeRegions(buffer, reference, manifest.regions ?? []));
    this.loaded();
  }

  /** @param {Key} problem @param {string} [detail] */
  fail(problem, detail) {
    this.failed = true;
    this.report(problem, detail);
  }

  /** A frame of an image; until it is loaded, the previous one. @param {Manifest} manifest @param {number} image
   * @param {number} frame @returns {HTMLImageElement | null} */
  frame(manifest, image, frame) {
    const found = this.image(manifest.pictures[image].frames[frame], () => this.fail("gone"));
    if (found) this.lastFrame = found;
    return this.lastFrame;
  }

  /** A frame of an image, once it is loaded. @param {Manifest} manifest @param {number} image @param {number} frame */
  async loadedFrame(manifest, image, frame) {
    const loading = this.requestImage(manifest.pictures[image].frames[frame], () => this.fail("gone"));
    await loading.decode();
    return loading;
  }

  /** A mask from the mask editor; null until it is loaded. @param {string | undefined} name */
  edited(name) {
    return name ? this.image(fileOf(name), () => this.remark("edited_gone")) : null;
  }

  /** An image; null until it is loaded. @param {FileRef} file @param {() => void} failed  called if it cannot be
   * @returns {HTMLImageElement | null} */
  image(file, failed) {
    const loading = this.requestImage(file, failed);
    return loading.complete && loading.naturalWidth ? loading : null;
  }

  /** @param {FileRef} file @param {() => void} failed @returns {HTMLImageElement} */
  requestImage(file, failed) {
    const address = this.source.address(file);
    let loading = this.frames.get(address);
    if (!loading) {
      loading = new Image();
      const { run } = this;
      loading.addEventListener("load", () => run === this.run && this.loaded());
      loading.addEventListener("error", () => run === this.run && failed());
      loading.src = address;
      this.frames.set(address, loading);
    }
    return loading;
  }
}
