// The player at the foot of a job.

import { ask } from "./api.js";
import { h, show } from "./dom.js";

const SPEEDS = [0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2.5, 3];

export class Player {
  constructor(source, actions, signal) {
    this.source = source;
    this.actions = actions;
    this.media = null;
    this.pending = null;
    this.hint = h("p", { class: "hint", hidden: true });
    this.slot = h("div", { class: "media" });
    const button = (label, text, act) => h("button", { type: "button", class: "quiet", "aria-label": label, onclick: act }, text);
    this.speed = h("select", { "aria-label": "Speed" },
      ...SPEEDS.map((value) => h("option", { value, selected: value === 1 }, `${value}×`)));
    this.speed.addEventListener("change", () => { if (this.media) this.media.playbackRate = Number(this.speed.value); });
    this.element = h("section", { id: "player", "aria-label": "Player", hidden: true }, this.slot,
      h("div", { class: "controls" },
        button("10 seconds back", "−10", () => this.skip(-10)),
        button("10 seconds forward", "+10", () => this.skip(10)),
        this.speed),
      this.hint);
    document.addEventListener("keydown", (event) => this.key(event), { signal });
  }

  // Looks whether there is a medium, and what it is.
  async load() {
    if (this.media) return;
    let kind;
    try {
      kind = (await ask("HEAD", this.source)).headers.get("Content-Type") ?? "";
    } catch (problem) {
      this.element.hidden = false;
      this.element.classList.add("empty");
      show(this.hint, problem.status === 410 ? "The recording is no longer stored, so it cannot be played." : "The recording cannot be played.");
      return;
    }
    this.media = h(kind.startsWith("video/") ? "video" : "audio", { controls: true, preload: "metadata", playsinline: true, "aria-label": "Recording" });
    this.media.addEventListener("error", () => {
      this.element.classList.add("empty");
      show(this.hint, `This browser cannot play ${kind || "the recording"}.`);
    });
    for (const event of ["timeupdate", "seeked"]) this.media.addEventListener(event, () => this.moved());
    this.media.addEventListener("play", () => this.tick());
    this.media.addEventListener("loadedmetadata", () => {
      if (this.pending !== null) this.media.currentTime = this.pending;
      this.pending = null;
    });
    this.media.src = this.source;
    this.slot.replaceChildren(this.media);
    this.element.hidden = false;
  }

  // Words are shorter than the quarter of a second between two timeupdate events.
  tick() {
    cancelAnimationFrame(this.ticking);
    this.moved();
    if (this.media && !this.media.paused) this.ticking = requestAnimationFrame(() => this.tick());
  }

  moved() {
    if (this.media?.readyState) this.actions.moved(this.media.currentTime, !this.media.paused);
  }

  seek(seconds) {
    if (this.media?.readyState) {
      this.media.currentTime = seconds;
      this.moved(); // marked at once, and heard when it has come
    } else this.pending = seconds;
  }

  play(seconds) {
    this.seek(seconds);
    this.media?.play().catch(() => {}); // the error event says why
  }

  skip(seconds) {
    if (this.media) this.media.currentTime = Math.max(0, this.media.currentTime + seconds);
  }

  faster(step) {
    const at = SPEEDS.indexOf(Number(this.speed.value));
    this.speed.value = SPEEDS[Math.min(SPEEDS.length - 1, Math.max(0, at + step))];
    this.speed.dispatchEvent(new Event("change"));
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, [contenteditable], dialog")) return;
    const isButton = event.target.closest("button, a, summary");
    const acts = {
      k: () => this.toggle(), j: () => this.skip(-10), l: () => this.skip(10),
      "<": () => this.faster(-1), ">": () => this.faster(1),
      ArrowLeft: () => this.skip(-5), ArrowRight: () => this.skip(5),
      ArrowUp: () => this.actions.toSegment(-1), ArrowDown: () => this.actions.toSegment(1),
      e: () => this.actions.edit(), f: () => this.actions.toggleFollow(), "/": () => this.actions.find(),
      ...(isButton || event.target === this.media ? {} : { " ": () => this.toggle() }),
    };
    if (!acts[event.key] || (event.target === this.media && event.key.startsWith("Arrow"))) return;
    event.preventDefault();
    acts[event.key]();
  }

  toggle() {
    if (this.media?.paused) this.media.play().catch(() => {});
    else this.media?.pause();
  }

  close() {
    cancelAnimationFrame(this.ticking);
    if (this.media) {
      this.media.removeAttribute("src");
      this.media.load();
    }
    this.media = null;
  }
}
