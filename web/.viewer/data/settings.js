// The settings and values of a view as text, for saved files and the clipboard.

/** @import {State} from "./state.js" */

/** Everything that determines a view, as written into saved images. @param {State} state */
export function settingsOf({ manifest, choice, picked, steps, layers, look, pixel }) {
  return {
    concepts: manifest.concepts.map(({ name }) => name),
    picked: picked.map((index) => manifest.concepts[index].name),
    kind: manifest.kind,
    layers: layers.map((index) => manifest.layers[index]),
    steps: steps.map((index) => manifest.steps[index]),
    method: choice.method,
    threshold: choice.threshold,
    percentile: choice.percentile,
    ...look,
    pixel,
    reduced: manifest.reduced,
  };
}

/**
 * The values as a tab-separated table, for spreadsheets.
 * @param {State} state
 * @param {number[]} values  one per concept
 * @returns {string}
 */
export function tabulate({ manifest, pixel }, values) {
  const place = pixel ? `x ${pixel.x}, y ${pixel.y}` : "mean";
  const lines = manifest.concepts.map(({ name }, index) => `${asText(name)}\t${values[index].toFixed(6)}`);
  return [`${manifest.kind}\t${place}`, ...lines].join("\n");
}

/** A name that a spreadsheet takes for a text, never for a formula. @param {string} name */
function asText(name) {
  return /^\s*[=+\-@]/.test(name) ? `'${name}` : name;
}
