// The keys and gestures of the viewer.

import { element } from "./dom.js";

/** @import {Key, Say} from "./strings.js" */

/** @type {[string, Key][]} What is pressed, and what it does. */
const KEYS = [
  ["← → ↑ ↓", "key_arrows"],
  ["Shift + ← → ↑ ↓", "key_small"],
  ["Enter", "key_pick"],
  ["Space", "key_add"],
  ["+  −  0", "key_zoom"],
  ["C", "key_copy"],
  ["Esc", "key_leave"],
  ["?", "key_help"],
];

/** @param {Say} say */
export function helpContent(say) {
  const rows = KEYS.map(([keys, text]) =>
    element("tr", "", {}, element("td", "", {}, element("kbd", "", {}, keys)), element("td", "", {}, say(text))),
  );
  const gestures = /** @type {Key[]} */ (["help_mouse", "help_wheel", "help_touch", "help_subtract"]);
  const lines = gestures.map((key) => element("p", "", {}, say(key)));
  return element("div", "ca-help", {}, ...lines, element("p", "", {}, say("help_keys")), element("table", "", {}, ...rows));
}
