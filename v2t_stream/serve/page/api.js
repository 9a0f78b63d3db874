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

export async function ask(method, path, body) {
  const headers = body === undefined ? {} : { "Content-Type": "application/json" };
  let answer;
  try {
    answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch {
    throw new Problem(0, "The server does not answer. Is it still running?");
  }
  if (answer.status === 401) onLocked();
  if (!answer.ok) throw await problemOf(answer);
  return answer;
}

export const get = async (path) => (await ask("GET", path)).json();

async function problemOf(answer) {
  try {
    return new Problem(answer.status, sentence((await answer.json()).error.message));
  } catch {
    return new Problem(answer.status, `The server answered with status ${answer.status}.`);
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

// Sends a form with a file; returns a promise of the answer and a function that gives up.
export function upload(path, form, progress) {
  const request = new XMLHttpRequest();
  const answered = new Promise((resolve, reject) => {
    request.open("POST", path);
    request.responseType = "json";
    request.upload.onprogress = (event) => progress(event.loaded, event.total);
    request.onload = () => {
      if (request.status === 401) onLocked();
      if (request.status < 300) resolve(request.response);
      else reject(new Problem(request.status, sentence(request.response?.error?.message ?? `Status ${request.status}`)));
    };
    request.onerror = () => reject(new Problem(0, "The connection broke. Send the file again."));
    request.onabort = () => reject(new Problem(0, ""));
    request.send(form);
  });
  return [answered, () => request.abort()];
}
