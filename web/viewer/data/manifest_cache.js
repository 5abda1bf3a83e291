// What the latest runs sent, kept for as long as the browser's tab is: a reload of the page finds it again.

/** @import {Manifest} from "./types.js" */

const NAME = "concept_attention_viewer";
const KEPT = 30; // runs; a few kilobytes each

/**
 * @param {Storage} storage
 * @returns {[string, Manifest][]} the oldest first
 */
function read(storage) {
  return JSON.parse(storage.getItem(NAME) ?? "[]");
}

/** @param {string} key @param {Storage} [storage] @returns {Manifest | undefined} */
export function recall(key, storage = sessionStorage) {
  return read(storage).find(([other]) => other === key)?.[1];
}

/**
 * Keep what a run sent, in place of what the run before did; the oldest go where there is no room.
 * @param {string} key
 * @param {Manifest} manifest
 * @param {Storage} [storage]
 */
export function keep(key, manifest, storage = sessionStorage) {
  const others = read(storage).filter(([other]) => other !== key);
  const kept = [...others, [key, manifest]].slice(-KEPT);
  for (; kept.length; kept.shift()) {
    try {
      return storage.setItem(NAME, JSON.stringify(kept));
    } catch (error) {
      if (!(error instanceof DOMException)) throw error; // another than that the storage is full
    }
  }
}
