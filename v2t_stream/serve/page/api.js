// Requests to the server that served this page.

export class Problem extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

// What whoever is signed in may do; the server decides, and this only hides what it would refuse.
export const session = { role: "operator" };
export const mayChange = () => session.role !== "viewer";

let onLocked = () => {};
export const whenLocked = (call) => { onLocked = call; };

export async function ask(method, path, body, headers = {}) {
  const kind = body === undefined ? {} : { "Content-Type": "application/json" };
  let answer;
  try {
    answer = await fetch(path, { method, headers: { ...kind, ...headers }, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch {
    throw new Problem(0, "The server does not answer. Is it still running?");
  }
  if (answer.status === 401) onLocked();
  if (!answer.ok) throw problemOf(answer.status, await answer.text());
  return answer;
}

export const get = async (path) => (await ask("GET", path)).json();

function problemOf(status, text) {
  try {
    return new Problem(status, sentence(JSON.parse(text).error.message));
  } catch {
    return new Problem(status, `The server answered with status ${status}.`);
  }
}

export const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.?!]$/.test(text) ? "" : ".");

// The server's events until `close` is called. The browser connects again by itself, and says which event it saw last.
// A hidden page lets go of its connection, as a browser has six for all pages of a server; it hears all of it again when
// it is shown, so handlers take what they know already as calmly as what is new.
export function listen(path, handlers) {
  let source = null;
  const open = () => {
    source = new EventSource(path);
    for (const [name, handle] of Object.entries(handlers)) {
      if (name === "lost") source.onerror = () => handle(source.readyState === EventSource.CLOSED);
      else if (name === "open") source.onopen = handle;
      else source.addEventListener(name, (event) => handle(JSON.parse(event.data)));
    }
  };
  const look = () => {
    if (document.hidden) source.close();
    else if (source.readyState === EventSource.CLOSED) open();
  };
  open();
  document.addEventListener("visibilitychange", look);
  return {
    close() {
      document.removeEventListener("visibilitychange", look);
      source.close();
    },
  };
}

// Sends bytes; `progress(sent)` is called while they go, and when `signal` aborts they stop.
export function send(method, path, headers, body, { progress, signal }) {
  const request = new XMLHttpRequest(); // fetch does not say how much is sent
  return new Promise((resolve, reject) => {
    request.open(method, path);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => progress(event.loaded);
    request.onload = () => {
      if (request.status === 401) onLocked();
      if (request.status < 300) { resolve(request); return; }
      reject(problemOf(request.status, request.responseText));
    };
    request.onerror = () => reject(new Problem(0, "The connection broke."));
    request.onabort = () => reject(new Problem(0, ""));
    signal.addEventListener("abort", () => request.abort());
    if (signal.aborted) reject(new Problem(0, ""));
    else request.send(body);
  });
}
