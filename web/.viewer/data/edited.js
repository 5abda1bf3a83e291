// Masks that were painted in the mask editor, as the node's widget `edited` names them.

/** @import {FileRef} from "./types.js" */

/** @param {string} text  one `position: file` per line @returns {Map<number, string>} files by position in the batch */
export function parseEdited(text) {
  const lines = text.split("\n").map((line) => /^\s*(\d+)\s*:\s*(\S.*?)\s*$/.exec(line));
  return new Map(lines.flatMap((match) => (match ? [[Number(match[1]), match[2]]] : [])));
}

/** @param {Map<number, string>} edited @returns {string} */
export function formatEdited(edited) {
  return [...edited].sort(([a], [b]) => a - b).map(([position, name]) => `${position}: ${name}`).join("\n");
}

/** The file that a name such as `clipspace/mask.png [input]` stands for. @param {string} name @returns {FileRef} */
export function fileOf(name) {
  const [, path, type] = /** @type {RegExpExecArray} */ (/^(.*?)(?: \[(\w+)\])?$/.exec(name));
  const parts = path.split("/");
  return { filename: parts[parts.length - 1], subfolder: parts.slice(0, -1).join("/"), type: type ?? "input" };
}
