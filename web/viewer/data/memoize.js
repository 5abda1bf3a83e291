// What was computed last, to compute it again only when it depends on something else.

export class Memo {
  constructor() {
    /** @type {Map<string, {on: unknown[], value: any}>} */
    this.known = new Map();
  }

  /**
   * @template V
   * @param {string} name
   * @param {unknown[]} on  what the value depends on
   * @param {() => V} compute
   * @returns {V}
   */
  once(name, on, compute) {
    if (this.isNews(name, on)) this.known.set(name, { on, value: compute() });
    return this.known.get(name)?.value;
  }

  /** Whether something depends on other things than last time. @param {string} name @param {unknown[]} on */
  isNews(name, on) {
    if (this.knows(name, on)) return false;
    this.known.set(name, { on, value: undefined });
    return true;
  }

  /** Whether something depends on the same things as last time. @param {string} name @param {unknown[]} on */
  knows(name, on) {
    const before = this.known.get(name)?.on;
    return before?.length === on.length && on.every((item, index) => item === before[index]);
  }

  clear() {
    this.known.clear();
  }
}
