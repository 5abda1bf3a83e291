// Colours of this pack's sockets and wires, on the classic canvas and on the newer nodes alike. Chosen to be told from
// each other and from the colours of ComfyUI's own types in all kinds of colour vision.

import { app } from "../../scripts/app.js";

const COLOURS = {
  CA_CONCEPTS: "#B0452F",
  CA_RECORDING: "#6A3DFF",
  CA_HEATMAPS: "#73991A",
};

// The newer nodes read CSS variables. A palette of the user's writes its own on the root element, which comes first.
function colourNewerNodes() {
  const rules = Object.entries(COLOURS).map(([type, colour]) => `--color-datatype-${type}: ${colour};`);
  const style = document.createElement("style");
  style.textContent = `:root { ${rules.join(" ")} }`;
  document.head.append(style);
}

// The canvas looks colours up in tables that every change of palette overwrites with empty strings for types that the
// palette does not know. These entries keep the last colour that they were really given.
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
    colourNewerNodes();
    colourCanvas(app.canvas.default_connection_color_byType);
    colourCanvas(app.canvas.constructor.link_type_colors);
  },
});
