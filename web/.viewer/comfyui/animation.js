// Animations and videos of drawings, made by the server: browsers write no GIF, and few write MP4.

import { api } from "../../../../scripts/api.js";

/** @import {AnimationFormat} from "../view/exports.js" */

/**
 * @param {Blob[]} frames  images of one size
 * @param {AnimationFormat} format
 * @param {number} milliseconds  that each is shown
 * @returns {Promise<Blob>} the file
 */
export async function makeAnimation(frames, format, milliseconds) {
  const form = new FormData();
  form.append("format", format);
  form.append("milliseconds", String(milliseconds));
  frames.forEach((frame, index) => form.append("frame", frame, `${index}`));
  const answer = await api.fetchApi("/concept_attention/animation", { method: "POST", body: form });
  if (!answer.ok) throw new Error(answer.status === 400 ? await answer.text() : `${answer.status} ${answer.statusText}.`);
  return answer.blob();
}
