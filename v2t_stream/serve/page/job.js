// One job: its head, its progress by machine, its transcript, its player.

import { ask, get, listen } from "./api.js";
import { $, h, say, show } from "./dom.js";
import { about, hasEnded, onJob, share } from "./jobs.js";
import { Player } from "./player.js";
import { Transcript } from "./transcript.js";

const FORMATS = ["txt", "srt", "vtt", "md", "ass", "ttml", "tsv", "lrc", "json"];
const SHAPED = ["srt", "vtt", "ass", "ttml"];
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
    this.closing = new AbortController();
    this.draw();
    this.events = null;
    this.forget = onJob(id, (job) => this.take(job));
    this.start();
  }

  draw() {
    this.title = h("h1", {}, this.id);
    this.about = h("p", { class: "about" });
    this.caveats = h("ul", { class: "caveats", "aria-label": "What to know of this transcript" });
    this.bar = h("progress", { max: 1, "aria-label": "Progress", hidden: true });
    this.machines = h("ul", { class: "machines", "aria-label": "Parts done by each machine" });
    this.actions = h("div", { class: "actions" });
    this.people = h("div", { class: "people" });
    this.error = h("p", { class: "error", role: "alert", hidden: true });
    this.transcript = new Transcript({
      play: (seconds) => this.player.play(seconds),
      correct: (n, text) => this.correct(n, text),
      copyLink: (seconds) => `#/job/${encodeURIComponent(this.id)}?t=${seconds.toFixed(1)}`,
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
      this.transcript.bar, this.transcript.element, this.player.element,
    );
    $("main").scrollTop = 0;
  }

  async start() {
    try {
      this.take(await get(this.path), true);
    } catch (problem) {
      show(this.error, problem.message);
    }
  }

  // What the list or the server tells of this job; `whole`: everything, with caveats and speakers.
  async take(job, whole = false) {
    if (this.closing.signal.aborted) return;
    if (job.removed) {
      location.hash = "#/";
      return;
    }
    this.title.textContent = job.title || job.source || job.id;
    document.title = `${this.title.textContent} · v2t`;
    this.about.textContent = [about(job), job.speed && `${job.speed.toFixed(1)} times as fast as speech`]
      .filter(Boolean).join(", ");
    show(this.error, job.state === "failed" ? job.reason : "");
    const part = share(job);
    this.bar.hidden = hasEnded(job);
    if (part === undefined) this.bar.removeAttribute("value");
    else this.bar.value = part;
    if (whole) this.drawCaveats(job);
    const key = `${job.state} ${job.ended_at}`;
    if (key === this.state) return;
    this.state = key;
    this.drawActions(job);
    if (job.entries) this.drawEntries(job);
    else if (job.state === "completed") await this.read();
    else if (!hasEnded(job)) this.watch();
    if (hasEnded(job) && !whole) this.start();
  }

  // The words as they come, while the job runs.
  watch() {
    if (this.events) return;
    this.done = new Map();
    this.events = listen(`${this.path}/events`, {
      chunk: (chunk) => {
        this.transcript.addChunk(chunk);
        if (chunk.node) this.done.set(chunk.node, (this.done.get(chunk.node) ?? 0) + 1);
        this.drawMachines();
      },
      rerun: () => { this.transcript.clear(); this.done.clear(); },
      corrected: () => this.read(),
      end: () => this.stopWatching(),
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
      return;
    }
    if (this.closing.signal.aborted) return;
    this.transcript.show(this.record);
    this.drawPeople();
    await this.player.load();
    if (this.at !== null) this.transcript.jump(this.at, this.player);
    this.at = null;
  }

  drawMachines() {
    const all = [...this.done.values()].reduce((sum, count) => sum + count, 0);
    this.machines.replaceChildren(...[...this.done].sort().map(([node, count]) =>
      h("li", {}, h("span", { class: "title" }, node), h("meter", { min: 0, max: all, value: count, "aria-label": node }),
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
    this.transcript.element.replaceChildren(h("ol", { class: "entries" }, ...job.children.map((child) =>
      h("li", {}, h("a", { href: `#/job/${encodeURIComponent(child.id)}` }, child.title || child.id), ` ${child.state}`))));
  }

  drawActions(job) {
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
    if (!hasEnded(job)) buttons.push(act("Cancel", "DELETE", this.path, "Cancel this job?"));
    if (job.state === "failed" || (job.gaps ?? []).length) buttons.push(act("Retry", "POST", `${this.path}/retry`));
    if (job.state === "completed" && !job.entries) buttons.push(...this.exporting());
    if (hasEnded(job)) buttons.push(act("Remove", "DELETE", `${this.path}?remove=true`, "Remove this job and its transcript for good?"));
    this.actions.replaceChildren(...buttons);
  }

  exporting() {
    const format = h("select", { "aria-label": "Format" }, ...FORMATS.map((name) => h("option", {}, name)));
    const style = h("select", { "aria-label": "Style of subtitles", hidden: true },
      ...["plain", "broadcast", "social"].map((name) => h("option", {}, name)));
    const link = h("a", { class: "button", download: "" }, "Export");
    const update = () => {
      style.hidden = !SHAPED.includes(format.value);
      const shape = style.hidden || style.value === "plain" ? "" : `&style=${style.value}`;
      link.href = `${this.path}/transcript.${format.value}?download=true${shape}`;
    };
    format.addEventListener("change", update);
    style.addEventListener("change", update);
    update();
    return [format, style, link];
  }

  drawPeople() {
    const people = this.record.speakers ?? [];
    this.people.replaceChildren(...people.map((each, n) => {
      const input = h("input", { value: each.name ?? "", placeholder: `Speaker ${each.label}`, size: 14, maxlength: 60,
        "aria-label": `Name of speaker ${each.label}`, class: `voice voice-${n % 8}` });
      input.addEventListener("change", () => this.name(each.label, input.value));
      return input;
    }));
  }

  async name(label, name) {
    try {
      await ask("PUT", `${this.path}/speakers`, { [label]: name });
      await this.read();
      say(`Speaker ${label} is now ${name || "without a name"}`);
    } catch (problem) {
      show(this.error, problem.message);
    }
  }

  async correct(n, text) {
    const answer = await (await ask("PATCH", `${this.path}/transcript`, { of: this.prefix, segments: { [n]: text } })).json();
    this.prefix = answer.transcript;
    say("The correction is stored");
    get(this.path).then((job) => this.drawCaveats(job), () => {});
  }

  close() {
    this.closing.abort();
    this.forget();
    this.stopWatching();
    this.player.close();
    this.transcript.close();
  }
}

