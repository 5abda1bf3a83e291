// Words of the prompt, each of which becomes a concept at one click.

import { button, element } from "./dom.js";

/** @import {Say} from "./strings.js" */

/**
 * @param {Say} say
 * @param {string[]} words
 * @param {((word: string) => void) | null} add  null if there is no list of concepts to add to
 */
export function wordsContent(say, words, add) {
  if (!add) return element("p", "", {}, say("words_nowhere"));
  if (!words.length) return element("p", "", {}, say("words_none"));
  const items = words.map((word) => {
    const item = button("ca-word", say("word_add", word), word);
    item.addEventListener("click", () => {
      add(word);
      item.disabled = true;
      done.hidden = false;
    });
    return item;
  });
  const done = element("p", "", { role: "status", hidden: true }, say("words_added"));
  return element("div", "", {}, element("p", "", {}, say("words_help")), element("div", "ca-words", {}, ...items), done);
}
