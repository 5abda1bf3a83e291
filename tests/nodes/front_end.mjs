// `node front_end.mjs FOLDER colours|report`: runs the scripts in FOLDER with as much of ComfyUI's front end as they
// use, and exits with an error where they do not do what they should.

import assert from "node:assert/strict";
import { pathToFileURL } from "node:url";

const [folder, subject] = process.argv.slice(2);

class Element {
  constructor(tag) {
    Object.assign(this, { tag, style: {}, dataset: {}, children: [], attributes: {}, textContent: "" });
  }
  append(child) {
    this.children.push(child);
  }
  setAttribute(name, value) {
    this.attributes[name] = value;
  }
  addEventListener() {}
}

class Node {
  constructor(id, module) {
    Object.assign(this, { id, widgets: undefined, size: [200, 100], executed: 0 });
    const node = this;
    this.constructor = { nodeData: { python_module: module } };
    this.onExecuted = function () {
      assert.equal(this, node);
      this.executed += 1;
    };
  }
  addDOMWidget(name, type, element, options) {
    const widget = { name, type, element, options };
    this.widgets = [...(this.widgets ?? []), widget];
    return widget;
  }
  computeSize() {
    return [200, 100 + (this.widgets ?? []).reduce((sum, widget) => sum + widget.options.getMinHeight(), 0)];
  }
  setSize(size) {
    this.size = size;
  }
}

class Canvas {
  static link_type_colors = { IMAGE: "#64B5F6", CA_RECORDING: "" };
  default_connection_color_byType = { IMAGE: "#64B5F6", CA_CONCEPTS: "#123456" };
  setDirty() {}
}

class Graph {
  constructor(nodes, subgraphs) {
    Object.assign(this, { nodes, subgraphs });
  }
  getNodeById(id) {
    return this.nodes.find((node) => String(node.id) === String(id)) ?? null;
  }
}

const head = new Element("head");
globalThis.document = { head, createElement: (tag) => new Element(tag) };
const extensions = {};
const ours = new Node(7, "custom_nodes.My Pack");
const inner = new Node(7, "custom_nodes.My Pack");
const foreign = new Node(8, "custom_nodes.Other");
globalThis.app = {
  canvas: new Canvas(),
  rootGraph: new Graph([ours, foreign], new Map([["a-uuid", new Graph([inner])]])),
  registerExtension(extension) {
    extensions[extension.name] = extension;
  },
};

async function load(name) {
  const url = pathToFileURL(`${folder}/${name}.js`);
  await import(url.href);
}

async function colours() {
  await load("slot_colours");
  extensions["ConceptAttention.SlotColours"].setup();
  const rule = head.children[0].textContent;
  assert.match(rule, /^:root \{ (--color-datatype-CA_\w+: #\w{6}; ?){3}\}$/);
  const [slots, links] = [app.canvas.default_connection_color_byType, Canvas.link_type_colors];
  assert.equal(slots.CA_CONCEPTS, "#123456"); // the user's palette has a colour of its own
  const ownColour = links.CA_RECORDING;
  assert.match(ownColour, /^#\w{6}$/);
  // what a change of palette does
  Object.assign(links, { IMAGE: "", CA_RECORDING: "", CA_CONCEPTS: "" }, { IMAGE: "#111111" });
  assert.equal(links.CA_RECORDING, ownColour);
  assert.equal(links.IMAGE, "#111111");
  Object.assign(links, { CA_RECORDING: "" }, { CA_RECORDING: "#abcdef" });
  assert.equal(links.CA_RECORDING, "#abcdef");
  assert.deepEqual(Object.keys(links).sort(), ["CA_CONCEPTS", "CA_HEATMAPS", "CA_RECORDING", "IMAGE"]);
}

async function report() {
  await load("report");
  const extension = extensions["ConceptAttention.Report"];
  for (const node of [ours, inner, foreign]) extension.nodeCreated(node);
  for (const node of [ours, foreign]) node.onExecuted({ text: ["house: 1 token\nsun: 2 tokens"] });
  assert.equal(foreign.widgets, undefined);
  assert.deepEqual([ours.executed, foreign.executed], [1, 1]);
  const [widget] = ours.widgets;
  assert.equal(widget.element.textContent, "house: 1 token\nsun: 2 tokens");
  assert.equal(widget.serialize, false);
  assert.equal(widget.options.serialize, false);
  assert.equal(widget.options.getMinHeight(), 2 * 16 + 2 * 8);
  assert.ok(ours.size[1] >= 148);

  ours.size = [900, 800];
  ours.onExecuted({ text: [Array(99).fill("x".repeat(500)).join("\n")] });
  assert.equal(ours.widgets.length, 1);
  assert.deepEqual(ours.size, [900, 800]); // a text makes a node neither wider nor smaller
  assert.equal(widget.options.getMinHeight(), 14 * 16 + 2 * 8 + 12); // and a bar to scroll lines with

  ours.onExecuted({ images: [] }); // a node may say nothing
  assert.equal(widget.element.textContent.length, 99 * 501 - 1);
  extension.onNodeOutputsUpdated({ 7: { text: ["again"] }, "a-uuid:7": { text: ["inside"] }, 8: { text: ["no"] }, 99: {} });
  assert.equal(widget.element.textContent, "again");
  assert.equal(inner.widgets[0].element.textContent, "inside");
  assert.equal(foreign.widgets, undefined);
}

await { colours, report }[subject]();
