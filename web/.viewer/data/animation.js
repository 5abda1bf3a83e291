// Animated WebP files, put together from single images in WebP.

/** @typedef {Uint8Array<ArrayBuffer>} Bytes */

/** @param {Bytes} file @returns {Map<string, Bytes>} the chunks of a WebP file by name, with their heads */
function chunksOf(file) {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const chunks = new Map();
  for (let at = 12; at + 8 <= file.length; ) {
    const size = view.getUint32(at + 4, true);
    const end = at + 8 + size + (size & 1);
    chunks.set(String.fromCharCode(...file.subarray(at, at + 4)), file.subarray(at, end));
    at = end;
  }
  return chunks;
}

/** @param {string} name @param {Bytes[]} parts @returns {Bytes} */
function chunk(name, ...parts) {
  const size = parts.reduce((sum, part) => sum + part.length, 0);
  const made = new Uint8Array(8 + size + (size & 1));
  made.set([...name].map((char) => char.charCodeAt(0)));
  new DataView(made.buffer).setUint32(4, size, true);
  let at = 8;
  for (const part of parts) {
    made.set(part, at);
    at += part.length;
  }
  return made;
}

/** Numbers in three bytes each, little endian. @param {number[]} numbers @returns {Bytes} */
function threeBytes(...numbers) {
  return Uint8Array.from(numbers.flatMap((number) => [number & 255, (number >> 8) & 255, number >> 16]));
}

/**
 * An animation that repeats for ever.
 * @param {Bytes[]} frames  files in WebP, opaque, of one size
 * @param {number} width
 * @param {number} height
 * @param {number} duration  of each, milliseconds
 * @returns {Bytes}
 */
export function animate(frames, width, height, duration) {
  const ANIMATED = 2;
  const head = chunk("VP8X", Uint8Array.from([ANIMATED, 0, 0, 0]), threeBytes(width - 1, height - 1));
  const loop = chunk("ANIM", Uint8Array.from([0, 0, 0, 255, 0, 0]));
  const parts = frames.map((frame) => {
    const chunks = chunksOf(frame);
    const pixels = chunks.get("VP8 ") ?? chunks.get("VP8L");
    if (!pixels) throw new Error("The browser cannot write WebP.");
    const DO_NOT_BLEND = 2;
    const place = threeBytes(0, 0, width - 1, height - 1, duration);
    return chunk("ANMF", place, Uint8Array.from([DO_NOT_BLEND]), pixels);
  });
  const name = new TextEncoder().encode("WEBP");
  return chunk("RIFF", name, head, loop, ...parts);
}
