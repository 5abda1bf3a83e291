// Controls for the image of the batch and the frame of a video.

import { frameCount } from "../data/state.js";
import { assign, button, element, icon, slider, write } from "./dom.js";

/** @import {State} from "../data/state.js" */
/** @import {Say} from "./strings.js" */

/**
 * @typedef {object} ImageEvents
 * @property {(by: number) => void} next  another image
 * @property {(frame: number) => void} frame
 * @property {() => void} play
 */

export class ImageControls {
  /** @param {Say} say @param {ImageEvents} events */
  constructor(say, events) {
    this.say = say;
    const previous = button("ca-previous", say("previous"), icon("previous"));
    const next = button("ca-next", say("next"), icon("next"));
    previous.addEventListener("click", () => events.next(-1));
    next.addEventListener("click", () => events.next(1));
    this.image = element("output", "ca-number");
    this.images = element("span", "ca-batch", {}, previous, this.image, next);
    this.play = button("ca-play", say("play"), icon("play"));
    this.play.addEventListener("click", events.play);
    this.slider = slider("ca-frame", say("frame"), { min: 0, max: 0, step: 1 });
    this.slider.addEventListener("input", () => events.frame(Number(this.slider.value)));
    this.frame = element("output", "ca-number");
    this.frames = element("span", "ca-frames", {}, this.play, this.slider, this.frame);
    this.element = element("div", "ca-images", {}, this.images, this.frames);
  }

  /** @param {State} state @param {boolean} playing */
  update(state, playing) {
    const { look, manifest } = state;
    const [images, frames] = [manifest.pictures.length, frameCount(state)];
    this.element.hidden = images < 2 && frames < 2;
    this.images.hidden = images < 2;
    this.frames.hidden = frames < 2;
    write(this.image, this.say("image_of", look.picture + 1, images));
    write(this.frame, this.say("frame_of", look.frame + 1, frames));
    this.slider.max = String(frames - 1);
    assign(this.slider, look.frame);
    const label = this.say(playing ? "pause" : "play");
    if (this.play.title === label && this.play.ariaPressed === String(playing)) return;
    this.play.title = label;
    this.play.setAttribute("aria-label", label);
    this.play.setAttribute("aria-pressed", String(playing));
    this.play.replaceChildren(icon(playing ? "pause" : "play"));
  }
}
