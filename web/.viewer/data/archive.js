// All heatmaps in one file: a NumPy archive (.npz), which is a ZIP file of arrays without compression.

import { crc32 } from "./png.js";

/** @typedef {{name: string, bytes: Uint8Array<ArrayBuffer>}} Entry */

/**
 * An array as NumPy stores it.
 * @param {Float32Array} values
 * @param {number[]} shape
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function asArray(values, shape) {
  const sizes = shape.length === 1 ? `${shape[0]},` : shape.join(", ");
  let head = `{'descr': '<f4', 'fortran_order': False, 'shape': (${sizes}), }`;
  head = head.padEnd(Math.ceil((head.length + 11) / 64) * 64 - 11) + "\n"; // with 10 bytes before it, a multiple of 64
  const bytes = new Uint8Array(10 + head.length + 4 * values.length);
  bytes.set([0x93, ...new TextEncoder().encode("NUMPY"), 1, 0, head.length & 255, head.length >> 8]);
  bytes.set(new TextEncoder().encode(head), 10);
  const view = new DataView(bytes.buffer, 10 + head.length);
  values.forEach((value, index) => view.setFloat32(4 * index, value, true));
  return bytes;
}

/** @param {DataView} view @param {number} at @param {[2 | 4, number][]} fields  bytes and value */
function write(view, at, fields) {
  for (const [size, value] of fields) {
    if (size === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
    at += size;
  }
}

/**
 * A ZIP file of entries without compression.
 * @param {Entry[]} entries
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function zip(entries) {
  const names = entries.map(({ name }) => new TextEncoder().encode(name));
  const total = entries.reduce((sum, { bytes }, index) => sum + 76 + 2 * names[index].length + bytes.length, 22);
  const file = new Uint8Array(total);
  const view = new DataView(file.buffer);
  /** @type {number[]} */
  const places = [];
  let at = 0;
  const common = (/** @type {number} */ index) => {
    const { bytes } = entries[index];
    const size = bytes.length;
    // version, UTF-8 names, no compression, 1980-01-01, checksum, sizes, lengths of name and extra field
    return /** @type {[2 | 4, number][]} */ ([
      [2, 20], [2, 0x800], [2, 0], [2, 0], [2, 33], [4, crc32(bytes)], [4, size], [4, size], [2, names[index].length], [2, 0],
    ]);
  };
  entries.forEach(({ bytes }, index) => {
    places.push(at);
    write(view, at, [[4, 0x04034b50], ...common(index)]);
    file.set(names[index], at + 30);
    file.set(bytes, at + 30 + names[index].length);
    at += 30 + names[index].length + bytes.length;
  });
  const directory = at;
  entries.forEach((_, index) => {
    write(view, at, [[4, 0x02014b50], [2, 20], ...common(index), [2, 0], [2, 0], [2, 0], [4, 0], [4, places[index]]]);
    file.set(names[index], at + 46);
    at += 46 + names[index].length;
  });
  const count = entries.length;
  write(view, at, [[4, 0x06054b50], [2, 0], [2, 0], [2, count], [2, count], [4, at - directory], [4, directory], [2, 0]]);
  return file;
}
