// The words. A segment is plain text, whatever its length: clicks find their word by the place in the text, and the word
// that is played is marked by a highlight, which changes nothing in the document. So ten hours answer as fast as one.

import { clock, h, show } from "./dom.js";

const TOGETHER = 100; // segments in a section; the browser lays out only those that can be seen
const AT_A_TIME = 1000; // segments made before the page is painted again
const played = mark("played");
const found = mark("found");

function mark(name) {
  if (!globalThis.CSS?.highlights) return null;
  const highlight = new Highlight();
  CSS.highlights.set(name, highlight);
  return highlight;
}

export class Transcript {
  constructor({ play, correct, copyLink }) {
    Object.assign(this, { playFrom: play, correct, copyLink });
    this.items = []; // by time: { start, end, text, words, n, row, body }
    this.chunks = new Map();
    this.current = -1;
    this.isFollowing = true;
    this.element = h("div", { id: "transcript", class: "transcript" });
    this.element.addEventListener("click", (event) => this.click(event));
    this.element.addEventListener("dblclick", (event) => this.begin(this.itemAt(event.target)));
    this.drawBar();
    // Only a person turns a wheel, touches, or presses a key to scroll.
    for (const kind of ["wheel", "touchmove"]) {
      this.element.addEventListener(kind, () => this.setFollow(false), { passive: true });
    }
    played?.clear();
    found?.clear();
  }

  drawBar() {
    this.find = h("input", { type: "search", placeholder: "Search in this transcript", "aria-label": "Search in this transcript" });
    this.count = h("span", { class: "hint", role: "status" });
    this.followButton = h("button", { type: "button", class: "quiet", "aria-pressed": "true" }, "Following");
    this.bar = h("div", { class: "bar", role: "group", "aria-label": "Reading" }, this.find, this.count, this.followButton);
    this.find.addEventListener("input", () => this.search());
    this.find.addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.toMatch(event.shiftKey ? -1 : 1);
      if (event.key === "Escape") { this.find.value = ""; this.search(); this.find.blur(); }
    });
    this.followButton.addEventListener("click", () => this.toggleFollow());
  }

  clear() {
    this.items = [];
    this.chunks.clear();
    this.current = -1;
    this.element.replaceChildren();
  }

  // Chunks come in any order; each has its place by time.
  addChunk(chunk) {
    const section = this.chunks.get(chunk.n) ?? h("section");
    const items = (chunk.segments ?? []).map((segment) => ({ ...segment }));
    if (chunk.error) items.push({ start: chunk.start, end: chunk.end, missing: chunk.error });
    for (const each of chunk.unheard ?? []) items.push({ ...each, missing: "speech in which no words were heard" });
    items.sort((one, other) => one.start - other.start);
    section.replaceChildren(...items.map((item) => this.row(item)));
    section.items = items;
    if (!this.chunks.has(chunk.n)) {
      const after = [...this.chunks].filter(([n]) => n > chunk.n).sort(([one], [other]) => one - other)[0];
      if (after) after[1].before(section);
      else this.element.append(section);
    }
    this.chunks.set(chunk.n, section);
    this.items = [...this.element.children].flatMap((each) => each.items ?? []);
  }

  show(record) {
    this.clear();
    const names = new Map((record.speakers ?? []).map((each, n) => [each.label, { name: each.name || `Speaker ${each.label}`, n }]));
    const doubts = record.doubtful ?? [];
    const items = (record.segments ?? []).map((segment, n) => ({
      ...segment, n, who: names.get(segment.speaker),
      doubt: doubts.find((each) => each.start < segment.end && segment.start < each.end)?.reason,
    }));
    for (const gap of record.gaps ?? []) items.push({ ...gap, missing: gap.reason });
    for (const each of record.unheard ?? []) items.push({ ...each, missing: "speech in which no words were heard" });
    if (record.truncated) {
      items.push({ start: record.truncated.decoded, end: record.truncated.declared, missing: "the recording ends here" });
    }
    items.sort((one, other) => one.start - other.start);
    this.items = items;
    if (!items.length) this.element.append(h("p", { class: "hint" }, "No words were heard."));
    this.fill(items, 0, (this.filling = {}));
    if (this.find.value) this.search();
  }

  fill(items, begin, token) {
    if (this.filling !== token) return;
    const end = Math.min(items.length, begin + AT_A_TIME);
    for (let from = begin; from < end; from += TOGETHER) {
      const part = items.slice(from, Math.min(end, from + TOGETHER));
      const before = items[from - 1]?.who;
      this.element.append(h("section", {}, ...part.map((item, n) => this.row(item, n ? part[n - 1].who : before))));
    }
    if (end < items.length) setTimeout(() => this.fill(items, end, token));
  }

  // Make what is not made yet, because somebody wants to go there.
  complete() {
    const made = this.items.findIndex((item) => !item.row);
    if (made < 0) return;
    const token = (this.filling = {});
    for (let from = made; from < this.items.length; from += AT_A_TIME) {
      const items = this.items.slice(0, from + AT_A_TIME);
      this.fill(items, from, token);
    }
  }

  row(item, whoBefore) {
    const time = h("button", { type: "button", class: "time", title: "Play from here" }, clock(item.start));
    item.body = item.missing
      ? h("p", { class: "missing" }, `[missing: ${item.missing}]`)
      : h("p", { class: item.doubt ? "doubtful" : "", title: item.doubt ? `May never have been said: ${item.doubt}` : null }, item.text);
    const isNew = item.who && item.who !== whoBefore;
    item.row = h("div", { class: `segment${item.who ? ` voice-${item.who.n % 8}` : ""}`, "data-at": item.start },
      time, isNew ? h("strong", { class: "who" }, item.who.name) : null, item.body);
    item.row.item = item;
    return item.row;
  }

  itemAt(target) {
    return target.closest?.(".segment")?.item ?? null;
  }

  click(event) {
    const item = this.itemAt(event.target);
    if (!item || item.body.isContentEditable || String(getSelection())) return;
    const at = event.target.closest(".time") ? 0 : offsetAt(event, item.body);
    this.playFrom(at === null ? item.start : timeAt(item, at));
    this.setFollow(true);
  }

  // Mark what is played, and keep it in sight.
  follow(seconds, isPlaying) {
    const place = this.placeOf(seconds);
    if (place !== this.current) {
      this.items[this.current]?.row?.classList.remove("current");
      this.current = place;
      const item = this.items[place];
      if (item && !item.row) this.complete();
      item?.row?.classList.add("current");
      if (this.isFollowing && isPlaying) this.reveal(item);
    }
    const item = this.items[place];
    played?.clear();
    if (!item || item.missing || !item.body?.firstChild) return;
    const word = spans(item).find((each) => each.start <= seconds && seconds < each.next);
    if (word && played) played.add(range(item.body, word.from, word.to));
  }

  placeOf(seconds) {
    let [low, high] = [0, this.items.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.items[middle].start <= seconds + 0.001) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  reveal(item) {
    const isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    item?.row?.scrollIntoView({ block: "center", behavior: isCalm ? "auto" : "smooth" });
  }

  jump(seconds, player) {
    this.complete();
    const item = this.items[Math.max(0, this.placeOf(seconds))];
    item?.row?.scrollIntoView({ block: "center" });
    item?.row?.querySelector(".time").focus({ preventScroll: true });
    player.seek(seconds);
  }

  step(by) {
    this.complete();
    const focused = this.itemAt(document.activeElement);
    const at = focused ? this.items.indexOf(focused) : this.current;
    const item = this.items[Math.min(this.items.length - 1, Math.max(0, at + by))];
    item?.row?.querySelector(".time").focus({ preventScroll: true });
    item?.row?.scrollIntoView({ block: "nearest" });
  }

  setFollow(on) {
    if (this.isFollowing === on) return;
    this.isFollowing = on;
    this.followButton.setAttribute("aria-pressed", String(on));
    this.followButton.textContent = on ? "Following" : "Follow";
    if (on) this.reveal(this.items[this.current]);
  }

  toggleFollow() {
    this.setFollow(!this.isFollowing);
  }

  search() {
    const wanted = this.find.value.trim().toLowerCase();
    this.matches = [];
    found?.clear();
    if (wanted) {
      this.complete();
      for (const item of this.items) {
        if (item.missing) continue;
        const text = item.text.toLowerCase();
        for (let at = text.indexOf(wanted); at >= 0; at = text.indexOf(wanted, at + wanted.length)) {
          this.matches.push([item, at]);
          if (item.body.firstChild && text.length === item.text.length) found?.add(range(item.body, at, at + wanted.length));
        }
      }
    }
    this.match = -1;
    this.count.textContent = wanted ? (this.matches.length ? `${this.matches.length} found` : "not found") : "";
  }

  toMatch(step) {
    if (!this.matches?.length) return;
    this.match = (this.match + step + this.matches.length) % this.matches.length;
    this.count.textContent = `${this.match + 1} of ${this.matches.length}`;
    this.setFollow(false);
    this.matches[this.match][0].row.scrollIntoView({ block: "center" });
  }

  edit() {
    const item = this.itemAt(document.activeElement) ?? this.items[this.current];
    if (item) this.begin(item);
  }

  // Correct a segment where it stands: Enter stores it, Escape leaves it as it was.
  begin(item) {
    if (!item || item.missing || item.n === undefined || item.body.isContentEditable) return;
    const { body } = item;
    getSelection().removeAllRanges();
    const error = h("p", { class: "error", role: "alert", hidden: true });
    body.contentEditable = "plaintext-only";
    if (!body.isContentEditable) body.contentEditable = "true";
    body.setAttribute("role", "textbox");
    body.setAttribute("aria-label", `Correct the segment at ${clock(item.start)}; Enter stores it, Escape leaves it`);
    item.row.append(error);
    body.focus();
    const finish = () => {
      body.removeAttribute("contenteditable");
      body.removeAttribute("role");
      body.removeAttribute("aria-label");
      body.removeEventListener("keydown", keys);
      body.removeEventListener("blur", store);
      error.remove();
    };
    const leave = () => {
      finish();
      body.textContent = item.text;
      item.row.querySelector(".time").focus();
    };
    let isStoring = false;
    const store = async () => {
      if (isStoring) return;
      const text = body.textContent.replace(/\s+/g, " ").trim();
      if (text === item.text) { leave(); return; }
      isStoring = true;
      try {
        await this.correct(item.n, text);
        Object.assign(item, { text, words: [], spans: null, doubt: undefined });
        leave();
        item.row.hidden = !text;
      } catch (problem) {
        show(error, problem.message);
        isStoring = false;
      }
    };
    const keys = (event) => {
      event.stopPropagation();
      if (event.key === "Enter") { event.preventDefault(); store(); }
      if (event.key === "Escape") { event.preventDefault(); leave(); }
    };
    body.addEventListener("keydown", keys);
    body.addEventListener("blur", store);
  }

  close() {
    this.filling = null;
    played?.clear();
    found?.clear();
  }
}

// The place of each word in the text of its segment, and until when it counts as the one that is played.
function spans(item) {
  if (item.spans) return item.spans;
  let from = 0;
  item.spans = [];
  for (const word of item.words ?? []) {
    const text = word.text.trim();
    const at = item.text.indexOf(text, from);
    if (at < 0 || !text) continue;
    from = at + text.length;
    item.spans.push({ start: word.start, from: at, to: from, next: item.end });
  }
  for (let n = 1; n < item.spans.length; n += 1) item.spans[n - 1].next = item.spans[n].start;
  return item.spans;
}

function timeAt(item, offset) {
  const before = spans(item).filter((each) => each.from <= offset);
  return before.length ? before[before.length - 1].start : item.start;
}

function offsetAt(event, body) {
  const at = document.caretPositionFromPoint?.(event.clientX, event.clientY);
  const [node, offset] = at
    ? [at.offsetNode, at.offset]
    : ((spot) => [spot?.startContainer, spot?.startOffset])(document.caretRangeFromPoint?.(event.clientX, event.clientY));
  return node && body.contains(node) ? offset : null;
}

function range(body, from, to) {
  const made = document.createRange();
  made.setStart(body.firstChild, from);
  made.setEnd(body.firstChild, to);
  return made;
}
