// Prepares the page before textual.js, which sets window.onload, opens the terminal in it.
"use strict";

const COLUMNS = 80;
const COLUMN = 0.6; // width of a character of Roboto Mono, by its size
const SIZES = [11, 16]; // pixels

const terminal = document.getElementById("terminal");
const begin = window.onload;
const openWindow = window.open;

function size() {
  const wanted = Number(new URLSearchParams(location.search).get("fontsize"));
  const fitting = Math.floor(innerWidth / (COLUMNS * COLUMN));
  return wanted || Math.min(SIZES[1], Math.max(SIZES[0], fitting));
}

function focus() {
  document.querySelector(".xterm-helper-textarea")?.focus();
}

// The monitor tells the colours of its theme by opening a link to #theme=BACKGROUND,FOREGROUND.
window.open = (url, ...more) => {
  const [, back, fore] = /^#theme=([0-9a-f]{6}),([0-9a-f]{6})$/.exec(url) ?? [];
  if (!back) return openWindow(url, ...more);
  document.documentElement.style.setProperty("--back", `#${back}`);
  document.documentElement.style.setProperty("--fore", `#${fore}`);
  document.querySelector("meta[name=theme-color]").content = `#${back}`;
  return null;
};

window.onload = async () => {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  terminal.dataset.sessionWebsocketUrl = `${scheme}://${location.host}/ws`;
  terminal.dataset.fontSize = size();
  // The terminal measures a character once, so its font must be there.
  await Promise.allSettled(["", "bold ", "italic "].map((style) => document.fonts.load(`${style}16px "Roboto Mono"`)));
  begin();
  focus();
};
window.addEventListener("focus", focus);
document.addEventListener("click", focus);
document.querySelector("#closed button").addEventListener("click", () => location.reload());
