"""What ends a command: in its event loop, and before it has one."""

import asyncio
import contextlib
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tests.patience import PATIENCE
from v2t_stream.cli.loop import in_loop
from v2t_stream.cli.signals import stop_on_signals
from v2t_stream.errors import BrokerError
from v2t_stream.host import signals


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_each_signal_lets_a_command_clean_up_and_gives_its_exit_code(number: int, code: int) -> None:
    """Else a closed terminal or a stopped service leaves a job behind that the next command waits for."""
    cleaned = []

    async def command() -> None:
        try:
            os.kill(os.getpid(), number)
            await asyncio.sleep(PATIENCE)
        except asyncio.CancelledError:
            await asyncio.sleep(0)  # it may still talk to the broker
            cleaned.append(True)
            raise

    before = signal.getsignal(number)
    with pytest.raises(click.exceptions.Exit) as ended:
        in_loop(command())
    assert (ended.value.exit_code, cleaned) == (code, [True])
    assert signal.getsignal(number) is before


def test_what_goes_wrong_while_it_ends_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Else a script takes an interrupted command for one that failed; or the reason is lost."""

    async def command() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(PATIENCE)
        finally:
            raise BrokerError("no answer")

    with pytest.raises(click.exceptions.Exit) as ended:
        in_loop(command())
    assert ended.value.exit_code == 130
    assert capsys.readouterr().err == "v2t: no answer\n"


def test_a_command_that_runs_until_stopped_ends_as_usual() -> None:
    """Else `v2t up` under a service manager counts as failed each time it is stopped."""

    async def command() -> str:
        stop = stop_on_signals()
        os.kill(os.getpid(), signal.SIGTERM)
        await stop.wait()
        return "stopped"

    assert in_loop(command()) == "stopped"


def _interrupted(script: str, *numbers: int) -> tuple[int, str]:
    """The exit code and stderr of a script that prints a line, and then gets these signals."""
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    ) as process:
        assert process.stdout
        for number in numbers:
            assert process.stdout.readline()
            process.send_signal(number)
        _, err = process.communicate(timeout=PATIENCE)
    return process.returncode, err


def test_a_second_signal_ends_what_does_not_end() -> None:
    """Else a user whose command hangs while it cleans up has to look for its process and kill it."""
    script = """
import asyncio
from v2t_stream.cli.loop import in_loop
async def stubborn():
    while True:
        try:
            print("here", flush=True)
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass
in_loop(stubborn())
"""
    assert _interrupted(script, signal.SIGINT, signal.SIGINT) == (130, "")


def test_a_signal_while_modules_load_leaves_no_traceback() -> None:
    """Else Ctrl-C in the first half second fills the screen with the inside of the program."""
    script = """
import sys, time
from v2t_stream import __main__
class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "v2t_stream.cli":
            print("loading", flush=True)
            time.sleep(3600)
sys.meta_path.insert(0, Slow())
__main__.main()
"""
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        assert _interrupted(script, number) == (code, "")


def test_what_was_started_to_outlive_its_terminal_does() -> None:
    """Else `nohup v2t convert` ends with the terminal after all, and takes its jobs with it."""
    script = """
import asyncio, os, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
from v2t_stream.host import signals
signals.handle(signals.leave)
from v2t_stream.cli.loop import in_loop
async def work():
    print("here", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
os.kill(os.getpid(), signal.SIGHUP)
in_loop(work())
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        process.communicate("\n", timeout=PATIENCE)
    assert process.returncode == 0


def test_ctrl_c_in_an_editor_is_the_editors() -> None:
    """Else it ends `v2t job edit` behind the editor's back, and what was typed is lost."""
    with signals.left_to_child():
        editor = "import os, signal, time; os.kill(os.getppid(), signal.SIGINT); os.kill(os.getpid(), signal.SIGINT)"
        done = subprocess.run([sys.executable, "-c", f"{editor}; time.sleep(60)"], stderr=subprocess.PIPE, check=False)
    assert done.returncode == -signal.SIGINT


def test_ctrl_c_answers_a_question() -> None:
    """Else the question whether to replace a file stays until it is answered, whatever the user presses."""
    script = """
import asyncio, click, sys
from v2t_stream.cli.loop import in_loop
from v2t_stream.host import signals
async def ask():
    with signals.leaving():
        print("Replace it?", flush=True)
        sys.stdin.read()
in_loop(ask())
"""
    assert _interrupted(script, signal.SIGINT) == (130, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_monitor_ends_at_a_signal_and_restores_the_terminal(number: int, tmp_path: Path) -> None:
    """Else it hangs for ever, deaf to every key: Textual's stderr says that it is a terminal, and is none."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "V2T_DATA_DIR": str(tmp_path), "TERM": "xterm-256color"}
    with subprocess.Popen(
        [sys.executable, "-m", "v2t_stream", "tui"], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    ) as monitor:
        os.close(theirs)
        screen = b""
        while b"broker" not in screen:  # it offers to start one
            screen += os.read(ours, 65_536)
        monitor.send_signal(number)
        with contextlib.suppress(OSError):  # the terminal of a process that has ended
            while part := os.read(ours, 65_536):
                screen += part
        assert monitor.wait(PATIENCE) == 128 + number
    os.close(ours)
    assert b"\x1b[?1049l" in screen  # back from the alternate screen
