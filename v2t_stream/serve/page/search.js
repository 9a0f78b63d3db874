// What was said in any transcript.

import { get } from "./api.js";
import { $, clock, h } from "./dom.js";

export async function openSearch(query) {
  $("query").value = query;
  document.title = `${query} · v2t`;
  const list = h("ol", { class: "results" });
  const hint = h("p", { class: "hint", role: "status" }, "Searching…");
  $("main").replaceChildren(h("div", { class: "head" }, h("a", { class: "back", href: "#/" }, "All jobs"), h("h1", { tabindex: -1 }, `“${query}”`), hint), list);
  try {
    const { data, complete } = await get(`/v1/search?q=${encodeURIComponent(query)}&limit=100`);
    const places = data.length === 1 ? "1 place" : `${data.length} places`;
    const all = data.length === 0 ? "Nobody said this." : places;
    hint.textContent = complete ? all : `${places} so far: some transcripts cannot be searched yet. Try again in a minute.`;
    list.append(...data.map(result));
  } catch (problem) {
    hint.textContent = problem.message;
  }
}

function result({ job, title, start, speaker, text, marks }) {
  const line = h("p", {});
  const letters = [...text]; // marks count characters, and a string of JavaScript counts some as two
  const slice = (begin, end) => letters.slice(begin, end).join("");
  let from = 0;
  for (const [begin, end] of marks) {
    line.append(slice(from, begin), h("mark", {}, slice(begin, end)));
    from = end;
  }
  line.append(slice(from));
  return h("li", {}, h("a", { href: `#/job/${encodeURIComponent(job)}?t=${start}` },
    h("span", { class: "title" }, title || job), h("span", { class: "hint" }, [clock(start), speaker].filter(Boolean).join(", ")), line));
}
