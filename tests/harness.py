"""What the integration and acceptance tests run on: a real nats-server, real stage processes, a real HTTP server."""

import asyncio
import contextlib
import fnmatch
import functools
import http.server
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec
import pytest
from minio import Minio

from schemas.requests import SubmitRequest
from tests.patience import PATIENCE
from tests.simulated import install
from v2t_stream.broker.connect import connect
from v2t_stream.broker.connection import Connection
from v2t_stream.broker.embedded import server_path
from v2t_stream.fleet.presence import fleet
from v2t_stream.jobs.following import states
from v2t_stream.jobs.state import Job
from v2t_stream.jobs.submission import store_file, submit
from v2t_stream.runtime.set_up import set_up
from v2t_stream.settings import Settings
from v2t_stream.store.jetstream_store import JetStreamStore
from v2t_stream.topology.stages import STAGES

DATA = Path(__file__).parent / "data"
_CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "v2t-stream" / "bin"


class _Daemon:
    """A server's process that a test can break and repair."""

    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        raise NotImplementedError

    def kill(self) -> None:
        """Like a power cut."""
        assert self._process
        self._process.kill()
        self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        assert self._process
        self._process.send_signal(number)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """While the block runs, it accepts connections but answers nothing."""
        assert self._process
        with frozen(self._process.pid):
            yield

    def stop(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.terminate()
            self._process.wait()

    def revive(self) -> None:
        """Start it if it is not running."""
        if self._process is None or self._process.poll() is not None:
            self.start()


class Server(_Daemon):
    """A nats-server on a free loopback port, which it keeps across restarts."""

    def __init__(self, folder: Path, extra: str = "", *, jetstream: bool = True) -> None:
        self.folder = folder
        if jetstream:
            extra = f"jetstream {{ store_dir: {json.dumps(str(folder))}, sync_interval: always }}\n{extra}"
        self.port = -1
        self._extra = extra

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen([server_path(), *self._arguments()], cwd=self.folder)
        ports = self.folder / f"nats-server_{self._process.pid}.ports"
        give_up = time.monotonic() + PATIENCE
        while time.monotonic() < give_up:
            with contextlib.suppress(OSError, ValueError, LookupError):
                self.port = int(json.loads(ports.read_text())["nats"][0].rpartition(":")[2])
                return
            assert self._process.poll() is None, (self.folder / "server.log").read_text()
            time.sleep(0.01)
        raise TimeoutError(f"the server in {self.folder} does not start")

    def _arguments(self) -> list[str]:
        config = self.folder / "server.conf"
        config.write_text(
            f"listen: 127.0.0.1:{self.port}\nports_file_dir: {json.dumps(str(self.folder))}\n"
            f"log_file: {json.dumps(str(self.folder / 'server.log'))}\n"
            f"{self._extra}\n"
        )
        return ["-c", str(config)]


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Stop one of our children while the block runs, then let it go on."""
    os.kill(pid, signal.SIGSTOP)
    os.waitpid(pid, os.WUNTRACED)  # until it has stopped
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


class S3Server(_Daemon):
    """An S3 server on a free loopback port, which it keeps across restarts.

    `tells`: the URL of the broker to which it announces uploads, with a user if that has users. `authority`: the file
    with the certificate of the broker's authority, if it has TLS.
    """

    PROGRAM: ClassVar[str]
    HEALTH: ClassVar[str] = "/minio/health/ready"

    def __init__(self, folder: Path, tells: str = "", *, authority: str = "") -> None:
        self.folder = folder
        self.access_key = secrets.token_hex(8)
        self.secret_key = secrets.token_hex(16)
        self.port = free_ports()
        self._path = program(self.PROGRAM)
        self.tells = tells
        self._authority = authority

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables that one of our processes needs to use it."""
        return {
            "MINIO_ENDPOINT": self.endpoint,
            "MINIO_ACCESS_KEY": self.access_key,
            "MINIO_SECRET_KEY": self.secret_key,
        }

    def settings(self, **more: str) -> Settings:
        return Settings.from_environment({**self.environment, **more})

    def client(self) -> Minio:
        """MinIO's own."""
        return Minio(endpoint=self.endpoint, access_key=self.access_key, secret_key=self.secret_key, secure=False)

    def start(self) -> None:
        for name in ("queue", "data", "meta", "versions"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        others = {name: value for name, value in os.environ.items() if not name.startswith(("MINIO_", "VGW_"))}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._path, *self._arguments()], env=others | self._environment(), stdout=log, stderr=log
            )
        give_up = time.monotonic() + PATIENCE
        while time.monotonic() < give_up:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{self.endpoint}{self.HEALTH}"):
                return
            assert self._process.poll() is None, self._log.read_text()
            time.sleep(0.02)
        raise TimeoutError(self._log.read_text())

    @property
    def _log(self) -> Path:
        return self.folder / "s3.log"

    def _arguments(self) -> list[str]:
        raise NotImplementedError

    def _environment(self) -> dict[str, str]:
        raise NotImplementedError


class VersityServer(S3Server):
    """The Versity gateway on a folder. It announces all buckets or none, and has no lifecycle rules."""

    PROGRAM = "versitygw"

    def _arguments(self) -> list[str]:
        arguments = ["--port", self.endpoint, "--health", self.HEALTH, "--keep-alive", "--quiet"]
        if self.tells:
            arguments += ["--event-nats-url", self.tells, "--event-nats-topic", "v2t.bucket"]
        folders = [str(self.folder / name) for name in ("meta", "versions", "data")]
        return [*arguments, "posix", "--sidecar", folders[0], "--versioning-dir", folders[1], folders[2]]

    def _environment(self) -> dict[str, str]:
        trusted = {"SSL_CERT_FILE": self._authority} if self._authority else {}
        return {"ROOT_ACCESS_KEY": self.access_key, "ROOT_SECRET_KEY": self.secret_key, **trusted}


class MinioServer(S3Server):
    PROGRAM = "minio"

    def _arguments(self) -> list[str]:
        return ["server", "--quiet", "--address", self.endpoint, str(self.folder / "data")]

    def _environment(self) -> dict[str, str]:
        environment = {
            "MINIO_ROOT_USER": self.access_key,
            "MINIO_ROOT_PASSWORD": self.secret_key,
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
        }
        if self.tells:
            url = urlsplit(self.tells)
            told = {"ENABLE": "on", "SUBJECT": "v2t.bucket", "JETSTREAM": "on"}
            told |= {"ADDRESS": f"{url.hostname}:{url.port}", "USERNAME": url.username, "PASSWORD": url.password}
            told |= {"TLS": "on", "CERT_AUTHORITY": self._authority} if self._authority else {}
            for target in ("V2T", "V2TNOW"):
                environment |= {f"MINIO_NOTIFY_NATS_{name}_{target}": value for name, value in told.items() if value}
            environment["MINIO_NOTIFY_NATS_QUEUE_DIR_V2T"] = str(self.folder / "queue")
        return environment


def s3_server(folder: Path, tells: str = "", *, authority: str = "") -> S3Server:
    """The one of V2T_TEST_S3 (versitygw, minio), otherwise the first that is installed; skips the test without one."""
    wanted = os.environ.get("V2T_TEST_S3")
    kinds = [kind for kind in (VersityServer, MinioServer) if wanted in (None, "", kind.PROGRAM)]
    kind = next((kind for kind in kinds if _found(kind.PROGRAM)), kinds[0])
    return kind(folder, tells, authority=authority)


def program(name: str) -> str:
    """The executable of this name; skips the test if it is not installed."""
    get = "run .ci/gateway, which builds it once" if name == VersityServer.PROGRAM else "install it"
    return _found(name) or pytest.skip(f"this test needs {name}, which this machine does not have: {get}")


def _found(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path=str(_CACHE))


def free_ports(count: int = 1) -> int:
    """The first of `count` consecutive ports that nobody listens on."""
    for _ in range(100):
        first = random.randrange(20_000, 30_000)  # others look for ports too; connections use higher ones
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise OSError("no ports are free")


class Node:
    """The stage processes of one machine. A test can kill and start each of them."""

    def __init__(self, url: str, home: Path, **environment: str) -> None:
        self.home = home
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("V2T_")},
            "NATS_URL": url,
            "V2T_DATA_DIR": str(home),
            "V2T_MODEL": "demo",
            "V2T_ALLOW_ADDRESSES": "127.0.0.1",
            **environment,
        }
        self._stages: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *stages: str) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        for stage in stages:
            with (self.home / f"{stage}.log").open("ab") as log:
                self._stages[stage] = subprocess.Popen(
                    [sys.executable, "-m", "v2t_stream", "stage", stage], env=self._environment, stdout=log, stderr=log
                )

    def kill(self, stage: str) -> None:
        """Kill -9."""
        self._stages[stage].kill()
        self._stages[stage].wait()

    def signal(self, stage: str, number: signal.Signals) -> None:
        self._stages[stage].send_signal(number)

    def wait(self, stage: str) -> int:
        """The exit code."""
        return self._stages[stage].wait(PATIENCE)

    def pid(self, stage: str) -> int:
        return self._stages[stage].pid

    def has(self, stage: str) -> bool:
        """Whether it was ever started here."""
        return stage in self._stages

    def is_running(self, stage: str) -> bool:
        return self._stages[stage].poll() is None

    def revive(self) -> None:
        """Start what is not running, and continue what was stopped."""
        for stage, process in list(self._stages.items()):
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
            else:
                self.start(stage)

    def stop(self) -> None:
        for process in self._stages.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.send_signal(signal.SIGCONT)
        for process in self._stages.values():
            process.wait(PATIENCE)

    def log(self, stage: str) -> str:
        return (self.home / f"{stage}.log").read_text()


ALL_STAGES = tuple(row.name for row in STAGES)


def reference(clip: str) -> str:
    """What is said in a clip of tests/data."""
    sentences = json.loads((DATA / "references.json").read_text())[clip]
    return " ".join(sentence["text"] for sentence in sentences)


@contextlib.asynccontextmanager
async def broker(folder: Path, extra: str = "") -> AsyncGenerator[tuple[Server, Connection]]:
    """A server with our topology, and a connection to it."""
    server = Server(folder, extra)
    server.start()
    try:
        async with await connect(server.url, name="test", patience=PATIENCE) as connection:
            await set_up(connection, Settings())
            yield server, connection
    finally:
        server.stop()


@contextlib.contextmanager
def shared_broker(folder: Path) -> Iterator[Server]:
    """A server with our topology, for fixtures shared by many tests."""

    async def create() -> None:
        async with await connect(server.url, name="test", patience=PATIENCE) as connection:
            await set_up(connection, Settings())

    server = Server(folder)
    server.start()
    try:
        asyncio.run(create())
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def node(url: str, home: Path, *stages: str, **environment: str) -> Iterator[Node]:
    """A node with `stages` running; by default all."""
    machine = Node(url, home, **environment)
    try:
        machine.start(*(stages or ALL_STAGES))
        yield machine
    finally:
        machine.stop()


class Simulated(NamedTuple):
    server: Server
    machine: Node
    environment: dict[str, str]  # for more nodes like it


@contextlib.contextmanager
def simulated(folder: Path, *stages: str, **environment: str) -> Iterator[Simulated]:
    """A broker with our topology, and a node with an engine that takes no time."""
    environment = {**install(folder / "simulated"), "V2T_MODEL": "x1000", **environment}
    with shared_broker(folder / "nats") as server, node(server.url, folder / "home", *stages, **environment) as machine:
        yield Simulated(server, machine, environment)


async def alive(connection: Connection, stages: Sequence[str] = ALL_STAGES) -> None:
    """Wait until each of `stages` runs somewhere."""
    while not {*stages} <= {info.stage for info in await fleet(connection)}:
        await asyncio.sleep(0.1)


async def ended(connection: Connection, job_id: str, patience: float = PATIENCE) -> Job:
    """The job when it has ended."""
    async with asyncio.timeout(patience):
        async for job in states(connection, job_id):
            last = job
    return last


async def until(connection: Connection, job_id: str, what: Callable[[Job], bool]) -> Job:
    """The job when it is as `what` says."""
    async with asyncio.timeout(PATIENCE):
        async for job in states(connection, job_id):
            if what(job):
                return job
    raise AssertionError(f"it ended before: {job}")


async def transcribe(connection: Connection, request: SubmitRequest) -> tuple[Job, str]:
    """Submit, wait for the end, and fetch the text, which may be empty. Does the work even if it was done before."""
    job_id, _ = await submit(connection, msgspec.structs.replace(request, force=True))
    job = await ended(connection, job_id)
    if job.state != "completed":
        return job, ""
    text = await JetStreamStore(connection).get(f"transcripts/{job_id}/transcript.txt")
    return job, text.decode()


async def upload(connection: Connection, path: Path) -> str:
    """Put a file into the store as `v2t convert` does; returns its key."""
    return await store_file(JetStreamStore(connection), path)


async def set_ack_wait(connection: Connection, stream: str, durable: str, seconds: float) -> None:
    """The product's half a minute is too long for a test; or too short where nothing may come again because of it."""
    config = (await connection.api(f"CONSUMER.INFO.{stream}.{durable}"))["config"]
    config["ack_wait"] = int(seconds * 1e9)
    await connection.api(f"CONSUMER.CREATE.{stream}.{durable}", {"stream_name": stream, "config": config})


def bytes_in(folder: Path, pattern: str = "*") -> int:
    """The size of all files with such a name, while they and their folders come and go."""
    size = 0
    for path, _, names in os.walk(folder):  # unlike rglob, it survives a folder that vanishes
        for name in fnmatch.filter(names, pattern):
            with contextlib.suppress(OSError):
                size += (Path(path) / name).stat().st_size
    return size


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """The terminal is for pytest."""


@contextlib.contextmanager
def served(folder: Path, handler: type[http.server.SimpleHTTPRequestHandler] = _Quiet) -> Iterator[str]:
    """Serve a folder over HTTP on loopback; yields the URL without a slash at its end."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
