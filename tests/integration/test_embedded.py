"""The embedded broker and the supervised stages: real processes, ended in every order."""

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import pytest

from tests.builders import submitted
from tests.harness import ALL_STAGES
from tests.patience import PATIENCE
from v2t_stream.broker.connect import connect
from v2t_stream.broker.embedded import embedded_broker, find_running, is_passed_over
from v2t_stream.broker.locks import try_lock
from v2t_stream.broker.up import is_kept, kept
from v2t_stream.errors import BrokerError
from v2t_stream.runtime.supervisor import supervised
from v2t_stream.settings import Settings
from v2t_stream.topology.provision import apply
from v2t_stream.topology.streams import JOBS

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, or needs prctl")

USER = """
import asyncio, sys
from pathlib import Path
from v2t_stream.broker.embedded import embedded_broker

async def use():
    async with embedded_broker(Path(sys.argv[1])) as broker:
        print(broker.url, flush=True)
        if await asyncio.to_thread(sys.stdin.readline):
            print("failing", flush=True)
            raise ValueError

try:
    asyncio.run(use())
except ValueError:
    sys.exit(3)
"""


class User:
    """A process that uses the embedded broker until asked to leave, or killed."""

    def __init__(self, home: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", USER, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def url(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def say(self, word: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()

    def leave(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()

    def end(self) -> None:
        with contextlib.suppress(OSError):
            self.leave()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()


@pytest.fixture
def users() -> Iterator[Callable[[Path], User]]:
    all_users: list[User] = []

    def start(home: Path) -> User:
        all_users.append(User(home))
        return all_users[-1]

    yield start
    for user in all_users:
        user.end()


Found = TypeVar("Found")


def wait_until(condition: Callable[[], Found], what: str) -> Found:
    """What the condition gives when it holds."""
    give_up = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < give_up, what
        time.sleep(0.02)
    return found


def answers(url: str) -> bool:
    address = urlsplit(url)
    try:
        socket.create_connection((address.hostname, address.port), timeout=1).close()
    except OSError:
        return False
    return True


def remember(url: str, job: str) -> None:
    """Store a fact on the broker at `url`."""

    async def publish() -> None:
        async with await connect(url, name="test") as connection:
            await apply(connection, "NATS")
            assert await connection.publish(submitted(job))

    asyncio.run(publish())


def remembered(url: str) -> list[str]:
    async def read() -> list[str]:
        async with await connect(url, name="test") as connection:
            await apply(connection, "NATS")
            return sorted(subject.split(".")[2] for subject in await connection.subjects(JOBS, "v2t.job.>"))

    return asyncio.run(read())


# -- the broker


def test_a_second_command_uses_the_broker_of_the_first_which_waits_for_it(
    users: Callable[[Path], User], tmp_path: Path
) -> None:
    """Else two commands at once damage each other's files, or the first to end stops the other's broker."""
    first = users(tmp_path)
    url = first.url()
    second = users(tmp_path)
    assert second.url() == url
    first.leave()
    third = users(tmp_path)
    assert third.url() == url
    third.leave()
    assert third.process.wait(PATIENCE) == 0
    assert first.process.poll() is None
    remember(url, "late")
    second.leave()
    assert second.process.wait(PATIENCE) == 0
    assert first.process.wait(PATIENCE) == 0
    assert not answers(url)
    assert find_running(tmp_path) is None


def test_many_commands_started_at_once_share_one_broker(users: Callable[[Path], User], tmp_path: Path) -> None:
    """Else a script that runs several commands in parallel fails by luck."""
    assert len({user.url() for user in [users(tmp_path) for _ in range(5)]}) == 1


@linux
def test_a_killed_owner_takes_its_broker_with_it_and_the_data_stays(
    users: Callable[[Path], User], tmp_path: Path
) -> None:
    """Else a forgotten broker survives a crash, or the next start finds an empty list of jobs."""
    first = users(tmp_path)
    url = first.url()
    remember(url, "kept")
    server = int((tmp_path / "broker" / "pid").read_text())
    first.process.kill()
    again = users(tmp_path).url()  # at once, while the server may still be ending
    assert answers(again)
    wait_until(lambda: not Path(f"/proc/{server}").exists(), "the broker outlives its owner")
    assert remembered(again) == ["kept"]


@linux
def test_a_killed_broker_is_started_again_where_it_was(users: Callable[[Path], User], tmp_path: Path) -> None:
    """Else all stages and commands wait for ever for a broker that nobody restarts."""
    first = users(tmp_path)
    url = first.url()
    second = users(tmp_path)
    assert second.url() == url
    remember(url, "kept")
    killed = (tmp_path / "broker" / "pid").read_text()
    os.kill(int(killed), signal.SIGKILL)
    wait_until(lambda: (tmp_path / "broker" / "pid").read_text() not in ("", killed), "nobody starts it again")
    wait_until(lambda: answers(url), "it is somewhere else")
    assert remembered(url) == ["kept"]
    second.leave()
    first.leave()
    assert first.process.wait(PATIENCE) == 0
    assert not answers(url)


@linux
def test_a_command_that_fails_does_not_take_the_broker_from_others(
    users: Callable[[Path], User], tmp_path: Path
) -> None:
    """Else one bad link ends the work of every other command."""
    first = users(tmp_path)
    url = first.url()
    second = users(tmp_path)
    assert second.url() == url
    first.say("fail")
    assert first.process.stdout
    assert first.process.stdout.readline() == "failing\n"
    remember(url, "late")
    assert first.process.poll() is None
    second.leave()
    assert first.process.wait(PATIENCE) == 3
    assert not answers(url)


async def test_the_url_of_a_broker_that_is_gone_is_not_believed(tmp_path: Path) -> None:
    """Else after a crash every command fails until somebody deletes a file by hand."""
    (tmp_path / "broker").mkdir()
    (tmp_path / "broker" / "url").write_text("nats://127.0.0.1:1")
    async with embedded_broker(tmp_path) as broker:
        assert answers(broker.url)
        assert find_running(tmp_path) == broker.url


def test_the_files_of_a_killed_v2t_up_are_not_believed(tmp_path: Path) -> None:
    """Else every command speaks to a port where nobody listens, or leaves its job to nobody."""
    (tmp_path / "broker").mkdir()
    for name in ("owner.lock", "up.lock"):
        (tmp_path / "broker" / name).touch()
    (tmp_path / "broker" / "url").write_text("nats://127.0.0.1:1")
    assert find_running(tmp_path) is None
    assert not is_kept(tmp_path)


def test_one_v2t_up_keeps_a_home(tmp_path: Path) -> None:
    """Else a second one looks as if it worked, and only waits for the first to end."""
    with kept(tmp_path):
        assert is_kept(tmp_path)
        assert not is_kept(tmp_path / "other")
        refused = pytest.raises(BrokerError, match=f"v2t up already runs for {tmp_path}, and every command here")
        with refused, kept(tmp_path):
            pytest.fail("two keep it")
    assert not is_kept(tmp_path)


async def test_a_command_leaves_its_broker_to_a_v2t_up(users: Callable[[Path], User], tmp_path: Path) -> None:
    """Else a `v2t convert` that was there first stays in its terminal until `v2t up` ends."""
    first = users(tmp_path)
    url = await asyncio.to_thread(first.url)
    await asyncio.to_thread(remember, url, "kept")
    with kept(tmp_path):
        async with embedded_broker(tmp_path, stays=True) as broker:
            assert broker.url == url
            first.leave()
            assert await asyncio.to_thread(first.process.wait, PATIENCE) == 0
            await asyncio.to_thread(wait_until, lambda: answers(url), "v2t up does not start it again")
            assert await asyncio.to_thread(remembered, url) == ["kept"]
            assert find_running(tmp_path) == url
            assert is_passed_over(tmp_path, "nats://hub:4222")
            assert not is_passed_over(tmp_path, f"localhost:{urlsplit(url).port}")
            assert not is_passed_over(tmp_path, url)  # what `export NATS_URL="$(cat …/broker/url)"` makes of it


async def test_a_broker_that_is_just_ending_is_waited_for(tmp_path: Path) -> None:
    """Else a command that starts while another ends says that no broker answers."""
    folder = tmp_path / "broker"
    folder.mkdir()
    (folder / "url").write_text("nats://127.0.0.1:1")
    ending = (folder / "owner.lock").open("w")
    assert try_lock(ending.fileno())

    async def use() -> str:
        async with embedded_broker(tmp_path) as broker:
            return broker.url

    using = asyncio.create_task(use())
    assert not (await asyncio.wait({using}, timeout=0.3))[0]
    ending.close()
    assert await asyncio.wait_for(using, PATIENCE) != "nats://127.0.0.1:1"


async def test_a_directory_held_without_a_broker_gives_a_sentence(tmp_path: Path) -> None:
    """Else a hung process makes every command hang."""
    (tmp_path / "broker").mkdir()
    with (tmp_path / "broker" / "owner.lock").open("w") as held:
        assert try_lock(held.fileno())
        with pytest.raises(BrokerError, match="but no broker answers there"):
            async with embedded_broker(tmp_path, patience=0.2):
                pytest.fail("there is none")


async def test_a_broker_that_does_not_start_shows_its_log(tmp_path: Path) -> None:
    """Else a full or read-only disk looks like a hang."""
    (tmp_path / "broker").mkdir()
    (tmp_path / "broker" / "jetstream").write_text("a file where the server needs a directory")
    with pytest.raises(BrokerError, match=r"did not start: see .*nats-server\.log"):
        async with embedded_broker(tmp_path):
            pytest.fail("it started")


async def test_other_users_of_the_machine_are_refused(tmp_path: Path) -> None:
    """Else every user of the machine can read all transcripts, or run jobs on it, because a port has no owner."""
    async with embedded_broker(tmp_path) as broker:
        url = urlsplit(broker.url)
        assert url.password
        assert len(url.password) >= 32
        for stranger in ("", "v2t:@", "v2t:guess@", f"{url.password}@"):
            with pytest.raises(BrokerError, match="rejects the user"):
                await connect(f"nats://{stranger}127.0.0.1:{url.port}", name="stranger")
        secret = [path for path in tmp_path.rglob("*") if path.is_file() and url.password in _content(path)]
        assert {path.name for path in secret} == {"password", "url", "server.conf"}
        assert {path.stat().st_mode & 0o777 for path in secret} == {0o600}
        assert (tmp_path / "broker").stat().st_mode & 0o777 == 0o700
        listed = subprocess.run(["ps", "axww", "-o", "args"], check=True, capture_output=True, text=True).stdout
        assert url.password not in listed
    async with embedded_broker(tmp_path) as again:
        assert urlsplit(again.url).password == url.password  # other programs may know it


def _content(path: Path) -> str:
    return path.read_bytes().decode(errors="replace")


async def test_a_password_that_was_chosen_is_taken_and_kept_private(tmp_path: Path) -> None:
    """Else MinIO, which starts first, cannot know it, or a carelessly written password stays readable by all."""
    (tmp_path / "broker").mkdir()
    chosen = tmp_path / "broker" / "password"
    word = secrets.token_hex(8)
    chosen.write_text(f"{word}\n")
    chosen.chmod(0o644)
    async with embedded_broker(tmp_path) as broker:
        assert urlsplit(broker.url).password == word
        assert chosen.stat().st_mode & 0o777 == 0o600
    chosen.write_text("two words\n")
    with pytest.raises(BrokerError, match="holds no password: write letters and digits into it"):
        async with embedded_broker(tmp_path):
            pytest.fail("it started")


def test_two_homes_have_two_brokers(users: Callable[[Path], User], tmp_path: Path) -> None:
    """Else two users, or a test and the real thing, share their jobs."""
    one, other = users(tmp_path / "one").url(), users(tmp_path / "other").url()
    assert one != other
    remember(one, "mine")
    assert (remembered(one), remembered(other)) == (["mine"], [])


async def test_the_wished_port_is_taken_where_it_is_free(tmp_path: Path) -> None:
    """Else `nats sub` finds nothing at the usual place; or a second broker cannot start at all."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with embedded_broker(tmp_path / "one", port=port) as one:
        assert one.url.endswith(f"@127.0.0.1:{port}")
        async with embedded_broker(tmp_path / "two", port=port) as two:
            assert two.url != one.url
            assert answers(two.url)


# -- the stages


class Up:
    """`v2t up` and the processes below it."""

    def __init__(self, home: Path) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("V2T_", "NATS_"))}
        home.mkdir(parents=True, exist_ok=True)
        self._log = home / "up.log"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "v2t_stream", "up", "--port", "0"],
                env=environment | {"V2T_DATA_DIR": str(home), "V2T_MODEL": "demo"},
                stdout=log,
                stderr=log,
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def below(self) -> dict[str, int]:
        """The stages by name, and the server, with their process numbers."""
        found = {}
        for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
                name = "broker" if words[0].endswith("nats-server") else words[4] if "stage" in words else ""
                found[name] = int(pid)
        return found

    def wait_for_all(self) -> dict[str, int]:
        def all_run() -> dict[str, int]:
            found = self.below()
            return found if found.keys() == {*ALL_STAGES, "broker"} else {}

        return wait_until(all_run, "not all stages run")

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    running = Up(tmp_path)
    try:
        yield running
    finally:
        running.end()


@linux
def test_a_stage_that_dies_is_started_again(up: Up) -> None:
    """Else a crash at night ends all work until the morning."""
    before = up.wait_for_all()
    for stage in ("intake", "transcribe"):
        os.kill(before[stage], signal.SIGKILL)
    wait_until(lambda: "the stage intake ended with code -9" in up.log, "the death is not told")
    wait_until(lambda: all(up.below().get(stage) != before[stage] for stage in ("intake", "transcribe")), "they live")
    after = up.wait_for_all()
    assert {name for name in before if after[name] != before[name]} == {"intake", "transcribe"}
    up.process.terminate()
    assert up.process.wait(PATIENCE) == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in after.values())
    assert "Traceback" not in up.log


@linux
def test_up_stops_although_a_monitor_is_open(up: Up, users: Callable[[Path], User], tmp_path: Path) -> None:
    """Else Ctrl-C does nothing until the user guesses which window to close; or the monitor loses its broker."""
    up.wait_for_all()
    url = users(tmp_path).url()
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(PATIENCE) == 0
    assert "stopping: finishing current work, or handing it back; press Ctrl-C again to end at once" in up.log
    assert "uses this broker and goes on with it" in up.log
    wait_until(lambda: answers(url), "the monitor's broker is gone")


@linux
def test_nothing_outlives_a_killed_supervisor(up: Up) -> None:
    """Else a killed command leaves stages behind that keep taking work with old settings."""
    below = up.wait_for_all()
    wait_until(lambda: up.below() == below, "the stages do not stay")
    up.process.kill()
    wait_until(lambda: not any(_lives(pid) for pid in below.values()), "something outlives it")


def _lives(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_a_stage_that_cannot_start_is_logged_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Else a machine that is short of memory for a moment loses that stage for ever, and nobody knows."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-such-python"))
    settings = Settings(nats_url="nats://127.0.0.1:9", node="here")
    async with supervised(["intake"], settings, backoff=(0.01,)):
        async with asyncio.timeout(PATIENCE):
            while caplog.text.count("the stage intake could not be started") < 3:
                await asyncio.sleep(0.01)
