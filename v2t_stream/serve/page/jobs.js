// The list of jobs, kept up to date.

import { listen } from "./api.js";
import { $, clock, h, length, say, show } from "./dom.js";

const known = new Map();
const rows = new Map();
const watchers = new Set();
let current = "";
let isReady = false;

const ENDED = ["completed", "failed", "cancelled"];
export const hasEnded = (job) => ENDED.includes(job.state);

export function watchJobs() {
  $("filter").addEventListener("input", () => { for (const job of known.values()) draw(job); hint(); });
  listen("/v1/events", {
    job: take,
    ready: () => { isReady = true; hint(); },
    lost: (isOver) => show($("jobs-hint"), isOver ? "The server is gone. Load the page again." : "Connecting again…"),
    open: hint,
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
  for (const [each, row] of rows) row.firstChild.setAttribute("aria-current", each === id);
}

function take(job) {
  const before = known.get(job.id);
  if (job.removed) {
    known.delete(job.id);
    rows.get(job.id)?.remove();
    rows.delete(job.id);
  } else {
    known.set(job.id, job);
    draw(job);
    if (before && !hasEnded(before) && hasEnded(job)) say(`${job.title || job.id}: ${job.state}`);
  }
  for (const [id, call] of watchers) if (id === job.id) call(job);
  hint();
}

function draw(job) {
  const wanted = $("filter").value.trim().toLowerCase();
  const row = rows.get(job.id) ?? h("li");
  row.hidden = Boolean(wanted) && !`${job.title} ${job.source}`.toLowerCase().includes(wanted);
  const link = h(
    "a",
    { href: `#/job/${encodeURIComponent(job.id)}`, "aria-current": String(job.id === current) },
    h("span", { class: "title" }, job.title || job.source || job.id),
    h("span", { class: `state ${job.state}` }, about(job)),
    hasEnded(job) ? null : h("progress", { max: 1, value: share(job), "aria-label": `Progress of ${job.title || job.id}` }),
  );
  if (row.firstChild) row.firstChild.replaceWith(link);
  else {
    row.append(link);
    rows.set(job.id, row);
    insert(row, job);
  }
}

function insert(row, job) {
  // The newest come first.
  row.dataset.at = job.started_at ?? Infinity;
  for (const other of $("jobs").children) {
    if (Number(other.dataset.at) < Number(row.dataset.at)) {
      other.before(row);
      return;
    }
  }
  $("jobs").append(row);
}

export function share(job) {
  if (!job.duration || !job.chunks_cut) return undefined;
  return Math.min(1, (job.decoded / job.duration) * (job.chunks_done / job.chunks_cut));
}

export function about(job) {
  if (job.entries) return `${job.state}, ${job.entries.completed ?? 0} of ${job.children.length} done`;
  if (job.state === "completed") return [job.duration && length(job.duration), job.language].filter(Boolean).join(", ");
  if (hasEnded(job) || !job.chunks_cut) return job.state;
  return [`${job.chunks_done} of ${job.chunks_cut} parts`, job.eta && `${clock(job.eta)} left`].filter(Boolean).join(", ");
}

function hint() {
  const shown = [...rows.values()].some((row) => !row.hidden);
  show($("jobs-hint"), shown ? "" : !isReady ? "Connecting…" : known.size ? "No job has this in its title." : "No jobs yet. Drop a recording here.");
}
