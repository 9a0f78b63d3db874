// The transcript as a file, in any format and style of subtitles.

import { h } from "./dom.js";

const FORMATS = ["txt", "srt", "vtt", "md", "ass", "ttml", "tsv", "lrc", "json"];
const SHAPED = ["srt", "vtt", "ass", "ttml"];
const STYLES = ["plain", "broadcast", "social"];

export function exporting(path) {
  const format = h("select", { "aria-label": "Format" }, ...FORMATS.map((name) => h("option", {}, name)));
  const style = h("select", { "aria-label": "Style of subtitles", hidden: true }, ...STYLES.map((name) => h("option", {}, name)));
  const link = h("a", { class: "button", download: "" }, "Export");
  const update = () => {
    style.hidden = !SHAPED.includes(format.value);
    const shape = style.hidden || style.value === "plain" ? "" : `&style=${style.value}`;
    link.href = `${path}/transcript.${format.value}?download=true${shape}`;
  };
  format.addEventListener("change", update);
  style.addEventListener("change", update);
  update();
  return [format, style, link];
}
