// Search in the one transcript, as a browser's own: the first match from here on, then the next and the one before.

import { h } from "./dom.js";
import { highlight, range } from "./words.js";

const all = highlight("found");
const one = highlight("chosen");

export class Finding {
  // `items()`: all segments, made; `from()`: the place of the segment where the search begins; `go(item)` shows one.
  constructor({ items, from, go }) {
    Object.assign(this, { items, from, go });
    this.matches = [];
    this.input = h("input", { type: "search", placeholder: "Search in this transcript", "aria-label": "Search in this transcript" });
    this.count = h("span", { class: "hint", role: "status" });
    const button = (label, text, step) => h("button", { type: "button", class: "quiet", "aria-label": label, onclick: () => this.step(step) }, text);
    this.steps = h("span", { class: "steps", hidden: true }, button("Match before", "↑", -1), button("Next match", "↓", 1));
    this.parts = [this.input, this.count, this.steps];
    this.input.addEventListener("input", () => this.search());
    this.input.addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.step(event.shiftKey ? -1 : 1);
      if (event.key === "Escape") this.leave();
    });
    this.clear();
  }

  leave() {
    this.input.value = "";
    this.search();
    this.input.blur();
  }

  search() {
    const wanted = this.input.value.trim().toLowerCase();
    this.clear();
    if (wanted) {
      for (const [place, item] of this.items().entries()) this.searchIn(item, place, wanted);
      const from = this.from();
      this.choose(Math.max(0, this.matches.findIndex((match) => match.place >= from)));
    }
    this.steps.hidden = !this.matches.length;
    if (!this.matches.length) this.count.textContent = wanted ? "not found" : "";
  }

  searchIn(item, place, wanted) {
    const text = (item.text ?? "").toLowerCase();
    // In a few scripts a capital has another length than its small letter, and the places would not fit.
    const isSame = text.length === item.text?.length;
    for (let at = text.indexOf(wanted); at >= 0; at = text.indexOf(wanted, at + wanted.length)) {
      const match = { item, place, range: isSame && item.body.firstChild ? range(item.body, at, at + wanted.length) : null };
      this.matches.push(match);
      if (match.range) all?.add(match.range);
    }
  }

  step(by) {
    if (this.matches.length) this.choose((this.at + by + this.matches.length) % this.matches.length);
  }

  choose(at) {
    if (!this.matches.length) return;
    this.matches[this.at]?.item.row.classList.remove("chosen");
    this.at = at;
    const { item, range: chosen } = this.matches[at];
    this.count.textContent = `${at + 1} of ${this.matches.length}`;
    item.row.classList.add("chosen");
    one?.clear();
    if (chosen) one?.add(chosen);
    this.go(item);
  }

  clear() {
    this.matches?.[this.at]?.item.row?.classList.remove("chosen");
    this.matches = [];
    this.at = -1;
    all?.clear();
    one?.clear();
    if (one) one.priority = 1;
  }
}
