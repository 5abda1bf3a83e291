// Text chunks of PNG files.

/** @returns {Uint32Array} */
function makeTable() {
  return Uint32Array.from({ length: 256 }, (_, byte) => {
    let remainder = byte;
    for (let bit = 0; bit < 8; bit++) remainder = remainder & 1 ? 0xedb88320 ^ (remainder >>> 1) : remainder >>> 1;
    return remainder;
  });
}

const TABLE = makeTable();
const HEAD = 8 + 25; // signature and IHDR chunk; a text chunk may follow

/** @param {Uint8Array} bytes @returns {number} CRC-32 */
export function crc32(bytes) {
  let remainder = 0xffffffff;
  for (const byte of bytes) remainder = TABLE[(remainder ^ byte) & 255] ^ (remainder >>> 8);
  return (remainder ^ 0xffffffff) >>> 0;
}

/**
 * A copy of a PNG file with a text in a tEXt chunk.
 * @param {Uint8Array} file
 * @param {string} key  1-79 Latin-1 characters
 * @param {unknown} value  written as JSON in ASCII
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function withText(file, key, value) {
  const escape = (/** @type {string} */ char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`;
  const json = JSON.stringify(value).replace(/[^\x20-\x7e]/g, escape);
  const body = new TextEncoder().encode(`tEXt${key}\0${json}`);
  const chunk = new Uint8Array(body.length + 8);
  const view = new DataView(chunk.buffer);
  view.setUint32(0, body.length - 4);
  chunk.set(body, 4);
  view.setUint32(body.length + 4, crc32(body));
  const whole = new Uint8Array(file.length + chunk.length);
  whole.set(file.subarray(0, HEAD));
  whole.set(chunk, HEAD);
  whole.set(file.subarray(HEAD), HEAD + chunk.length);
  return whole;
}
