// Opening ComfyUI's mask editor for a mask that is on no node, and taking back what is saved there.

import { api } from "../../../../scripts/api.js";
import { app, ComfyApp } from "../../../../scripts/app.js";

/** @import {FileRef} from "../data/types.js" */

/**
 * Store an image with a mask in its alpha channel, in the input folder.
 * @param {Blob} mask  transparent where the mask is
 * @param {FileRef} image
 * @returns {Promise<FileRef>}
 */
async function store(mask, { filename, subfolder, type }) {
  const form = new FormData();
  form.append("image", mask, `concept-mask-${Date.now()}.png`);
  form.append("original_ref", JSON.stringify({ filename, subfolder, type }));
  form.append("type", "input");
  form.append("subfolder", "clipspace");
  const answer = await api.fetchApi("/upload/mask", { method: "POST", body: form });
  if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}.`);
  const { name, subfolder: folder } = await answer.json();
  return { filename: name, subfolder: folder, type: "input" };
}

/**
 * Open the mask editor.
 * @param {Blob} mask  transparent where the mask is
 * @param {FileRef} image
 * @param {(name: string) => void} saved  called with the file's name, as inputs of nodes name it
 */
export async function editMask(mask, image, saved) {
  if (!ComfyApp?.open_maskeditor) throw new Error("this version of ComfyUI's front end has none that can be called.");
  const file = await store(mask, image);
  const shown = new Image();
  shown.src = api.apiURL(`/view?${new URLSearchParams({ ...file })}`);
  await shown.decode();
  const name = `${file.subfolder ? `${file.subfolder}/` : ""}${file.filename} [input]`;
  // The editor takes the image from a node and writes the name of the file that it saves into the node's widget `image`.
  const widget = {
    name: "image",
    get value() {
      return name;
    },
    set value(edited) {
      saved(String(edited));
      app.canvas.setDirty(true, true);
    },
  };
  // Newer editors write to nodes of a graph only.
  const graph = { isRootGraph: true, rootGraph: app.rootGraph ?? app.graph, setDirtyCanvas() {} };
  const look = { imgs: [shown], images: [file], previewMediaType: "image" };
  const node = { id: -1, graph, ...look, properties: {}, widgets: [widget] };
  ComfyApp.clipspace_return_node = node;
  ComfyApp.open_maskeditor();
}
