// Where the words of a segment are in its text, and when.

// The place of each word, and until when it counts as the one that is played.
export function spans(item) {
  if (item.spans) return item.spans;
  let from = 0;
  item.spans = [];
  for (const word of item.words ?? []) {
    const text = word.text.trim();
    const at = item.text.indexOf(text, from);
    if (at < 0 || !text) continue;
    from = at + text.length;
    item.spans.push({ start: word.start, from: at, to: from, next: item.end });
  }
  for (let n = 1; n < item.spans.length; n += 1) item.spans[n - 1].next = item.spans[n].start;
  return item.spans;
}

export function wordAt(item, seconds) {
  return spans(item).find((each) => each.start <= seconds && seconds < each.next);
}

// When the word at a place in the text is said.
export function timeAt(item, offset) {
  const before = spans(item).filter((each) => each.from <= offset);
  return before.length ? before[before.length - 1].start : item.start;
}

// The place in the text of `body` where somebody clicked; null outside of it.
export function offsetAt(event, body) {
  const at = document.caretPositionFromPoint?.(event.clientX, event.clientY);
  const [node, offset] = at
    ? [at.offsetNode, at.offset]
    : ((spot) => [spot?.startContainer, spot?.startOffset])(document.caretRangeFromPoint?.(event.clientX, event.clientY));
  return node && body.contains(node) ? offset : null;
}

export function range(body, from, to) {
  const made = document.createRange();
  made.setStart(body.firstChild, from);
  made.setEnd(body.firstChild, to);
  return made;
}

// A highlight marks words without changing the document; null where the browser has none, and then segments are marked.
export function highlight(name) {
  if (!globalThis.CSS?.highlights) return null;
  const made = new Highlight();
  CSS.highlights.set(name, made);
  return made;
}
