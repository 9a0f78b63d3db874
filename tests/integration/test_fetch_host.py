"""The processes of downloads and their limits: addresses, programs, time, memory, disk."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.harness import DATA
from tests.patience import PATIENCE
from tests.web import Web, web
from v2t_stream.errors import Reject, Retry
from v2t_stream.fetch.fetch_child import LINKS, Order
from v2t_stream.fetch.fetch_host import DEFAULT, FetchHost, Fetching, Patience
from v2t_stream.settings import Settings

AT_ONCE = Patience(unhurried=0.0)  # the first process starts
CLIP = (DATA / "5s.flac").read_bytes()


@pytest.fixture
def site() -> Iterator[Web]:
    with web(DATA) as site:
        yield site


class Elsewhere:
    """A server on all addresses of this machine. Links may reach it only through 127.0.0.1."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("", 0))
        self.port: int = self._socket.getsockname()[1]
        self.reached = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                self.reached += 1
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: audio/flac\r\nContent-Length: 6\r\n\r\nsecret")

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    server = Elsewhere()
    yield server
    server.close()


class House:
    """Fetches links, each into a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._hosts: list[FetchHost] = []

    def host(self, patience: Patience = DEFAULT, **settings: object) -> FetchHost:
        known = {"data_dir": str(self.folder), "node": "mac", "max_bytes": 50e6, "allow_addresses": "127.0.0.1"}
        self._hosts.append(FetchHost(Settings(**{**known, **settings}), patience))  # type: ignore[arg-type]
        return self._hosts[-1]

    async def fetch(self, url: str, patience: Patience = DEFAULT, **settings: object) -> bytes:
        """What the link gives."""
        async with self.host(patience, **settings).fetching(url, self.folder) as one:
            await run(one)
            return one.media.path.read_bytes() if not one.listing else b""

    async def turn(self, host: FetchHost, url: str) -> tuple[int, bytes]:
        """The process that fetched a link, and what it gave."""
        async with host.fetching(url, Path(tempfile.mkdtemp(dir=self.folder))) as one:
            await run(one)
            return one._process.pid, one.media.path.read_bytes() if not one.listing else b""

    async def close(self) -> None:
        for host in self._hosts:
            await host.close()


async def run(one: Fetching) -> None:
    async for _ in one.look():
        pass
    if not one.listing:
        async for _ in one.download():
            pass


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Process]:
    """The processes that were started, in turn."""
    processes = []
    start = asyncio.create_subprocess_exec

    async def noted(*arguments: Any, **options: Any) -> Process:
        processes.append(await start(*arguments, **options))
        return processes[-1]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", noted)
    return processes


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    house = House(tmp_path)
    yield house
    await house.close()


@pytest.mark.parametrize("path", ["5s.flac", "redirect?to=/5s.flac", "talk", "hls?to=/5s.flac", "dash?to=/5s.flac"])
async def test_what_is_there_is_had(path: str, site: Web, house: House) -> None:
    """The guard blocks what it should let through."""
    assert await house.fetch(f"{site.url}/{path}") == CLIP


WAYS = {
    "link": "http://127.0.0.2:PORT/talk.flac",
    "number": "http://2130706434:PORT/talk.flac",
    "octal": "http://0177.0.0.2:PORT/talk.flac",
    "short": "http://127.2:PORT/talk.flac",
    "nothing": "http://0:PORT/talk.flac",
    "mapped": "http://[::ffff:127.0.0.2]:PORT/talk.flac",
    **{
        kind: f"SITE/{kind}?to=http://127.0.0.2:PORT/talk.flac"
        for kind in ("redirect", "plays", "hls", "master", "locks", "dash")
    },
    "redirect in a manifest": "SITE/hls?to=SITE/redirect%3Fto=http://127.0.0.2:PORT/talk.flac",
}


@pytest.mark.parametrize("way", WAYS)
async def test_no_way_leads_to_an_address_that_is_not_public(
    way: str, site: Web, elsewhere: Elsewhere, house: House
) -> None:
    """Any submitter can read the router's page, or a cloud's keys, in a transcript or an error."""
    url = WAYS[way].replace("SITE", site.url).replace("PORT", str(elsewhere.port))
    with pytest.raises(Reject, match=r"leads to .*, which is not a public address: .*V2T_ALLOW_ADDRESSES") as caught:
        await house.fetch(url)
    assert url in str(caught.value)
    assert "secret" not in str(caught.value)
    assert not elsewhere.reached


async def test_an_address_that_is_allowed_is_reached(elsewhere: Elsewhere, house: House) -> None:
    """A NAS at home cannot be read, although its address is allowed."""
    url = f"http://127.0.0.2:{elsewhere.port}/talk.flac"
    assert await house.fetch(url, allow_addresses="127.0.0.0/8") == b"secret"


async def test_a_name_that_resolves_otherwise_the_second_time_is_refused_then(
    site: Web, elsewhere: Elsewhere, house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attacker's name server gives a public address for the check and a private one for the connection."""
    (tmp_path / "sitecustomize.py").write_text(
        "import socket\n"
        "resolve, asked = socket.getaddrinfo, []\n"
        "def answer(host, *arguments, **more):\n"
        "    if host != 'rebinds.example':\n"
        "        return resolve(host, *arguments, **more)\n"
        "    asked.append(host)\n"
        "    return resolve('127.0.0.1' if len(asked) < 2 else '127.0.0.2', *arguments, **more)\n"
        "socket.getaddrinfo = answer\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    url = f"http://rebinds.example:{site.url.rpartition(':')[2]}/5s.flac"
    with pytest.raises(Reject, match=r"leads to 127\.0\.0\.2, which is not a public address"):
        await house.fetch(url)
    assert site.asked["/5s.flac"]  # it was connected to before


async def test_a_proxy_of_the_operators_is_used(site: Web, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a proxy in the local network, nothing can be downloaded."""
    monkeypatch.setenv("http_proxy", site.url)
    monkeypatch.delenv("no_proxy", raising=False)
    assert await house.fetch("http://127.0.0.9:1/recovers/200/5s.flac", allow_addresses="") == b"later"
    assert site.asked


@pytest.mark.parametrize("page", ["endless", "bomb"])
async def test_a_page_without_end_costs_its_process_alone(page: str, site: Web, house: House) -> None:
    """One link takes all memory of a machine."""
    with pytest.raises(Reject, match=rf"^{site.url}/{page} takes too much memory to read"):
        await house.fetch(f"{site.url}/{page}")


async def test_a_download_that_takes_too_long_is_given_up(site: Web, house: House) -> None:
    """A server that sends a byte now and then holds a slot for ever."""
    with pytest.raises(Reject, match=r"longer to download than the 0\.000277778 hours allowed: raise V2T_MAX_DOWNLOAD"):
        await house.fetch(f"{site.url}/drips/5s.flac", max_download_time=1)


@pytest.mark.parametrize(
    ("patience", "path", "says"),
    [
        (Patience(slow=1.0), "drips/5s.flac", "has sent next to nothing for .* minutes: try again later"),
        (Patience(looking=1.0), "endless", "did not show within .* minutes what it leads to"),
    ],
)
async def test_a_server_that_takes_its_time_is_left(
    patience: Patience, path: str, says: str, *, site: Web, house: House
) -> None:
    """The same, but over hours instead of minutes."""
    with pytest.raises(Retry, match=says):
        await house.fetch(f"{site.url}/{path}", patience)


async def test_one_whose_process_dies_is_tried_again(site: Web, house: House) -> None:
    """A crash in yt-dlp leaves a job that never ends."""
    async with house.host().fetching(f"{site.url}/drips/5s.flac", house.folder) as one:
        running = asyncio.create_task(run(one))
        while not site.asked:
            await asyncio.sleep(0.05)
        os.kill(one._process.pid, signal.SIGKILL)
        with pytest.raises(Retry, match="could not be downloaded: its process ended with code -9"):
            await running


async def test_a_download_that_nobody_waits_for_ends(site: Web, house: House) -> None:
    """A cancelled job keeps filling the disk."""
    async with house.host(max_bytes=4e9).fetching(f"{site.url}/declares/{2 * 1024**3}.mp4", house.folder) as one:
        async for _ in one.look():
            pass
        async for step in one.download():
            if step.received > 1e6:
                assert step.expected == 2 * 1024**3
                break
        pid = one._process.pid
    assert not is_alive(pid)


async def test_those_at_once_have_a_process_each_and_one_stays(site: Web, house: House) -> None:
    """One of two downloads gets the other's file, or each keeps its own yt-dlp in memory."""
    host = house.host()
    before, _ = await house.turn(host, f"{site.url}/5s.flac")
    names = ("5s.flac", "20s-1.flac", "20s-2.flac")
    turns = await asyncio.gather(*(house.turn(host, f"{site.url}/{name}") for name in names))
    assert [given for _, given in turns] == [(DATA / name).read_bytes() for name in names]
    pids = {pid for pid, _ in turns}
    assert len(pids) == 3
    assert before in pids
    assert sum(map(is_alive, pids)) == 1


async def test_links_in_turn_share_a_process(site: Web, house: House) -> None:
    """A thousand links cost the engine a core for twenty minutes, or a link gets what the one before left."""
    host = house.host()
    first, given = await house.turn(host, f"{site.url}/5s.flac")
    assert given == CLIP
    with pytest.raises(Reject, match="does not exist"):
        await house.turn(host, f"{site.url}/status/404")
    assert await house.turn(host, f"{site.url}/list") == (first, b"")
    assert await house.turn(host, f"{site.url}/hls?to=/5s.flac") == (first, CLIP)
    assert await house.turn(host, f"{site.url}/20s-1.flac") == (first, (DATA / "20s-1.flac").read_bytes())


@pytest.mark.parametrize("how", ["cancelled", "late"])
async def test_a_process_whose_link_was_given_up_gets_no_other(how: str, site: Web, house: House) -> None:
    """The next link waits for the server of a link that nobody wants any more."""
    host, slow = house.host(Patience(slow=2.0) if how == "late" else DEFAULT), f"{site.url}/drips/5s.flac"
    first, _ = await house.turn(host, f"{site.url}/5s.flac")
    if how == "late":
        with pytest.raises(Retry, match="has sent next to nothing"):
            await house.turn(host, slow)
    else:
        turn = asyncio.create_task(house.turn(host, slow))
        while not site.asked["/drips/5s.flac"]:
            await asyncio.sleep(0.05)
        turn.cancel()
        with pytest.raises(asyncio.CancelledError):
            await turn
    assert not is_alive(first)
    second, given = await house.turn(host, f"{site.url}/5s.flac")
    assert second != first
    assert given == CLIP


@pytest.mark.parametrize("is_known", [True, False])
async def test_a_process_that_dies_between_two_links_is_replaced(
    *, is_known: bool, site: Web, house: House, started: list[Process]
) -> None:
    """The machine is short of memory for a moment, and a link fails because of it hours later."""
    host = house.host()
    await house.turn(host, f"{site.url}/5s.flac")
    os.kill(started[0].pid, signal.SIGKILL)
    if is_known:
        await started[0].wait()
    assert await house.turn(host, f"{site.url}/5s.flac") == (started[1].pid, CLIP)


async def test_a_process_ends_after_so_many_links(site: Web, house: House) -> None:
    """What yt-dlp leaks at each link fills a machine that runs for months."""
    host = house.host()
    first, _ = await house.turn(host, f"{site.url}/5s.flac")
    for _ in range(LINKS - 2):
        with pytest.raises(Reject, match="does not exist"):
            await house.turn(host, f"{site.url}/status/404")
    assert await house.turn(host, f"{site.url}/5s.flac") == (first, CLIP)
    assert not is_alive(first)
    second, given = await house.turn(host, f"{site.url}/5s.flac")
    assert second != first
    assert given == CLIP


async def test_a_process_with_a_thread_left_gets_no_other_link(
    site: Web, house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link's leftover thread may use the next link's addresses, and counts towards its bytes."""
    (tmp_path / "sitecustomize.py").write_text(
        "import threading, time; threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    host = house.host()
    first, given = await house.turn(host, f"{site.url}/5s.flac")
    assert given == CLIP
    assert not is_alive(first)
    second, given = await house.turn(host, f"{site.url}/5s.flac")
    assert second != first
    assert given == CLIP


async def test_a_link_that_is_refused_is_named_and_not_the_one_before(
    site: Web, elsewhere: Elsewhere, house: House
) -> None:
    """A user with a good link reads that it leads into the local network."""
    host, bad = house.host(), f"{site.url}/redirect?to=http://127.0.0.2:{elsewhere.port}/talk.flac"
    first, _ = await house.turn(host, f"{site.url}/5s.flac")
    with pytest.raises(Reject, match="not a public address") as caught:
        await house.turn(host, bad)
    assert str(caught.value).startswith(f"{bad} leads to 127.0.0.2, ")
    assert await house.turn(host, f"{site.url}/5s.flac") == (first, CLIP)


async def test_a_link_that_is_cancelled_while_its_process_starts_leaves_none(
    site: Web, house: House, started: list[Process]
) -> None:
    """Each cancelled job leaves a process in memory that nobody ends."""
    host = house.host()
    for steps in range(8):
        turn = asyncio.create_task(house.turn(host, f"{site.url}/5s.flac"))
        for _ in range(steps):
            await asyncio.sleep(0)
        turn.cancel()
        with pytest.raises(asyncio.CancelledError):
            await turn
    assert started
    assert not any(is_alive(process.pid) for process in started)


@pytest.mark.parametrize("when", ["being started", "idle", "at work"])
async def test_no_process_outlives_its_host(when: str, site: Web, house: House, started: list[Process]) -> None:
    """A stage that is stopped leaves yt-dlp in memory."""
    host = house.host(AT_ONCE if when == "being started" else DEFAULT)
    if when == "being started":
        while not host._idle:
            await asyncio.sleep(0)
        await host.close()
    elif when == "idle":
        await house.turn(host, f"{site.url}/5s.flac")
        await host.close()
    else:
        async with host.fetching(f"{site.url}/5s.flac", house.folder) as one:
            await host.close()
            await run(one)
    assert len(started) == 1
    assert not is_alive(started[0].pid)


async def test_a_download_that_finds_no_room_does_not_begin(
    site: Web, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fills to the last byte before anyone notices that the file does not fit."""
    free = shutil.disk_usage(house.folder).free
    if free > 1 << 42:
        pytest.skip("no file is larger than this disk")
    with pytest.raises(Retry, match="the disk of mac is full"):
        await house.fetch(f"{site.url}/declares/{2 * free}.mp4", max_bytes=4 * free)
    assert site.sent < 32e6  # what the sockets' buffers take


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_the_process_has_none_of_our_secrets(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flaw in one of a thousand extractors also exposes the store and the paid services."""
    monkeypatch.setenv("MINIO_SECRET_KEY", "a-secret")
    monkeypatch.setenv("OPENAI_API_KEY", "a-secret")
    host = house.host(minio_secret_key="a-secret", nats_url="nats://u:a-secret@h")  # noqa: S106  none
    async with host.fetching("http://127.0.0.1:9/", house.folder) as one:
        assert b"a-secret" not in Path(f"/proc/{one._process.pid}/environ").read_bytes()
        assert "a-secret" not in repr(one._order)
        assert one._order.settings.nats_url == one._order.settings.minio_secret_key == ""


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    """Each crash of a stage leaves a running download."""
    script = (
        "import asyncio, sys; from v2t_stream.fetch.fetch_host import _started\n"
        "async def main():\n"
        "    process = await _started(); print(process.pid, flush=True); await asyncio.sleep(60)\n"
        "asyncio.run(main())"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        parent.kill()
    while is_alive(pid):
        pass


def test_it_ends_quietly_if_nobody_reads_its_answer(tmp_path: Path) -> None:
    """Each crash of a stage leaves a truncated traceback in its log that looks like our bug."""
    order = Order(url="http://127.0.0.1:9/", folder=str(tmp_path), settings=Settings(allow_addresses="127.0.0.1"))
    process = subprocess.Popen(
        [sys.executable, "-m", "v2t_stream.fetch.fetch_child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        process.stdin.write(msgspec.json.encode(order) + b"\n")  # and it stays open: one end may close before the other
        process.stdin.flush()
        assert process.stderr.read() == b""
        assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize(
    ("attempt", "says"),
    [
        (
            "import subprocess; subprocess.run(['ffmpeg'])",
            "PermissionError: a download may not start programs: 'ffmpeg'",
        ),
        ("import os; os.system('true')", "PermissionError: a download may not start programs"),
        ("import os; os.execv('/bin/true', ['true'])", "PermissionError: a download may not start programs"),
        ("import socket; socket.socket().connect(('localhost', 9))", "Reject: a link leads to localhost"),
        ("import socket; socket.socket(socket.AF_UNIX).connect('/run/docker.sock')", "leads to /run/docker.sock"),
        ("import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'', ('127.0.0.1', 9))", "leads to 127.0.0.1"),
        ("import subprocess; subprocess.run(['deno', '--version'], check=True); raise KeyError", "KeyError"),
    ],
)
def test_what_a_process_that_is_guarded_cannot_do(attempt: str, says: str) -> None:
    """An installed program follows whatever a playlist names, which the guard should prevent."""
    code = f"from v2t_stream.fetch.guard import Guard; Guard().turn_to('a link', ''); {attempt}"
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert says in done.stderr.splitlines()[-1]


async def test_the_first_process_comes_when_it_is_wanted_or_when_it_is_quiet(
    site: Web, house: House, started: list[Process]
) -> None:
    """Every start of a machine loads yt-dlp together with the engine, or the first link of the day waits for it."""
    host = house.host()
    await asyncio.sleep(0)  # so that a task of its has run
    assert not started
    async with host.fetching(f"{site.url}/5s.flac", house.folder):
        assert len(started) == 1
    host = house.host(AT_ONCE)
    async with asyncio.timeout(PATIENCE):
        while len(started) < 2:
            await asyncio.sleep(0.01)
    assert await house.turn(host, f"{site.url}/5s.flac") == (started[1].pid, CLIP)
