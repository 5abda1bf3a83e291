// What the user's actions on the viewer's elements change.

import * as states from "../data/state.js";
import * as tasks from "./tasks.js";

/** @import {Viewer} from "./component.js" */
/** @import {CanvasEvents} from "./image_canvas.js" */
/** @import {PanelEvents} from "./panel.js" */

/** @param {Viewer} viewer @returns {CanvasEvents} */
export function canvasEvents(viewer) {
  return {
    point: (pixel, byKey) => viewer.point(pixel, byKey),
    pick: (pixel, concept, add) => viewer.pickAt(pixel, concept, add),
    zoom: (factor, at) => viewer.change((state) => states.zoomBy(state, factor, at)),
    pan: (right, down) => viewer.change((state) => states.panBy(state, right, down)),
    fit: () => viewer.change(states.resetZoom),
    copy: () => tasks.copy(viewer),
    wipe: (wipe) => viewer.change((state) => states.withLook(state, { wipe })),
    help: () => tasks.showHelp(viewer),
  };
}

/** @param {Viewer} viewer @returns {PanelEvents} */
export function panelEvents(viewer) {
  return {
    toolbar: {
      look: (part) => viewer.change((state) => states.withLook(state, part)),
      zoom: (factor) => viewer.change((state) => states.zoomBy(state, factor, state.look.zoom)),
      fit: () => viewer.change(states.resetZoom),
      save: () => tasks.save(viewer),
      copy: () => tasks.copy(viewer),
      wipe: () => viewer.change((state) => states.withLook(state, { wipe: state.look.wipe ? 0 : 0.5 })),
      regions: () => viewer.change((state) => states.withLook(state, { regions: !state.look.regions })),
      exports: () => tasks.showExports(viewer),
      help: () => tasks.showHelp(viewer),
    },
    bars: {
      pick: (concept) => viewer.change((state) => states.pick(state, concept)),
      pin: (concept) => viewer.change((state) => states.pin(state, concept)),
      subtract: (concept) => viewer.change((state) => states.subtract(state, concept)),
      look: (part) => viewer.change((state) => states.withLook(state, part)),
      words: () => tasks.showWords(viewer),
      hover: (hovered) => viewer.change((state) => ({ ...state, hovered })),
    },
    images: {
      next: (by) => viewer.change((state) => states.nextImage(state, by)),
      frame: (frame) => viewer.change((state) => states.withLook(state, { frame })),
      play: () => viewer.play(!viewer.playing),
    },
    mask: {
      choose: (part) => viewer.change((state) => states.withChoice(state, part)),
      edit: () => tasks.editMask(viewer),
      discard: () => tasks.discardEdited(viewer),
    },
    steps: {
      choose: (from, to) => viewer.change((state) => states.chooseSteps(state, from, to)),
      single: (singleStep) => viewer.change((state) => states.withLook(state, { singleStep })),
      average: () => viewer.change(states.averageSteps),
    },
    layers: {
      choose: (from, to) => viewer.change((state) => states.chooseLayers(state, from, to)),
      single: (singleLayer) => viewer.change((state) => states.withLook(state, { singleLayer })),
      average: () => viewer.change(states.averageLayers),
    },
  };
}
