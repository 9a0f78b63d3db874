// One file on its way, by the protocol tus 1.0.0 (tus.io): it goes on where a lost connection left it. Its job begins with
// the first bytes where a node can, so the first words are there before the last bytes are sent.

import { Problem, ask, send } from "./api.js";

const TUS = { "Tus-Resumable": "1.0.0" };
const [SOON, LATEST] = [1000, 30_000]; // milliseconds until the next try, at first and at most
const NOT_YET = 409; // no node can begin before all has come; or the bytes are not those that come next

export class Sending {
  // `progress(bytes)`, `lost()` and `begun(job)` are called while it is sent.
  constructor(file, options, calls) {
    Object.assign(this, { file, options, calls });
    this.stopping = new AbortController();
    this.job = null;
  }

  // Until all is sent and the job is begun. Throws a Problem, without a sentence if it was stopped.
  async run() {
    try {
      await this.create();
      if (!await this.submit()) {
        await this.sendAll();
        await this.submit(true);
      } else await this.sendAll();
    } catch (problem) {
      await this.tidy();
      throw this.stopping.signal.aborted ? new Problem(0, "") : problem;
    }
  }

  stop() {
    this.stopping.abort();
  }

  async create() {
    const name = btoa(String.fromCharCode(...new TextEncoder().encode(this.file.name)));
    const answer = await ask("POST", "/v1/uploads", undefined, { ...TUS, "Upload-Length": this.file.size, "Upload-Metadata": `filename ${name}` });
    this.path = new URL(answer.headers.get("Location"), location.href).pathname;
  }

  // Begin the job; returns whether it could begin. A mistake in the options shows before anything is sent.
  async submit(isAll = false) {
    try {
      this.job = await (await ask("POST", "/v1/jobs", { ...this.options, upload: this.path.split("/").pop() })).json();
    } catch (problem) {
      if (problem.status !== NOT_YET || isAll) throw problem;
      return false;
    }
    this.calls.begun(this.job);
    return true;
  }

  async sendAll() {
    let offset = 0;
    let wait = SOON;
    while (offset < this.file.size) {
      try {
        await this.sendFrom(offset);
        return;
      } catch (problem) {
        // A server that is busy or starts again has not refused the file.
        const isRefused = problem.status && problem.status < 500 && problem.status !== NOT_YET;
        if (this.stopping.signal.aborted || isRefused) throw problem;
      }
      this.calls.lost();
      await this.pause(wait);
      const reached = await this.reach();
      wait = reached > offset ? SOON : Math.min(LATEST, 2 * wait);
      offset = reached ?? offset;
    }
  }

  sendFrom(offset) {
    return send("PATCH", this.path, { ...TUS, "Content-Type": "application/offset+octet-stream", "Upload-Offset": offset },
      this.file.slice(offset), { progress: (bytes) => this.calls.progress(offset + bytes), signal: this.stopping.signal });
  }

  // How many bytes have come; undefined if nobody can say now.
  async reach() {
    try {
      return Number((await ask("HEAD", this.path, undefined, TUS)).headers.get("Upload-Offset"));
    } catch (problem) {
      if (problem.status && problem.status < 500) throw problem;
      return undefined;
    }
  }

  pause(milliseconds) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      const now = () => { clearTimeout(timer); resolve(); };
      addEventListener("online", now, { once: true });
      this.stopping.signal.addEventListener("abort", now);
    });
  }

  // Leave nothing behind of what will not be finished.
  async tidy() {
    const remove = this.job ? ["DELETE", `/v1/jobs/${encodeURIComponent(this.job.id)}`] : ["DELETE", this.path, undefined, TUS];
    if (this.path) await ask(...remove).catch(() => {});
  }
}
