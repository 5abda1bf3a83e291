// A sheet over the viewer: the keys, words of the prompt, or what can be exported. One is open at a time.

import { button, element, icon } from "./dom.js";

/** @import {Say} from "./strings.js" */

export class Sheet {
  /** @param {Say} say */
  constructor(say) {
    this.heading = element("strong", "ca-sheet-title");
    const close = button("ca-sheet-close", say("close"), icon("close"));
    close.addEventListener("click", () => this.close());
    this.content = element("div", "ca-sheet-content", { "data-capture-wheel": "true" });
    const head = element("div", "ca-sheet-head", {}, this.heading, close);
    this.element = element("div", "ca-sheet", { role: "dialog", hidden: true, tabindex: "-1" }, head, this.content);
    this.element.addEventListener("keydown", (event) => {
      event.stopPropagation(); // typing is not for the graph
      if (event.key === "Escape") this.close();
    });
    /** @type {Element | null} What had the focus before. */
    this.opener = null;
  }

  /** Open it, or close it if it shows this already. @param {string} title @param {Node[]} content */
  toggle(title, ...content) {
    if (!this.element.hidden && this.heading.textContent === title) return this.close();
    this.opener = this.element.contains(document.activeElement) ? this.opener : document.activeElement;
    this.heading.textContent = title;
    this.element.setAttribute("aria-label", title);
    this.content.replaceChildren(...content);
    this.element.hidden = false;
    this.element.focus({ preventScroll: true });
  }

  close() {
    this.element.hidden = true;
    if (this.opener instanceof HTMLElement) this.opener.focus({ preventScroll: true });
  }
}
