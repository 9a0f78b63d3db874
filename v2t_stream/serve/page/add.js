// Sending files and links.

import { ask, get, mayChange } from "./api.js";
import { $, h, say, show, size } from "./dom.js";
import { addressOf, sent } from "./jobs.js";
import { Sending } from "./sending.js";

const AT_ONCE = 2;
const waiting = [];
let running = 0;

export function setUpAdd() {
  $("files").addEventListener("change", () => {
    add([...$("files").files]);
    $("files").value = "";
  });
  for (const kind of ["dragover", "drop"]) {
    document.addEventListener(kind, (event) => {
      if (!event.dataTransfer?.types.includes("Files") || !mayChange()) return;
      event.preventDefault();
      document.body.classList.toggle("dropping", kind === "dragover");
      if (kind === "drop") add([...event.dataTransfer.files]);
    });
  }
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dropping");
  });
  $("links").addEventListener("input", () => {
    $("links").rows = Math.min(8, $("links").value.split("\n").length);
  });
  $("add").addEventListener("submit", (event) => {
    event.preventDefault();
    sendLinks();
  });
  addEventListener("beforeunload", (event) => { if (running) event.preventDefault(); });
}

export function offerModels() {
  get("/v1/models").then(({ data }) => {
    $("models").replaceChildren(...data.map((model) => h("option", { value: model.id })));
  }, () => {});
}

function options() {
  const asked = { language: $("language").value.trim(), model: $("model").value.trim(), speakers: $("speakers").value };
  const given = Object.fromEntries(Object.entries(asked).filter(([, value]) => value));
  return { ...given, word_timestamps: true, ...($("translate").checked ? { task: "translate" } : {}) };
}

async function sendLinks() {
  const links = $("links").value.split("\n").map((line) => line.trim()).filter(Boolean);
  show($("add-error"), links.length ? "" : "Paste a link, or choose files.");
  const failed = [];
  let last = "";
  for (const url of links) {
    try {
      const job = await (await ask("POST", "/v1/jobs", { url, ...options() })).json();
      sent(job);
      last = job.id;
    } catch (problem) {
      failed.push(url);
      show($("add-error"), problem.message);
    }
  }
  $("links").value = failed.join("\n");
  if (last && links.length === 1) location.hash = addressOf(last);
}

function add(files) {
  for (const file of files) waiting.push([file, options(), files.length === 1]);
  sendNext();
}

function sendNext() {
  while (running < AT_ONCE && waiting.length) send(...waiting.shift());
}

async function send(file, asked, isOnly) {
  running += 1;
  const bar = h("progress", { max: 1, value: 0, "aria-label": `Sending ${file.name}` });
  const state = h("span", { class: "hint" }, "sending");
  const stop = h("button", { type: "button", class: "quiet" }, "Stop");
  const row = h("li", {}, h("span", { class: "title" }, file.name), bar, state, stop);
  $("uploads").append(row);
  const sending = new Sending(file, asked, {
    progress: (bytes) => { bar.value = bytes / file.size; state.textContent = `${size(bytes)} of ${size(file.size)}`; },
    lost: () => { state.textContent = "The connection broke. Trying again…"; },
    begun: (job) => { sent(job); if (isOnly) location.hash = addressOf(job.id); },
  });
  stop.addEventListener("click", () => sending.stop());
  try {
    await sending.run();
    row.remove();
    say(`${file.name} is sent`);
  } catch (problem) {
    if (!problem.message) row.remove(); // stopped
    bar.remove();
    state.replaceWith(h("span", { class: "error", role: "alert" }, problem.message));
    stop.textContent = "Close";
    stop.addEventListener("click", () => row.remove());
  } finally {
    running -= 1;
    sendNext();
  }
}
