// Building and updating the viewer's elements.

/**
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {string} name  class or classes
 * @param {Record<string, string | boolean>} [attributes]  true becomes an empty attribute, false none
 * @param {(Node | string)[]} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function element(tag, name, attributes = {}, ...children) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

/** SVG paths in a 16 x 16 square, by name. */
const ICONS = {
  overlay: "M2 2h9v9H2zM5 5h9v9H5z",
  sides: "M2 3h5v10H2zM9 3h5v10H9z",
  segmentation: "M2 2h12v12H2zM2 9l5-3 3 4 4-5M10 10v4",
  mask: "M8 3a5 5 0 1 0 0 10a5 5 0 1 0 0-10zM2 2v12h12V2z",
  zoom_in: "M7 2a5 5 0 1 0 0 10a5 5 0 1 0 0-10zM11 11l3 3M7 5v4M5 7h4",
  zoom_out: "M7 2a5 5 0 1 0 0 10a5 5 0 1 0 0-10zM11 11l3 3M5 7h4",
  zoom_fit: "M2 6V2h4M10 2h4v4M14 10v4h-4M6 14H2v-4",
  save: "M8 2v8M4.5 7L8 10.5 11.5 7M2.5 13.5h11",
  copy: "M5 5h8v9H5zM11 5V2H3v9h2",
  pin: "M8 3v10M3 8h10",
  subtract: "M3 8h10",
  edit: "M3 13l1-3.5L11 2.5l2.5 2.5L6.5 12zM9.5 4l2.5 2.5",
  wipe: "M2 3h12v10H2zM8 1v14M10 6h2M10 9h2",
  regions: "M2 5V2h3M7 2h2M11 2h3v3M14 7v2M14 11v3h-3M9 14H7M5 14H2v-3M2 9V7",
  export: "M8 10V2M5 4.5L8 1.5l3 3M2.5 8v6h11V8",
  help: "M5.5 6a2.5 2.5 0 1 1 3.5 2.3c-.7.3-1 .8-1 1.7M8 12.5v1",
  close: "M4 4l8 8M12 4l-8 8",
  words: "M2 4h12M2 8h7M2 12h5M12 8v6M9 11h6",
  previous: "M10 3L5 8l5 5",
  next: "M6 3l5 5-5 5",
  play: "M5 3v10l8-5z",
  pause: "M5 3v10M11 3v10",
  average: "M3 8a5 5 0 1 0 2-4M5 1v3h3",
};

/** @typedef {keyof typeof ICONS} Icon */

/** @param {Icon} name @returns {SVGSVGElement} */
export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const drawing = document.createElementNS(space, "svg");
  drawing.setAttribute("viewBox", "0 0 16 16");
  drawing.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(space, "path");
  path.setAttribute("d", ICONS[name]);
  drawing.append(path);
  return drawing;
}

/**
 * @param {string} name  class
 * @param {string} label  what it does, for tooltips and screen readers
 * @param {(Node | string)[]} children
 */
export function button(name, label, ...children) {
  return element("button", name, { type: "button", title: label, "aria-label": label }, ...children);
}

/**
 * @param {string} name
 * @param {string} label
 * @param {{min: number, max: number, step: number}} limits
 */
export function slider(name, label, { min, max, step }) {
  const limits = { min: String(min), max: String(max), step: String(step) };
  return element("input", name, { type: "range", ...limits, title: label, "aria-label": label });
}

/**
 * @param {string} name
 * @param {string} label
 * @param {{min: number, max: number, step: number}} limits
 */
export function numberField(name, label, { min, max, step }) {
  const limits = { min: String(min), max: String(max), step: String(step) };
  return element("input", name, { type: "number", ...limits, title: label, "aria-label": label });
}

/**
 * @param {string} name
 * @param {string} label
 * @param {[string, string][]} options  value and text
 */
export function select(name, label, options) {
  const items = options.map(([value, text]) => element("option", "", { value }, text));
  return element("select", name, { title: label, "aria-label": label }, ...items);
}

/** Set a text only if it differs: setting it would cause layout and announcements.
 * @param {Element} target @param {string} text */
export function write(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

/** Set a control's value only if it differs. @param {HTMLInputElement | HTMLSelectElement} control
 * @param {string | number} value */
export function assign(control, value) {
  if (control.value !== String(value)) control.value = String(value);
}
