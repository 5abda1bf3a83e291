// Results that are computed again only when their dependencies change.

export class Memo {
  constructor() {
    /** @type {Map<string, {dependencies: unknown[], value: any}>} */
    this.latest = new Map();
  }

  /**
   * The latest result under a name, or a new one if the dependencies differ.
   * @template V
   * @param {string} name
   * @param {unknown[]} dependencies
   * @param {() => V} compute
   * @returns {V}
   */
  get(name, dependencies, compute) {
    if (this.changed(name, dependencies)) this.latest.set(name, { dependencies, value: compute() });
    return this.latest.get(name)?.value;
  }

  /**
   * The latest result under a name, whatever it depended on; a new one only if there is time for it.
   * @template V
   * @param {string} name
   * @param {unknown[]} dependencies
   * @param {boolean} settled
   * @param {() => V} compute
   * @returns {V | undefined} undefined if there is none yet
   */
  getSettled(name, dependencies, settled, compute) {
    return settled ? this.get(name, dependencies, compute) : this.latest.get(name)?.value;
  }

  /** Whether dependencies differ from the latest ones; they become the latest.
   * @param {string} name @param {unknown[]} dependencies */
  changed(name, dependencies) {
    if (this.isCurrent(name, dependencies)) return false;
    this.latest.set(name, { dependencies, value: undefined });
    return true;
  }

  /** Whether dependencies are the latest ones. @param {string} name @param {unknown[]} dependencies */
  isCurrent(name, dependencies) {
    const before = this.latest.get(name)?.dependencies;
    return before?.length === dependencies.length && dependencies.every((item, index) => item === before[index]);
  }

  clear() {
    this.latest.clear();
  }
}
