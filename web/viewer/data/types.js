// What the parts of the viewer hand each other.

/**
 * A file of ComfyUI's own folders, as its `/view` takes it.
 * @typedef {{filename: string, subfolder: string, type: string}} FileRef
 *
 * @typedef {FileRef & {width: number, height: number, t: number}} FrameRef  t: the grid's frame it belongs to
 *
 * One picture of the batch: value = offset + scale * stored, stored as [S, L, C, T, H, W], little endian.
 * @typedef {object} PictureRef
 * @property {FrameRef[]} frames
 * @property {FileRef} values
 * @property {string} dtype
 * @property {number} offset
 * @property {number} scale
 * @property {[number, number, number, number, number, number]} shape
 *
 * @typedef {{name: string, role: "concept" | "background"}} Concept
 *
 * What a run of the node sends.
 * @typedef {object} Manifest
 * @property {number} version
 * @property {Concept[]} concepts
 * @property {"share" | "score" | "stretched"} kind
 * @property {"values" | "softmax"} average  whether the mean over steps and layers is the map, or its softmax is
 * @property {number} temperature
 * @property {number[]} layers  the model's index of every L; of several joined, the first
 * @property {number[]} default_layers
 * @property {number[]} steps  the sampler's number of every S; of several joined, the first
 * @property {number[]} sigmas
 * @property {number[][]} step_groups  positions among the recorded steps that every S is the mean of
 * @property {number[][]} layer_groups  the model's layers that every L is the mean of
 * @property {[number, number, number]} grid  [T, H, W]
 * @property {[number, number]} visible  share of the grid's height and width that lies in the picture
 * @property {[number, number]} image_size  [height, width]
 * @property {string} reduced
 * @property {PictureRef[]} pictures
 *
 * What the node's own widgets say; `layers` and `steps` as their texts.
 * @typedef {object} Choice
 * @property {string} concepts
 * @property {string} layers
 * @property {string} steps
 * @property {Method} method
 * @property {number} threshold
 * @property {number} percentile
 *
 * @typedef {"soft" | "threshold" | "argmax" | "mean" | "otsu" | "percentile"} Method
 * @typedef {"overlay" | "sides" | "segmentation" | "mask"} View
 *
 * How the viewer shows it; saved with the node, without any effect on its outputs.
 * @typedef {object} Look
 * @property {View} view
 * @property {number} opacity
 * @property {string} colormap
 * @property {number} picture
 * @property {number} frame
 * @property {boolean} singleStep
 * @property {boolean} singleLayer
 * @property {Zoom} zoom
 *
 * Magnification, and which point of the picture (0-1) is in the middle.
 * @typedef {{scale: number, x: number, y: number}} Zoom
 *
 * One map or mask: row-major, `width * height` numbers.
 * @typedef {{values: Float32Array, width: number, height: number}} Plane
 */

export {};
