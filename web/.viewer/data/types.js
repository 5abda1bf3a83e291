// Types shared by the modules of the viewer.

/**
 * A file in one of ComfyUI's folders, as its `/view` route takes it.
 * @typedef {{filename: string, subfolder: string, type: string}} FileRef
 *
 * @typedef {FileRef & {width: number, height: number, t: number}} FrameRef  t: index of its latent frame
 *
 * One image of the batch, or one video: values = offset + scale * stored; stored is [S, L, C, T, H, W], little endian.
 * @typedef {object} ImageRef
 * @property {FrameRef[]} frames  one for an image
 * @property {FileRef} values
 * @property {string} dtype
 * @property {number} offset
 * @property {number} scale
 * @property {[number, number, number, number, number, number]} shape
 * @property {RegionsRef} [regions]  masks of the manifest's regions, bytes [R, T, H, W]
 *
 * @typedef {FileRef & {shape: [number, number, number, number]}} RegionsRef
 *
 * @typedef {{name: string, role: "concept" | "background"}} Concept
 *
 * @typedef {"share" | "score" | "stretched" | "presence"} Kind
 *
 * What a run of the node sends. It describes every recorded step S and layer L, or groups of neighbours that the server
 * averaged.
 * @typedef {object} Manifest
 * @property {Concept[]} concepts
 * @property {Kind} kind
 * @property {"values" | "softmax"} average  whether the mean over steps and layers is the heatmap, or its softmax is
 * @property {number} temperature
 * @property {number[]} layers  block index of each L; of a group, the first
 * @property {number[]} default_layers
 * @property {number[]} steps  the sampler's index of each S; of a group, the first
 * @property {number[]} sigmas
 * @property {number[][]} step_groups  for each S, positions among the recorded steps
 * @property {number[][]} layer_groups  for each L, block indices
 * @property {[number, number, number]} grid  image tokens [T, H, W]
 * @property {[number, number]} visible  share (0-1] of the grid's height and width that lies in the image
 * @property {[number, number]} image_size  [height, width]
 * @property {boolean} reduced  whether the server averaged steps or layers
 * @property {string[]} [regions]  names of the regions where something acted
 * @property {ImageRef[]} pictures
 *
 * Values of the node's widgets; `layers` and `steps` as text.
 * @typedef {object} Choice
 * @property {string} concepts
 * @property {string} layers
 * @property {string} steps
 * @property {Method} method
 * @property {number} threshold
 * @property {number} percentile
 * @property {string} subtract  names of concepts
 * @property {number} holes  percent of the image
 * @property {number} islands  percent of the image
 * @property {number} grow  pixels of the image
 * @property {number} blur  pixels of the image
 * @property {boolean} guided
 * @property {string} edited  masks from the mask editor
 *
 * @typedef {"soft" | "threshold" | "argmax" | "mean" | "otsu" | "percentile"} Method
 * @typedef {"written" | "share" | "concentration" | "name"} SortName
 * @typedef {"overlay" | "sides" | "segmentation" | "mask"} View
 *
 * Settings of the display. They are saved in workflows under these names and change no output.
 * @typedef {object} Look
 * @property {View} view
 * @property {number} opacity
 * @property {string} colormap
 * @property {number} picture  index of the image in the batch
 * @property {number} frame
 * @property {boolean} singleStep
 * @property {boolean} singleLayer
 * @property {number} wipe  part of the width (0-1], from the left, that shows the image alone; 0: none
 * @property {SortName} sort
 * @property {boolean} regions  whether they are outlined
 * @property {Zoom} zoom
 *
 * Magnification, and the point of the image (0-1) in the middle of the view.
 * @typedef {{scale: number, x: number, y: number}} Zoom
 *
 * A point of the image, in pixels.
 * @typedef {{x: number, y: number}} Pixel
 *
 * One heatmap or mask: row-major, `width * height` numbers.
 * @typedef {{values: Float32Array, width: number, height: number}} Plane
 */

export {};
