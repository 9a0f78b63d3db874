"""A real HTTP server on loopback that plays a transcription service and records its requests."""

import contextlib
import email.parser
import email.policy
import http.server
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Asked:
    path: str
    headers: dict[str, str]
    fields: list[tuple[str, str]]
    files: dict[str, tuple[str, str, bytes]]  # by field: file name, type, bytes


@dataclass
class Answer:
    body: Any = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    hang: float = 0.0  # seconds before it answers


class Api:
    """Gives `answers` in turn, then repeats the last one."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[Asked] = []
        self.times: list[float] = []
        self.answers: list[Answer] = [Answer()]
        self.busy = self.most_busy = 0
        self.lock = threading.Lock()
        self.over = threading.Event()

    def next(self) -> Answer:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextlib.contextmanager
def remote_api() -> Iterator[Api]:
    api: Api

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with api.lock:
                api.asked.append(_read(self.path, dict(self.headers), body))
                api.times.append(time.monotonic())
                api.busy += 1
                api.most_busy = max(api.most_busy, api.busy)
                answer = api.next()
            api.over.wait(answer.hang)
            with api.lock:
                api.busy -= 1
            data = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            with contextlib.suppress(OSError):  # the client may have given up
                self.send_response(answer.status)
                for name, value in (answer.headers | {"Content-Length": str(len(data))}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """The terminal is for pytest."""

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """The client may hang up at any time."""

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    api = Api(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield api
    finally:
        api.over.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _read(path: str, headers: dict[str, str], body: bytes) -> Asked:
    head = f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    fields, files = [], {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        data = part.get_payload(decode=True)
        if file := part.get_filename():
            files[name] = (file, part.get_content_type(), data)
        else:
            fields.append((name, data.decode()))
    return Asked(path, headers, fields, files)
