// Correcting a segment where it stands: Enter stores it, Escape leaves it as it was.

import { clock, h, show } from "./dom.js";

// `store(text)` returns the segment as it is now, or null if it is gone; `done(now)` is called with that.
export function edit(item, store, done) {
  const { body } = item;
  const error = h("p", { class: "error", role: "alert", hidden: true });
  let isOver = false;

  const finish = () => {
    isOver = true;
    for (const name of ["contenteditable", "role", "aria-label"]) body.removeAttribute(name);
    body.removeEventListener("keydown", keys);
    body.removeEventListener("blur", save);
    error.remove();
    body.textContent = item.text;
  };
  const leave = () => {
    finish();
    item.row.querySelector(".time").focus({ preventScroll: true });
  };
  let isStoring = false;
  const save = async () => {
    if (isOver || isStoring) return;
    const hadFocus = document.activeElement === body;
    const text = body.textContent.replace(/\s+/g, " ").trim();
    if (text === item.text) {
      if (hadFocus) leave();
      else finish();
      return;
    }
    isStoring = true;
    try {
      const now = await store(text);
      Object.assign(item, now ?? { text: "" }, { words: now?.words ?? [], spans: null, doubt: undefined });
      if (document.activeElement === body) leave();
      else finish();
      done(now);
    } catch (problem) {
      show(error, problem.message);
    } finally {
      isStoring = false;
    }
  };
  const keys = (event) => {
    event.stopPropagation();
    if (event.isComposing) return; // Enter chooses a word in some scripts
    if (event.key === "Enter") { event.preventDefault(); save(); }
    if (event.key === "Escape") { event.preventDefault(); leave(); }
  };

  getSelection().removeAllRanges();
  body.setAttribute("contenteditable", "plaintext-only");
  if (!body.isContentEditable) body.setAttribute("contenteditable", "true");
  body.setAttribute("role", "textbox");
  body.setAttribute("aria-label", `Correct the segment at ${clock(item.start)}; Enter stores it, Escape leaves it`);
  item.row.append(error);
  body.addEventListener("keydown", keys);
  body.addEventListener("blur", save);
  body.focus();
}
