// Gestures over the viewer that are meant for the graph: the middle button, and the wheel wherever nothing is focused.

/**
 * @typedef {object} GraphCanvas
 * @property {(event: PointerEvent) => void} processMouseDown
 * @property {(event: PointerEvent) => void} processMouseMove
 * @property {(event: PointerEvent) => void} processMouseUp
 * @property {(event: WheelEvent) => void} processMouseWheel
 */

const MIDDLE = 1; // the button
const MIDDLE_HELD = 4; // among the buttons

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
      const gesture = event.ctrlKey || event.metaKey || Math.abs(event.deltaX) > Math.abs(event.deltaY);
      const area = event.target instanceof Element && event.target.closest('[data-capture-wheel="true"]');
      if (!gesture && area && area.contains(document.activeElement)) return; // scrolls or zooms what is focused
      event.preventDefault();
      event.stopPropagation();
      graph().processMouseWheel(event);
    },
    { passive: false },
  );
}
