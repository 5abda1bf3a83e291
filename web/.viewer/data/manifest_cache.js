// The manifests of the latest runs, kept in the browser tab's session storage so that a reload shows them again.

/** @import {Manifest} from "./types.js" */

const NAME = "concept_attention_viewer";
const MOST = 30; // manifests; a few kilobytes each

/** @param {Storage} storage @returns {[string, Manifest][]} the oldest first */
function entries(storage) {
  try {
    const found = JSON.parse(storage.getItem(NAME) ?? "[]");
    return Array.isArray(found) ? found.filter((entry) => Array.isArray(entry) && entry.length === 2) : [];
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return []; // damaged: the next run writes it anew
  }
}

/** @param {Storage} storage @param {string} key @returns {Manifest | undefined} */
export function cachedManifest(storage, key) {
  return entries(storage).find(([other]) => other === key)?.[1];
}

/**
 * Put a manifest into the cache, in place of the one under the same key; the oldest are dropped when it is full.
 * @param {Storage} storage
 * @param {string} key
 * @param {Manifest} manifest
 */
export function cacheManifest(storage, key, manifest) {
  const others = entries(storage).filter(([other]) => other !== key);
  const kept = [...others, [key, manifest]].slice(-MOST);
  for (; kept.length; kept.shift()) {
    try {
      return storage.setItem(NAME, JSON.stringify(kept));
    } catch (error) {
      if (!(error instanceof DOMException)) throw error; // a full storage throws a DOMException
    }
  }
}
