// Calling a function after a method.

/**
 * Call a function after a method of an object.
 * @param {object | undefined} object
 * @param {string} name
 * @param {(...parts: any[]) => void} act
 */
export function chain(object, name, act) {
  if (!object) return;
  const target = /** @type {Record<string, any>} */ (object);
  const before = target[name];
  target[name] = /** @this {any} */ function (/** @type {any[]} */ ...parts) {
    const result = before?.apply(this, parts);
    act(...parts);
    return result;
  };
}
