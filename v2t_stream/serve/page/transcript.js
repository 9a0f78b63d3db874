// The words. A segment is plain text, whatever its length: clicks find their word by the place in the text, and the word
// that is played is marked by a highlight, which changes nothing in the document. So ten hours answer as fast as one.

import { mayChange } from "./api.js";
import { clock, h } from "./dom.js";
import { edit } from "./editing.js";
import { Finding } from "./finding.js";
import { highlight, offsetAt, range, timeAt, wordAt } from "./words.js";

const TOGETHER = 100; // segments in a section; the browser lays out only those that can be seen
const AT_A_TIME = 1000; // segments made before the page is painted again
const UNHEARD = "speech in which no words were heard";
const SCROLLS = ["PageUp", "PageDown", "Home", "End"];
const played = highlight("played");

export class Transcript {
  constructor({ play, correct }) {
    Object.assign(this, { playFrom: play, correct });
    this.items = []; // by time: { start, end, text, words, n, row, body }
    this.chunks = new Map();
    this.current = -1;
    this.isFollowing = true;
    this.element = h("div", { id: "transcript", class: "transcript" });
    this.element.addEventListener("click", (event) => this.click(event));
    this.element.addEventListener("dblclick", (event) => this.begin(this.itemAt(event.target)));
    this.element.addEventListener("focusin", (event) => this.stopAt(this.itemAt(event.target)));
    for (const kind of ["wheel", "touchmove"]) {
      this.element.addEventListener(kind, () => this.setFollow(false), { passive: true });
    }
    this.element.addEventListener("keydown", (event) => { if (SCROLLS.includes(event.key)) this.setFollow(false); });
    this.drawBar();
    played?.clear();
  }

  drawBar() {
    this.finding = new Finding({
      items: () => { this.complete(); return this.items; },
      from: () => Math.max(0, this.current),
      go: (item) => { this.setFollow(false); item.row.scrollIntoView({ block: "center" }); },
    });
    this.find = this.finding.input;
    this.editButton = h("button", { type: "button", class: "quiet", hidden: true, title: "Correct this segment (e)", onclick: () => this.edit() }, "Correct");
    this.followButton = h("button", { type: "button", class: "toggle", "aria-pressed": "true", title: "Scroll with what is played (f)", onclick: () => this.toggleFollow() }, "Follow");
    this.bar = h("div", { class: "bar", role: "group", "aria-label": "Reading", hidden: true }, ...this.finding.parts,
      h("span", { class: "acts" }, this.editButton, this.followButton));
  }

  clear() {
    this.filling = null;
    this.items = [];
    this.chunks.clear();
    this.current = -1;
    this.stop = null;
    this.finding.clear();
    this.element.replaceChildren();
  }

  // Chunks come in any order, and perhaps twice; each has its place by time.
  addChunk(chunk) {
    const section = this.chunks.get(chunk.n) ?? h("section", { class: "chunk" });
    const items = (chunk.segments ?? []).map((segment) => ({ ...segment, doubt: doubtOf(segment, chunk.doubtful) }));
    if (chunk.error) items.push({ start: chunk.start, end: chunk.end, missing: chunk.error });
    for (const each of chunk.unheard ?? []) items.push({ ...each, missing: UNHEARD });
    items.sort((one, other) => one.start - other.start);
    section.replaceChildren(...items.map((item) => this.row(item)));
    section.items = items;
    if (!this.chunks.has(chunk.n)) {
      const after = [...this.chunks.keys()].filter((n) => n > chunk.n);
      if (after.length) this.chunks.get(Math.min(...after)).before(section);
      else this.element.append(section);
    }
    this.chunks.set(chunk.n, section);
    this.gather();
  }

  // A retry begins: only these chunks still count.
  keepChunks(kept) {
    if (!this.chunks.size) this.clear(); // it showed the transcript of the run before
    for (const [n, section] of this.chunks) {
      if (kept.has(n)) continue;
      section.remove();
      this.chunks.delete(n);
    }
    this.gather();
  }

  gather() {
    this.items = [...this.element.children].flatMap((each) => each.items ?? []);
    this.bar.hidden = !this.items.length;
    if (this.items.length && !this.stop) this.stopAt(this.items[0]);
  }

  show(record) {
    const place = this.placeRead();
    this.clear();
    this.items = itemsOf(record);
    this.bar.hidden = !this.items.length;
    this.editButton.hidden = !this.items.length || !mayChange();
    if (!this.items.length) this.element.append(h("p", { class: "hint" }, "No words were heard."));
    this.fill(0, (this.filling = {}));
    this.stopAt(this.items[0]);
    if (place) this.return(place);
    if (this.find.value) this.finding.search();
  }

  // What somebody reads at the top of the screen, if it is not the beginning.
  placeRead() {
    const top = this.bar.getBoundingClientRect().bottom;
    const place = firstWhere(this.items.length, (n) => !this.items[n].row || this.items[n].row.getBoundingClientRect().bottom > top);
    const item = place > 0 ? this.items[place] : null;
    return item?.row ? { start: item.start, top: item.row.getBoundingClientRect().top } : null;
  }

  return({ start, top }) {
    this.complete();
    const row = this.items[this.placeOf(start)]?.row;
    if (!row) return;
    row.scrollIntoView({ block: "start", behavior: "instant" });
    row.closest("main").scrollBy({ top: row.getBoundingClientRect().top - top, behavior: "instant" });
  }

  fill(begin, token) {
    if (this.filling !== token) return;
    const end = Math.min(this.items.length, begin + AT_A_TIME);
    for (let from = begin; from < end; from += TOGETHER) {
      const part = this.items.slice(from, Math.min(end, from + TOGETHER));
      const before = this.items[from - 1]?.who;
      this.element.append(h("section", {}, ...part.map((item, n) => this.row(item, n ? part[n - 1].who : before))));
    }
    if (end < this.items.length) setTimeout(() => this.fill(end, token));
  }

  // Make what is not made yet, because somebody wants to go there.
  complete() {
    const made = this.items.findIndex((item) => !item.row);
    if (made < 0) return;
    this.filling = null;
    for (let from = made; from < this.items.length; from += AT_A_TIME) this.fill(from, null);
  }

  row(item, whoBefore) {
    const time = h("button", { type: "button", class: "time", tabindex: -1, "aria-label": `Play from ${clock(item.start)}` }, clock(item.start));
    item.body = item.missing
      ? h("p", { class: "missing" }, `[missing: ${item.missing}]`)
      : h("p", { class: item.doubt ? "doubtful" : "" }, item.text);
    const isNew = item.who && item.who !== whoBefore;
    item.row = h("div", { class: `segment${item.who ? ` voice-${item.who.n % 8}` : ""}` },
      time, isNew ? h("strong", { class: "who" }, item.who.name) : null, item.body,
      item.doubt ? h("small", { class: "doubt" }, `may never have been said: ${item.doubt}`) : null);
    item.row.item = item;
    return item.row;
  }

  itemAt(target) {
    return target.closest?.(".segment")?.item ?? null;
  }

  // Of all segments one can be reached by Tab, as the arrows lead to the others.
  stopAt(item) {
    if (!item || item === this.stop) return;
    this.stop?.row.querySelector(".time").setAttribute("tabindex", -1);
    item.row.querySelector(".time").setAttribute("tabindex", 0);
    this.stop = item;
  }

  click(event) {
    const item = this.itemAt(event.target);
    if (!item || item.body.isContentEditable || String(getSelection())) return;
    const at = event.target.closest(".time") ? null : offsetAt(event, item.body);
    this.stopAt(item);
    this.isFollowing = false; // so that it does not first show what was played before
    this.playFrom(at === null ? item.start : timeAt(item, at));
    this.setFollow(true, false);
  }

  // Mark what is played, and keep it in sight.
  follow(seconds, isPlaying) {
    const place = this.placeOf(seconds);
    if (place !== this.current) {
      this.items[this.current]?.row?.classList.remove("current");
      this.current = place;
      const item = this.items[place];
      if (item && !item.row) this.complete();
      item?.row.classList.add("current");
      if (this.isFollowing && isPlaying) this.reveal(item);
    }
    this.markWord(this.items[place], seconds);
  }

  markWord(item, seconds) {
    const isText = item && !item.missing && item.body?.firstChild && !item.body.isContentEditable;
    const word = isText ? wordAt(item, seconds) : undefined;
    if (word && word === this.word) return;
    this.word = word;
    played?.clear();
    if (word) played?.add(range(item.body, word.from, word.to));
  }

  placeOf(seconds) {
    return firstWhere(this.items.length, (n) => this.items[n].start > seconds + 0.001) - 1;
  }

  reveal(item) {
    const isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    item?.row?.scrollIntoView({ block: "center", behavior: isCalm ? "instant" : "smooth" });
  }

  jump(seconds, player) {
    this.complete();
    const item = this.items[Math.max(0, this.placeOf(seconds))];
    item?.row.scrollIntoView({ block: "center" });
    item?.row.querySelector(".time").focus({ preventScroll: true });
    player.seek(seconds);
  }

  step(by) {
    this.complete();
    const focused = this.itemAt(document.activeElement);
    const at = focused ? this.items.indexOf(focused) : this.current;
    const item = this.items[Math.min(this.items.length - 1, Math.max(0, at + by))];
    this.setFollow(false);
    item?.row.querySelector(".time").focus({ preventScroll: true });
    item?.row.scrollIntoView({ block: "nearest" });
  }

  setFollow(on, isShown = true) {
    if (this.isFollowing === on) return;
    this.isFollowing = on;
    this.followButton.setAttribute("aria-pressed", String(on));
    if (on && isShown) this.reveal(this.items[this.current]);
  }

  toggleFollow() {
    this.setFollow(!this.isFollowing);
  }

  edit() {
    const item = this.itemAt(document.activeElement) ?? this.items[this.current] ?? this.stop;
    if (item) this.begin(item);
  }

  begin(item) {
    if (!item || item.missing || item.n === undefined || item.body.isContentEditable || !mayChange()) return;
    this.setFollow(false);
    this.markWord();
    item.row.scrollIntoView({ block: "nearest" });
    edit(item, (text) => this.correct(item.n, text), (now) => this.corrected(item, now));
  }

  corrected(item, now) {
    item.row.querySelector(".doubt")?.remove();
    item.body.classList.remove("doubtful");
    if (now === null) {
      if (item.row.contains(document.activeElement)) this.step(1);
      item.row.hidden = true;
      // Those behind it have moved up.
      for (const each of this.items) if (each.n > item.n) each.n -= 1;
      item.n = undefined;
    }
    if (this.find.value) this.finding.search();
  }

  close() {
    this.filling = null;
    played?.clear();
    this.finding.clear();
  }
}

// The first of `count` places where something holds that holds for all behind it too.
function firstWhere(count, holds) {
  let [low, high] = [0, count];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (holds(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}

function itemsOf(record) {
  const names = new Map((record.speakers ?? []).map((each, n) => [each.label, { name: each.name || `Speaker ${each.label}`, n }]));
  const items = (record.segments ?? []).map((segment, n) => ({
    ...segment, n, who: names.get(segment.speaker), doubt: doubtOf(segment, record.doubtful),
  }));
  for (const gap of record.gaps ?? []) items.push({ ...gap, missing: gap.reason });
  for (const each of record.unheard ?? []) items.push({ ...each, missing: UNHEARD });
  if (record.truncated) {
    items.push({ start: record.truncated.decoded, end: record.truncated.declared, missing: "the recording ends here" });
  }
  return items.sort((one, other) => one.start - other.start);
}

function doubtOf(segment, doubts) {
  return doubts?.find((each) => each.start < segment.end && segment.start < each.end)?.reason;
}
