// One job: its head, its progress by machine, its transcript, its player.

import { ask, get, listen, mayChange } from "./api.js";
import { $, h, say, show } from "./dom.js";
import { exporting } from "./exporting.js";
import { about, addressOf, fill, hasEnded, nameOf, onJob, share } from "./jobs.js";
import { Player } from "./player.js";
import { Transcript } from "./transcript.js";

const REFRESH = 1000; // milliseconds between two looks at a job of which the list tells nothing
let open = null;

export function closeJob() {
  open?.close();
  open = null;
}

export function openJob(id, at) {
  open = new Job(id, at === null ? null : Number(at));
}

class Job {
  constructor(id, at) {
    this.id = id;
    this.path = `/v1/jobs/${encodeURIComponent(id)}`;
    this.at = at;
    this.state = "";
    this.quarter = 0;
    this.done = new Map(); // by chunk, the machine that did it
    this.closing = new AbortController();
    this.saving = Promise.resolve();
    this.draw();
    this.events = null;
    this.forget = onJob(id, (job) => this.take(job));
    this.look();
  }

  draw() {
    this.title = h("h1", { tabindex: -1 }, this.id);
    this.about = h("p", { class: "about" });
    this.caveats = h("ul", { class: "caveats", "aria-label": "What to know of this transcript" });
    this.bar = h("progress", { max: 1, "aria-label": "Progress", hidden: true });
    this.machines = h("ul", { class: "machines", "aria-label": "Parts done by each machine" });
    this.actions = h("div", { class: "actions" });
    this.people = h("div", { class: "people", role: "group", "aria-label": "Names of the speakers" });
    this.error = h("p", { class: "error", role: "alert", hidden: true });
    this.entries = h("ol", { class: "entries", hidden: true });
    this.transcript = new Transcript({
      play: (seconds) => this.player.play(seconds),
      correct: (n, text) => this.correct(n, text),
    });
    this.player = new Player(`${this.path}/media`, {
      moved: (seconds, isPlaying) => this.transcript.follow(seconds, isPlaying),
      toSegment: (step) => this.transcript.step(step),
      edit: () => this.transcript.edit(),
      find: () => this.transcript.find.focus(),
      toggleFollow: () => this.transcript.toggleFollow(),
    }, this.closing.signal);
    $("main").replaceChildren(
      h("div", { class: "head" },
        h("a", { class: "back", href: "#/" }, "All jobs"),
        this.title, this.about, this.bar, this.machines, this.error, this.caveats, this.actions, this.people),
      this.entries, this.transcript.bar, this.transcript.element, this.player.element,
    );
    $("main").scrollTop = 0;
  }

  async look() {
    try {
      await this.take(await get(this.path), true);
    } catch (problem) {
      show(this.error, problem.message);
    }
  }

  // At most one look in a while, however much happens.
  lookSoon() {
    this.due ??= setTimeout(() => {
      this.due = undefined;
      if (!this.closing.signal.aborted) this.look();
    }, REFRESH);
  }

  // What the list or the server tells of this job; `whole`: everything, with caveats and speakers.
  async take(job, whole = false) {
    if (this.closing.signal.aborted) return;
    if (job.removed) {
      location.hash = "#/";
      return;
    }
    this.title.textContent = nameOf(job);
    document.title = `${nameOf(job)} · v2t`;
    const isGood = !hasEnded(job) || job.state === "completed";
    this.about.textContent = [about(job), isGood && job.speed && `${job.speed.toFixed(1)} times as fast as it was spoken`]
      .filter(Boolean).join(", ");
    show(this.error, job.state === "failed" ? job.reason : "");
    this.bar.hidden = hasEnded(job);
    fill(this.bar, job);
    this.tellQuarter(job);
    if (whole) this.drawWhole(job);
    const state = `${job.state} ${job.ended_at}`;
    if (state === this.state) return;
    this.state = state;
    if (job.state !== "completed") this.watch(); // of one that failed too there may be words
    else if (!job.entries) await this.read();
    if (!whole) this.look();
  }

  drawWhole(job) {
    this.drawCaveats(job);
    this.drawActions(job);
    if (job.entries) this.drawEntries(job);
  }

  // For screen readers, four times in all.
  tellQuarter(job) {
    const quarter = Math.floor(4 * (share(job) ?? 0));
    if (quarter > this.quarter && !hasEnded(job)) say(`${25 * quarter} % done`);
    this.quarter = Math.max(quarter, this.quarter);
  }

  // The words as they come, while the job runs.
  watch() {
    if (this.events) return;
    this.events = listen(`${this.path}/events`, {
      chunk: (chunk) => {
        this.transcript.addChunk(chunk);
        this.done.set(chunk.n, chunk.node);
        this.drawMachines();
        this.lookSoon();
      },
      progress: () => this.lookSoon(),
      job: () => this.lookSoon(), // an entry of this list
      rerun: (fact) => {
        const kept = new Set(fact.keeps ?? []);
        this.transcript.keepChunks(kept);
        for (const n of this.done.keys()) if (!kept.has(n)) this.done.delete(n);
      },
      end: () => { this.stopWatching(); this.look(); },
      lost: (isOver) => { if (isOver) this.stopWatching(); },
    });
  }

  stopWatching() {
    this.events?.close();
    this.events = null;
  }

  // The stored transcript, which has the speakers and what people corrected.
  async read() {
    try {
      const answer = await ask("GET", `${this.path}/transcript.json`);
      this.prefix = answer.headers.get("X-V2T-Transcript");
      this.record = await answer.json();
    } catch (problem) {
      show(this.error, problem.message);
      this.state = ""; // so that the next look reads it
      if (problem.status === 0 || problem.status >= 500) this.lookSoon();
      return;
    }
    if (this.closing.signal.aborted) return;
    show(this.error, "");
    this.transcript.show(this.record);
    this.drawPeople();
    this.player.moved();
    await this.player.load();
    if (this.at !== null) this.transcript.jump(this.at, this.player);
    this.at = null;
  }

  drawMachines() {
    const counts = new Map();
    for (const node of this.done.values()) if (node) counts.set(node, (counts.get(node) ?? 0) + 1);
    const all = [...counts.values()].reduce((sum, count) => sum + count, 0);
    this.machines.replaceChildren(...[...counts].sort().map(([node, count]) =>
      h("li", {}, h("span", { class: "name" }, node), h("meter", { min: 0, max: all, value: count, "aria-label": node }),
        h("span", { class: "hint" }, `${Math.round((100 * count) / all)} %`))));
  }

  drawCaveats(job) {
    const told = [job.warning, ...(job.caveats ?? [])].filter(Boolean);
    this.caveats.replaceChildren(...told.map((text) => h("li", {}, text)));
    if (job.corrected) {
      this.caveats.append(h("li", { class: "plain" }, `Corrected by ${job.corrected.by}. `,
        h("a", { href: `${this.path}/transcript.txt?original=true` }, "As it was heard")));
    }
  }

  drawEntries(job) {
    this.entries.hidden = false;
    this.transcript.element.hidden = true;
    this.entries.replaceChildren(...job.children.map((child) =>
      h("li", {}, h("a", { href: addressOf(child.id) }, child.title || child.id), " ",
        h("span", { class: `state ${child.state}` }, child.reason ? `${child.state}: ${child.reason}` : child.state))));
  }

  drawActions(job) {
    const key = [job.state, Boolean(job.entries), (job.gaps ?? []).length > 0].join();
    if (key === this.actionsFor) return; // who stands on a button stays there
    this.actionsFor = key;
    const act = (label, method, path, question) => h("button", { type: "button", onclick: async () => {
      if (question && !confirm(question)) return;
      try {
        await ask(method, path);
        if (path.includes("remove")) location.hash = "#/";
      } catch (problem) {
        show(this.error, problem.message);
      }
    } }, label);
    const buttons = [];
    if (!hasEnded(job) && mayChange()) buttons.push(act("Cancel", "DELETE", this.path, "Cancel this job?"));
    if (job.state === "completed" && !job.entries) buttons.push(...exporting(this.path));
    const canRetry = mayChange() && (job.state === "failed" || (job.gaps ?? []).length);
    if (canRetry) buttons.push(act("Retry", "POST", `${this.path}/retry`));
    if (hasEnded(job) && mayChange()) buttons.push(act("Remove", "DELETE", `${this.path}?remove=true`, "Remove this job and its transcript for good?"));
    this.actions.replaceChildren(...buttons);
  }

  drawPeople() {
    this.people.replaceChildren(...(this.record.speakers ?? []).map((each, n) => {
      const input = h("input", { value: each.name ?? "", placeholder: `Speaker ${each.label}`, size: 14, maxlength: 60,
        autocomplete: "off", disabled: !mayChange(), "aria-label": `Name of speaker ${each.label}`, class: `voice voice-${n % 8}` });
      input.addEventListener("change", () => this.name(each.label, input.value));
      return input;
    }));
  }

  async name(label, name) {
    try {
      await ask("PUT", `${this.path}/speakers`, { [label]: name });
      await this.read();
      this.look();
      say(`Speaker ${label} is now ${name || "without a name"}`);
    } catch (problem) {
      show(this.error, problem.message);
    }
  }

  // Store other words for a segment; returns what it is now, or null if it is gone. One after another, as each names
  // the transcript that it changes.
  correct(n, text) {
    const stored = this.saving.then(() => this.store(n, text));
    this.saving = stored.catch(() => {});
    return stored;
  }

  async store(n, text) {
    const body = { of: this.prefix, segments: { [n]: text } };
    const answer = await (await ask("PATCH", `${this.path}/transcript`, body)).json();
    this.prefix = answer.transcript;
    say("The correction is stored");
    this.look();
    return answer.segments[n];
  }

  close() {
    this.closing.abort();
    clearTimeout(this.due);
    this.forget();
    this.stopWatching();
    this.player.close();
    this.transcript.close();
  }
}
