import assert from "node:assert/strict";
import test from "node:test";

import { load } from "./lib.mjs";

const { withWord, wordsIn, wordsOfPrompt } = await load("data/prompt_words");

const graph = (words) => ({
  1: { class_type: "CLIPTextEncode", inputs: { text: "A red house beside the lake, a red sun", clip: ["9", 1] } },
  2: { class_type: "CLIPTextEncode", inputs: { text: "blurry mountain", clip: ["9", 1] } },
  3: { class_type: "ConceptEncode", inputs: { clip: ["9", 1], concepts: words, background: "sky" } },
  4: { class_type: "ConceptAttentionPatchModel", inputs: { model: ["9", 0], concepts: ["3", 0] } },
  5: { class_type: "KSampler", inputs: { model: ["4", 0], positive: ["1", 0], negative: ["2", 0], seed: 1 } },
  6: { class_type: "ConceptAttentionCollect", inputs: { latent: ["5", 0] } },
  "7:8": { class_type: "ConceptHeatmapViewer", inputs: { recording: ["6", 0], concepts: "house" } },
  9: { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: "tree.safetensors" } },
  10: { class_type: "CLIPTextEncode", inputs: { text: "another prompt" } },
});

test("words are those of the positive prompt that are no concepts yet", () => {
  assert.deepEqual(wordsOfPrompt(graph("house\nlake"), "7:8", ["House", "lake"]), { words: ["red", "sun"], target: "3" });
});

test("concepts that come from another node are not written to", () => {
  assert.equal(wordsOfPrompt(graph(["20", 0]), "7:8", []).target, null);
});

test("words are single, without common ones, in any language", () => {
  assert.deepEqual(wordsIn("The cat's Höhle, a cat's 2 photo of Дом-музей!"), ["cat's", "höhle", "дом-музей"]);
});

test("a word is added as the list is written", () => {
  assert.equal(withWord("house\nlake", "sun"), "house\nlake\nsun");
  assert.equal(withWord("house, lake,", "sun"), "house, lake, sun");
  assert.equal(withWord(" ", "sun"), "sun");
});
