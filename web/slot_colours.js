// Colours of this pack's sockets and links, in both of the front end's renderers. They are distinguishable from each
// other and from ComfyUI's own types in all kinds of colour vision.

import { app } from "../../scripts/app.js";

const COLOURS = {
  CA_CONCEPTS: "#B0452F",
  CA_RECORDING: "#6A3DFF",
  CA_HEATMAPS: "#73991A",
};

// The Vue nodes read CSS variables. A user's colour palette sets its own on the root element, which takes precedence.
function colourVueNodes() {
  const rules = Object.entries(COLOURS).map(([type, colour]) => `--color-datatype-${type}: ${colour};`);
  const style = document.createElement("style");
  style.textContent = `:root { ${rules.join(" ")} }`;
  document.head.append(style);
}

// The canvas reads colours from tables. A change of palette overwrites them with empty strings for types that the
// palette does not know, so these entries keep the last non-empty colour.
/** @param {Record<string, string>} table */
function colourCanvas(table) {
  for (const [type, colour] of Object.entries(COLOURS)) {
    let current = table[type] || colour;
    Object.defineProperty(table, type, {
      configurable: true,
      enumerable: true,
      get: () => current,
      set: (value) => {
        current = value || colour;
      },
    });
  }
}

app.registerExtension({
  name: "ConceptAttention.SlotColours",
  setup() {
    colourVueNodes();
    colourCanvas(app.canvas.default_connection_color_byType);
    colourCanvas(app.canvas.constructor.link_type_colors);
  },
});
