// The sheet with what can be exported.

import { button, element, numberField } from "./dom.js";
import { ANIMATION_FORMATS, PLAIN } from "./exports.js";

/** @import {AnimationFormat, ExportOptions} from "./exports.js" */
/** @import {Say} from "./strings.js" */

/** @typedef {"steps" | "frames"} Along */

const FORMAT_NAMES = { gif: "GIF", webp: "WebP", mp4: "MP4" };

/**
 * @typedef {object} ExportEvents
 * @property {(options: ExportOptions) => void} image
 * @property {() => void} maps
 * @property {(along: Along, format: AnimationFormat, options: ExportOptions) => void} animation
 */

/**
 * @param {Say} say
 * @param {number} width  of the image, pixels
 * @param {Along[]} moving  what an animation can show
 * @param {ExportEvents} events
 * @returns {HTMLElement}
 */
export function exportContent(say, width, moving, events) {
  const size = numberField("ca-export-width", say("export_width"), { min: 16, max: 8192, step: 1 });
  size.value = String(width);
  const boxes = /** @type {const} */ (["names", "legend", "outline"]).map((name) => {
    const box = element("input", `ca-export-${name}`, { type: "checkbox" });
    box.checked = PLAIN[name] || name === "legend";
    return { name, box };
  });
  /** @returns {ExportOptions} */
  const options = () => {
    const wanted = size.checkValidity() ? Number(size.value) : width;
    return { ...PLAIN, ...Object.fromEntries(boxes.map(({ name, box }) => [name, box.checked])), width: wanted };
  };
  const action = (/** @type {string} */ name, /** @type {string} */ text, /** @type {() => void} */ act) => {
    const item = button(name, text, text);
    item.addEventListener("click", act);
    return item;
  };
  const row = (/** @type {Node[]} */ ...parts) => element("div", "ca-export-row", {}, ...parts);
  const labels = boxes.map(({ name, box }) => element("label", "", {}, box, say(`export_${name}`)));
  const animations = (/** @type {Along} */ along) =>
    ANIMATION_FORMATS.map((format) => {
      const text = say(`export_${along}`, FORMAT_NAMES[format]);
      return action(`ca-export-${format}-${along}`, text, () => events.animation(along, format, options()));
    });
  return element(
    "div",
    "ca-export-sheet",
    {},
    row(element("label", "", {}, say("export_width"), size, "px"), ...labels),
    row(action("ca-export-png", say("export_png"), () => events.image(options()))),
    ...moving.map((along) => row(...animations(along))),
    row(action("ca-export-npz", say("export_npz"), events.maps)),
  );
}
