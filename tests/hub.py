"""A Hugging Face Hub on loopback, with what its client needs to fetch a model."""

import contextlib
import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.harness import served
from tests.patience import PATIENCE
from v2t_stream.demo import model_path

COMMIT = hashlib.sha1(b"a commit", usedforsecurity=False).hexdigest()
_LARGE = 1_000_000  # bytes; larger files are in git's large file storage, which knows their SHA-256

# The demo model, under the names of real ones.
_DEMO = {
    "Systran/faster-whisper-tiny": Path(model_path("faster-whisper")),
    "mine/tuned": Path(model_path("faster-whisper")),
}


class Hub:
    """Its files, its failures, and the requests it got."""

    url: str

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {
            repository: {path.name: path.read_bytes() for path in folder.iterdir()}
            for repository, folder in _DEMO.items()
        }
        self.files["ggerganov/whisper.cpp"] = {
            "ggml-tiny.bin": Path(model_path("whisper-cpp")).read_bytes(),
            "ggml-base.bin": b"another",
        }
        self.files["mine/empty"] = {"README.md": b"no model"}
        self.gets: list[tuple[str, int]] = []  # each file that was sent, and from which byte
        self.asked = 0
        self.stop_after: int | None = None  # bytes of a file after which nothing more comes
        self.stopped = threading.Event()  # that has happened
        self.damaged = 0  # how many large files to send with a wrong byte
        self.closing = threading.Event()

    def environment(self, folder: Path) -> dict[str, str]:
        """The variables for a machine with this hub, whose client keeps its files in `folder`."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(folder / "hf"),
            "XDG_DATA_HOME": str(folder / "xdg"),
            "HF_HUB_DOWNLOAD_TIMEOUT": str(int(PATIENCE)),  # otherwise a ten-second stall repeats it
        }

    def size(self, repository: str) -> int:
        return sum(map(len, self.files[repository].values()))


def no_hub(folder: Path) -> dict[str, str]:
    """The variables for a machine without internet."""
    return {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(folder / "hf"), "XDG_DATA_HOME": str(folder / "xdg")}


@contextlib.contextmanager
def hub() -> Iterator[Hub]:
    state = Hub()

    class Handler(_Handler):
        hub = state

    with served(Path(), Handler) as state.url:
        try:
            yield state
        finally:
            state.closing.set()


class _Handler(http.server.SimpleHTTPRequestHandler):
    hub: Hub

    def do_GET(self) -> None:
        self.hub.asked += 1
        path = self.path.partition("?")[0]
        with contextlib.suppress(ConnectionError):
            if about := re.fullmatch(r"/api/models/([^/]+/[^/]+?)(?:/tree/.*|/revision/.*)?", path):
                self._tell(about[1], is_tree="/tree/" in path)
            elif file := re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path):
                self._send(file[1], file[2])
            else:
                self._answer(404)

    do_HEAD = do_GET  # noqa: N815  # as the server calls it

    def _tell(self, repository: str, *, is_tree: bool) -> None:
        if repository not in self.hub.files:
            self._answer(401, {"X-Error-Code": "RepoNotFound"})
            return
        siblings, tree = [], []
        for name, data in self.hub.files[repository].items():
            sha256 = hashlib.sha256(data).hexdigest()
            blob = _git(data) if len(data) < _LARGE else _git(sha256.encode())
            lfs = {"sha256": sha256, "size": len(data), "pointerSize": 134} if len(data) >= _LARGE else None
            siblings.append({"rfilename": name, "size": len(data), "blobId": blob, "lfs": lfs})
            entry: dict[str, Any] = {"type": "file", "path": name, "size": len(data), "oid": blob}
            tree.append({**entry, "lfs": {**lfs, "oid": sha256}} if lfs else entry)
        about = {"id": repository, "sha": COMMIT, "siblings": siblings}
        self._answer(200, {"Content-Type": "application/json"}, json.dumps(tree if is_tree else about).encode())

    def _send(self, repository: str, name: str) -> None:
        data = self.hub.files[repository][name]
        sha256 = hashlib.sha256(data).hexdigest()
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{sha256 if len(data) >= _LARGE else _git(data)}"'}
        if self.command == "HEAD":
            self._answer(200, {**headers, "Content-Length": str(len(data))})
            return
        start = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        self.hub.gets.append((name, start))
        if self.hub.damaged and len(data) >= _LARGE:
            self.hub.damaged -= 1
            data = data[:-1] + bytes([data[-1] ^ 1])
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        stop = self.hub.stop_after
        if stop is None or len(data) <= stop:
            self._answer(206 if start else 200, headers, data[start:])
            return
        self._answer(206 if start else 200, {**headers, "Content-Length": str(len(data) - start)}, data[start:stop])
        self.hub.stopped.set()
        self.hub.closing.wait(PATIENCE)

    def _answer(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        self.send_response(status)
        for name, text in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, text)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)
            self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """The terminal is for pytest."""


def _git(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0%b" % (len(data), data), usedforsecurity=False).hexdigest()
