"""`v2t convert` and `v2t FILE-OR-URL`: what goes in, and what is kept, with an engine that takes no time."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.test_cli import Terminal
from tests.harness import DATA, Simulated, served, simulated
from tests.patience import PATIENCE

CLIP = DATA / "5s.flac"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulated]:
    with simulated(tmp_path_factory.mktemp("fleet")) as running:
        yield running


@pytest.fixture
def terminal(fleet: Simulated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    (tmp_path / "t").mkdir()
    monkeypatch.chdir(tmp_path)
    return Terminal(tmp_path / "home", fleet.server.url)


def clip(path: str, name: str = "5s.flac") -> Path:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(DATA / name, path))


def jobs(terminal: Terminal) -> int:
    return len(json.loads(terminal.run("job", "list", "--json")[0]))


def test_files_and_folders_are_done_together_and_what_is_left_out_is_said(terminal: Terminal) -> None:
    """Only the last of several files is done, or a folder of odd things fails for each of them."""
    clip("one.flac")
    clip("two.flac", "20s-1.flac")
    clip("t/deep/three", "20s-2.flac")
    Path("t/notes.doc").write_text("Dear Sir,\n")
    Path("t/deep/three.srt").mkdir()  # nothing can be written here
    out, err = terminal.run("convert", "one.flac", "t", "--input", "two.flac", "--input", "one.flac", code=1)
    assert sorted(out.splitlines()) == ["one.srt", "two.srt"]
    assert "skipped 1 file without audio or video: t/notes.doc\n" in err
    assert "v2t: t/deep/three.srt cannot be written (Is a directory): choose another --output\n" in err
    assert err.endswith("v2t: 1 of 3 files could not be transcribed\n")


def test_a_transcript_that_was_edited_is_kept(terminal: Terminal) -> None:
    """An evening of corrections is lost to the second call of the same command."""
    for name in ("one", "two"):
        clip(f"t/{name}.flac", {"one": "5s.flac", "two": "20s-1.flac"}[name])
    terminal.run("convert", "t", "--language", "de")
    whole = Path("t/one.srt").read_text()
    assert "in de" in whole
    Path("t/one.srt").write_text("Mine.\n")
    out, err = terminal.run("convert", "t", "--language", "fr", code=1)  # other options, so other words
    assert out == "t/two.srt\n"
    assert "in fr" in Path("t/two.srt").read_text()
    assert err.endswith("v2t: t/one.srt was kept, because it was edited, or is not by v2t: --overwrite replaces it\n")
    assert Path("t/one.srt").read_text() == "Mine.\n"

    before = jobs(terminal)
    _, err = terminal.run("convert", "t/one.flac", "--language", "it", "--force", code=1)
    assert jobs(terminal) == before  # nobody waits for words that are not written
    out, _ = terminal.run("convert", "t", "--language", "de", "--overwrite")
    assert sorted(out.splitlines()) == ["t/one.srt", "t/two.srt"]
    assert Path("t/one.srt").read_text() == whole

    job = json.loads(terminal.run("job", "list", "--json")[0])[-1]["id"]
    Path("mine.txt").write_text("Mine.\n")
    said = terminal.complaint("job", "transcript", job, "--output", "mine.txt")
    assert said.startswith("mine.txt was kept, because it was edited")
    terminal.run("job", "transcript", job, "--output", "mine.txt", "--overwrite")
    assert Path("mine.txt").read_text() != "Mine.\n"


def piped(terminal: Terminal, command: str, code: int = 0) -> tuple[str, str]:
    """What a shell gets that pipes into `v2t`; it calls the command V2T."""
    done = subprocess.run(
        ["bash", "-c", command.replace("V2T", f"{sys.executable} -m v2t_stream")],
        env=terminal._environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout, done.stderr


def test_what_comes_through_a_pipe_is_read_once_and_printed(terminal: Terminal) -> None:
    """A pipe hangs, or reads as empty, because it is read twice."""
    clip("talk.flac")
    asked = "--format txt --language pt"
    out, err = piped(terminal, f"cat talk.flac | V2T convert - {asked}")
    assert "part 0 in pt" in out
    assert "stdin completed" in err
    assert piped(terminal, f"cat talk.flac | V2T - {asked}")[0] == out
    assert piped(terminal, f"V2T convert - {asked} < talk.flac")[0] == out
    assert piped(terminal, f"V2T convert <(cat talk.flac) {asked}")[0] == out
    both, _ = piped(terminal, f"V2T convert <(cat talk.flac) <(cat talk.flac) {asked} --output t")
    assert sorted(both.splitlines()) == ["t/pipe-2.txt", "t/pipe.txt"]
    assert Path("t/pipe.txt").read_text() == out
    os.mkfifo("a.fifo")
    threading.Thread(target=lambda: Path("a.fifo").write_bytes(CLIP.read_bytes()), daemon=True).start()
    assert terminal.run("convert", "a.fifo", *asked.split())[0] == out
    assert not [path for path in Path("home/scratch").rglob("*") if path.is_file()]


def test_a_pipe_with_something_else_in_it_says_so(terminal: Terminal) -> None:
    """The command before the pipe failed, and the user looks for a damaged file."""
    said = piped(terminal, "V2T convert - < /dev/null", 1)[1]
    assert "v2t: stdin: nothing came from stdin: check the command that should send it\n" in said
    said = piped(terminal, "echo Dear Sir | V2T convert -", 1)[1]
    assert "v2t: stdin is not audio or video of a known kind" in said
    assert "choose one, or give a folder" in piped(terminal, "V2T convert - --format srt,txt < /dev/null", 2)[1]


def test_a_link_alone_is_transcribed_and_printed(terminal: Terminal) -> None:
    """A newcomer has to find out which command, and which option, shows the words."""
    with served(DATA) as site:
        out, err = terminal.run(f"{site}/5s.flac?alone", "--force")
    assert "part 0 in en" in out
    assert "5s completed" in err
