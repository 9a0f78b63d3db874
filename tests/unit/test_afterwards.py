"""What runs when a transcript is ready, and at the end."""

import asyncio
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from v2t_stream.cli import afterwards
from v2t_stream.cli.afterwards import Afterwards, CommandFailed, Ready, afterwards_options
from v2t_stream.errors import V2TError

EVIL = '\'; touch owned; $(touch owned) `touch owned` "x" & <b>'


def ran(command: str, ready: Ready) -> tuple[list[str], list[str], Afterwards]:
    said: list[str] = []
    warned: list[str] = []
    after = Afterwards([command])
    asyncio.run(after.run(ready, said.append, warned.append))
    return said, warned, after


@pytest.mark.parametrize(
    "command", ["printf %s {}", 'printf %s "{}"', "printf %s '{}'", 'printf %s "$TRANSCRIPT_FILE"']
)
def test_a_name_from_a_stranger_is_passed_on_and_never_executed(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else whoever names a video runs programs on the machine that transcribes it."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / EVIL.replace("/", "")
    said, _, _ = ran(command, Ready("e-1", EVIL, [file]))
    assert said == [str(file)]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "command", ["echo a{}b", 'echo "in {} here"', "echo `echo {}`", "sh -c 'echo {}'", "echo $(echo {})"]
)
def test_no_way_to_write_the_place_executes_a_title(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the shell reads a stranger's title because the user put it into quotes of another kind."""
    monkeypatch.chdir(tmp_path)
    ran(command, Ready(EVIL, EVIL))
    assert not list(tmp_path.iterdir())


def test_a_command_knows_the_job_the_title_and_all_files() -> None:
    """Else it cannot tell which transcript it is for."""
    show = 'printf \'%s|\' {} "$TRANSCRIPT_FILE" "$TRANSCRIPT_JOB" "$TRANSCRIPT_TITLE"'
    assert ran(show, Ready("e-1", "A talk", [Path("/t/a.srt"), Path("/t/a.txt")]))[0] == [
        "/t/a.srt|/t/a.txt|/t/a.srt|e-1|A talk|"
    ]
    assert ran(show, Ready("e-1", "A talk"))[0] == ["e-1||e-1|A talk|"]


def test_a_command_that_fails_is_told_with_its_transcript_and_at_the_end() -> None:
    """Else a script takes an upload that failed for one that worked."""
    _, warned, after = ran("echo no route >&2; exit 7", Ready("e-1", "A talk"))
    assert warned == ["no route", "v2t: A talk: the command of --exec exited with 7; its transcript is ready"]
    with pytest.raises(CommandFailed, match="the command of --exec failed after the transcript was ready"):
        after.conclude()
    ran("true", Ready("e-1", "A talk"))[2].conclude()


@click.command()
@click.argument("way")
@afterwards_options
def example(way: str, afterwards: Afterwards) -> None:
    """What convert and etl do."""
    if way == "fail":
        raise V2TError("1 of 3 files could not be transcribed")
    if afterwards:
        asyncio.run(afterwards.run(Ready("e-1", "A talk"), click.echo, click.echo))


def notifier(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A notify-send that writes down its arguments."""
    shown = folder / "shown"
    program = folder / "notify-send"
    program.write_text(f'#!/bin/sh\nfor each in "$@"; do printf \'%s\\n\' "$each"; done >{shown}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return shown


def test_the_end_is_notified_whether_it_is_good_or_bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else somebody waits for a job that failed an hour ago."""
    shown = notifier(tmp_path, monkeypatch)
    assert CliRunner().invoke(example, ["well", "--notify", "--exec", "echo {}"]).output == "e-1\n"
    assert shown.read_text().splitlines() == ["--app-name=v2t", "--", "v2t", "everything is transcribed"]
    result = CliRunner().invoke(example, ["fail", "--notify"])
    assert isinstance(result.exception, V2TError)
    assert shown.read_text().splitlines()[-1] == "1 of 3 files could not be transcribed"


def test_nothing_is_notified_unless_the_user_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a server without a desktop complains, and a desktop is full of notes."""
    shown = notifier(tmp_path, monkeypatch)
    assert CliRunner().invoke(example, ["well"]).exit_code == 0
    assert not shown.exists()


def test_a_machine_without_notifications_says_so_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else an option that does nothing looks as if it worked."""
    monkeypatch.setattr(afterwards.shutil, "which", lambda name: None)
    result = CliRunner().invoke(example, ["well", "--notify"])
    assert result.exit_code == 0
    assert "--notify finds neither notify-send nor osascript" in result.stderr
