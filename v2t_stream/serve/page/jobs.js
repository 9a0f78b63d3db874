// The list of jobs, kept up to date.

import { listen } from "./api.js";
import { $, clock, h, language, length, say, show, when } from "./dom.js";

const known = new Map();
const rows = new Map();
const watchers = new Set();
const ours = new Set(); // sent from this page
let told = new Set(); // since the events began
let current = "";
let isReady = false;

const ENDED = ["completed", "failed", "cancelled"];
export const hasEnded = (job) => ENDED.includes(job.state);
export const addressOf = (id) => `#/job/${encodeURIComponent(id)}`;
export const nameOf = (job) => job.title || job.source || job.id;

export function watchJobs() {
  $("filter").addEventListener("input", () => { for (const job of known.values()) draw(job); hint(); });
  listen("/v1/events", {
    job: take,
    ready: () => {
      for (const id of known.keys()) if (!told.has(id)) forget(id); // removed while nobody told us
      isReady = true;
      hint();
    },
    lost: (isOver) => show($("jobs-hint"), isOver ? "The server is gone. Load the page again." : "Connecting again…"),
    open: () => { told = new Set(); hint(); },
  });
}

// Calls `call` with every new state of a job until the returned function is called.
export function onJob(id, call) {
  const watcher = [id, call];
  watchers.add(watcher);
  if (known.has(id)) call(known.get(id));
  return () => watchers.delete(watcher);
}

export function mark(id) {
  current = id;
  for (const [each, row] of rows) row.link.setAttribute("aria-current", each === id);
}

export function sent(job) {
  ours.add(job.id);
}

function take(job) {
  const before = known.get(job.id);
  told.add(job.id);
  if (job.removed) forget(job.id);
  else {
    known.set(job.id, job);
    draw(job);
    const isOurs = job.id === current || ours.has(job.id);
    if (isOurs && before && !hasEnded(before) && hasEnded(job)) say(`${nameOf(job)}: ${job.state}`);
  }
  for (const [id, call] of watchers) if (id === job.id) call(job);
  hint();
}

function forget(id) {
  known.delete(id);
  rows.get(id)?.element.remove();
  rows.delete(id);
}

// A row stays the same element, so whoever stands on it with the keyboard stays there.
function draw(job) {
  const row = rows.get(job.id) ?? newRow(job);
  const wanted = $("filter").value.trim().toLowerCase();
  row.element.hidden = Boolean(wanted) && !`${job.title} ${job.source}`.toLowerCase().includes(wanted);
  row.title.textContent = nameOf(job);
  row.state.textContent = hasEnded(job) ? [about(job), when(job.started_at)].filter(Boolean).join(", ") : about(job);
  row.state.className = `state ${job.state}`;
  row.bar.hidden = hasEnded(job);
  row.bar.setAttribute("aria-label", `Progress of ${nameOf(job)}`);
  fill(row.bar, job);
}

function newRow(job) {
  const [title, state] = [h("span", { class: "title" }), h("span")];
  const bar = h("progress", { max: 1 });
  const link = h("a", { href: addressOf(job.id), "aria-current": String(job.id === current) }, title, state, bar);
  const row = { element: h("li", {}, link), link, title, state, bar, at: job.started_at ?? Infinity };
  // The newest come first.
  const older = [...rows.values()].filter((other) => other.at < row.at).sort((one, other) => other.at - one.at)[0];
  if (older) older.element.before(row.element);
  else $("jobs").append(row.element);
  rows.set(job.id, row);
  return row;
}

// The share of a job that is done; undefined if nobody knows.
export function share(job) {
  if (hasEnded(job)) return 1;
  if (job.entries) return (job.entries.completed ?? 0) / entriesOf(job);
  if (!job.duration || !job.chunks_cut) return undefined;
  return Math.min(1, (job.decoded / job.duration) * (job.chunks_done / job.chunks_cut));
}

export function fill(bar, job) {
  const part = share(job);
  if (part === undefined) bar.removeAttribute("value");
  else bar.value = part;
}

const entriesOf = (job) => Object.values(job.entries).reduce((sum, count) => sum + count, 0);

export function about(job) {
  if (job.entries) return `${job.state}, ${job.entries.completed ?? 0} of ${entriesOf(job)} done`;
  if (job.state === "completed") return [job.duration && length(job.duration), language(job.language)].filter(Boolean).join(", ");
  if (hasEnded(job) || !job.chunks_cut) return job.state;
  return [`${job.chunks_done} of ${job.chunks_cut} parts`, job.eta && `${clock(job.eta)} left`].filter(Boolean).join(", ");
}

function hint() {
  const shown = [...rows.values()].some((row) => !row.element.hidden);
  show($("jobs-hint"), shown ? "" : !isReady ? "Connecting…" : known.size ? "No job has this in its title." : "No jobs yet. Drop a recording here.");
}
