"""Ctrl-C and its siblings at any moment of a command: what it has started ends with it."""

import asyncio
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.test_cli import DEMO, Terminal, of_process
from tests.harness import DATA, Server, node, shared_broker
from tests.patience import PATIENCE
from v2t_stream.broker.connect import connect
from v2t_stream.runtime.stalls import unfinished
from v2t_stream.topology.streams import JOBS

# Seconds after our own code begins; on an idle machine: while modules load, at the connection, while a file is read and
# sent, and while its job waits.
MOMENTS = (0.0, 0.05, 0.2, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0)
SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A broker without nodes, so that every job waits."""
    with shared_broker(tmp_path_factory.mktemp("nats")) as server:
        yield server


def _catches_signals(pid: int) -> bool:
    """Whether our code runs: Python itself does nothing about SIGHUP."""
    found = re.search(rb"SigCgt:\s*([0-9a-f]+)", of_process(pid, "status"))
    return bool(found) and bool(int(found[1], 16) & 1 << (signal.SIGHUP - 1))


def _interrupted_after(process: subprocess.Popen[str], seconds: float, number: signal.Signals) -> tuple[int, str]:
    """The exit code and stderr of a command that got this signal so long after it began."""
    while not _catches_signals(process.pid):
        assert process.poll() is None
        time.sleep(0.002)
    time.sleep(seconds)
    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE)
    return process.returncode, err


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_nothing_is_left_of_a_command_that_is_interrupted_at_any_moment(server: Server, tmp_path: Path) -> None:
    """A user who stops a wrong command finds its job working on, or half a file in the store, or a traceback."""
    clip = tmp_path / "long.flac"
    clip.write_bytes((DATA / "20s-1.flac").read_bytes() * 50)
    terminal = Terminal(tmp_path / "home", server.url)
    said = ""
    for seconds, number in zip(MOMENTS, [*SIGNALS] * 3, strict=True):
        with terminal.start("convert", "--input", clip, *DEMO, "--output", tmp_path) as process:
            code, err = _interrupted_after(process, seconds, number)
        assert (code, "Traceback" in err) == (SIGNALS[number], False), (seconds, err)
        said += err
    assert re.search(r"^v2t: cancelled job \w+-\w+$", said, re.MULTILINE)
    asyncio.run(_check_nothing_left(server))


async def _check_nothing_left(server: Server) -> None:
    async with await connect(server.url, name="test", patience=PATIENCE) as connection:
        assert await unfinished(connection) == []
        assert await connection.subjects(JOBS, "v2t.job.*.cancelled")
        async with asyncio.timeout(PATIENCE):
            while await connection.subjects("OBJ_v2t_uploads", "$O.>"):
                await asyncio.sleep(0.05)


def test_a_link_whose_job_was_cancelled_can_be_submitted_again_at_once(server: Server, tmp_path: Path) -> None:
    """Whoever cancels a job and corrects an option gets the cancelled job for two minutes."""
    terminal = Terminal(tmp_path / "home", server.url)
    link = ("etl", "--url", "http://127.0.0.1/talk.mp3", *DEMO)
    with node(server.url, tmp_path / "node", "intake"):
        first = terminal.run(*link)[0].strip()
        again, err = terminal.run(*link)
        assert (again.strip(), "already submitted" in err) == (first, True)
        with terminal.start(*link, "--wait") as process:
            assert process.stderr
            while f"{first} http://127.0.0.1/talk.mp3 queued" not in process.stderr.readline():
                pass
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 130
        assert "cancelled" not in err  # it is another command's
        terminal.run("job", "cancel", first)
        second, err = terminal.run(*link)
    assert second.strip() != first
    assert err == ""
    assert terminal.run(*link)[0] == second
