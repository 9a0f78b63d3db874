// What was said in any transcript.

import { get } from "./api.js";
import { $, clock, h } from "./dom.js";
import { addressOf } from "./jobs.js";

const MOST = 100; // places shown

export async function openSearch(query) {
  $("query").value = query;
  document.title = `${query} · v2t`;
  const list = h("div", { class: "results" });
  const hint = h("p", { class: "hint", role: "status" }, "Searching…");
  $("main").replaceChildren(h("div", { class: "head" }, h("a", { class: "back", href: "#/" }, "All jobs"), h("h1", { tabindex: -1 }, `“${query}”`), hint), list);
  try {
    const { data, complete } = await get(`/v1/search?q=${encodeURIComponent(query)}&limit=${MOST}`);
    const found = data.length === 0 ? "Nobody said this." : data.length === 1 ? "1 place" : data.length < MOST ? `${data.length} places` : `The best ${MOST} places`;
    hint.textContent = complete ? found : `${found} Not all transcripts are read yet: search again in a minute.`;
    list.append(...byJob(data).map(ofJob));
  } catch (problem) {
    hint.textContent = problem.message;
  }
}

function byJob(places) {
  const jobs = new Map();
  for (const place of places) jobs.set(place.job, [...(jobs.get(place.job) ?? []), place]);
  return [...jobs.values()];
}

function ofJob(places) {
  const [{ job, title }] = places;
  return h("section", {}, h("h2", {}, h("a", { href: addressOf(job) }, title || job)), h("ul", {}, ...places.map(place)));
}

function place({ job, start, speaker, text, marks }) {
  const line = h("span", {});
  const letters = [...text]; // as the server counts them
  const part = (begin, end) => letters.slice(begin, end).join("");
  let from = 0;
  for (const [begin, end] of marks ?? []) {
    line.append(part(from, begin), h("mark", {}, part(begin, end)));
    from = end;
  }
  line.append(part(from));
  return h("li", {}, h("a", { href: `${addressOf(job)}?t=${start}` },
    h("span", { class: "hint" }, clock(start)), line, speaker ? h("span", { class: "hint said" }, speaker) : null));
}
