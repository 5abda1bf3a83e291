// Forwards events that are meant for the graph: the middle button, and the wheel unless what it is over has the focus.

/**
 * @typedef {object} GraphCanvas
 * @property {(event: PointerEvent) => void} processMouseDown
 * @property {(event: PointerEvent) => void} processMouseMove
 * @property {(event: PointerEvent) => void} processMouseUp
 * @property {(event: WheelEvent) => void} processMouseWheel
 */

const MIDDLE = 1; // in `button`
let kept = false; // whether touches are kept already
const MIDDLE_HELD = 4; // in `buttons`

/**
 * @param {HTMLElement} element
 * @param {() => GraphCanvas} graph
 */
export function forwardToGraph(element, graph) {
  element.addEventListener("pointerdown", (event) => event.button === MIDDLE && graph().processMouseDown(event));
  element.addEventListener("pointermove", (event) => event.buttons & MIDDLE_HELD && graph().processMouseMove(event));
  element.addEventListener("pointerup", (event) => event.button === MIDDLE && graph().processMouseUp(event));
  element.addEventListener(
    "wheel",
    (event) => {
      const area = event.target instanceof Element && event.target.closest('[data-capture-wheel="true"]');
      const scrolls = area && area !== element && area.contains(document.activeElement);
      if (!isGraphGesture(event) && scrolls) return;
      event.preventDefault();
      event.stopPropagation();
      graph().processMouseWheel(event);
    },
    { passive: false },
  );
}

/**
 * Keep touches of images from the graph, which two fingers would zoom: the image's own pointer events zoom the image.
 * ComfyUI listens above the nodes while events are on their way down, so they are stopped at the window.
 */
export function keepTouches() {
  if (kept) return;
  kept = true;
  for (const name of ["touchstart", "touchmove", "touchend", "touchcancel"]) {
    const stop = (/** @type {Event} */ event) => {
      if (event.target instanceof Element && event.target.closest(".ca-image")) event.stopPropagation();
    };
    window.addEventListener(name, stop, { capture: true, passive: true });
  }
}

/** Whether a wheel event always zooms or pans the graph. @param {WheelEvent} event */
export function isGraphGesture(event) {
  return event.ctrlKey || event.metaKey || Math.abs(event.deltaX) > Math.abs(event.deltaY);
}
