// Opens the page: signs in if that is needed, then shows what the address names.

import { ask, get, mayChange, session, whenLocked } from "./api.js";
import { $, h, show } from "./dom.js";
import { openJob, closeJob } from "./job.js";
import { watchJobs, mark } from "./jobs.js";
import { offerModels, setUpAdd } from "./add.js";
import { openSearch } from "./search.js";

function route() {
  const [, view = "", rest = ""] = location.hash.match(/^#\/(\w+)\/?(.*)$/) ?? [];
  const [id, query = ""] = rest.split("?");
  const wanted = new URLSearchParams(query || (rest.startsWith("?") ? rest.slice(1) : ""));
  closeJob();
  mark(view === "job" ? id : "");
  document.body.dataset.view = view || "list";
  if (view === "job") openJob(decodeURIComponent(id), wanted.get("t"));
  else if (view === "search") openSearch(wanted.get("q") ?? "");
  else welcome();
}

function welcome() {
  document.title = "v2t";
  $("main").replaceChildren(h("div", { class: "head" }, h("h1", {}, "Transcripts"),
    h("p", { class: "about" }, "Drop recordings anywhere on this page, or paste links. Their words appear here while the machines work.")));
}

async function signIn() {
  Object.assign(session, await get("/v1/session"));
  $("leave").hidden = !session.id;
  $("add").hidden = !mayChange();
}

function setUpKey() {
  whenLocked(() => $("enter").open || $("enter").showModal());
  $("enter").addEventListener("cancel", (event) => event.preventDefault());
  $("enter-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      await ask("POST", "/v1/session", { key: $("key").value.trim() });
      location.reload();
    } catch (problem) {
      show($("enter-error"), problem.message);
    }
  });
  $("leave").addEventListener("click", async () => {
    await ask("DELETE", "/v1/session");
    location.reload();
  });
}

function setUpHelp() {
  $("help-open").addEventListener("click", () => $("help").showModal());
  document.addEventListener("keydown", (event) => {
    if (event.key === "?" && !event.target.closest("input, textarea, [contenteditable], dialog")) $("help").showModal();
  });
}

setUpKey();
setUpHelp();
setUpAdd(); // at once: a file that nobody takes would replace the page
$("search").addEventListener("submit", (event) => {
  event.preventDefault();
  if ($("query").value.trim()) location.hash = `#/search?q=${encodeURIComponent($("query").value.trim())}`;
});
let isOpen = false;
addEventListener("hashchange", () => {
  if (!isOpen) return; // what the address names is shown when the page knows who is there
  route();
  // A screen reader reads on where the eye does.
  ($("main").querySelector("h1") ?? $("main")).focus({ preventScroll: true });
});
try {
  await signIn();
  offerModels();
  watchJobs();
  isOpen = true;
  route();
} catch (problem) {
  if (problem.status !== 401) show($("jobs-hint"), problem.message);
}
