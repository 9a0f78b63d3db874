"""Files with odd names or contents, among ordinary ones."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.acceptance.test_cli import Terminal
from tests.harness import DATA, Simulated, simulated
from v2t_stream.cli import cli
from v2t_stream.cli.batch import Batch
from v2t_stream.cli.recordings import Recording


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulated]:
    with simulated(tmp_path_factory.mktemp("fleet")) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "talks"
    folder.mkdir()
    for name in (b"good.flac", b"t\xe4lk.flac", b"\xff\xfe.flac"):
        shutil.copy(DATA / "5s.flac", os.fsencode(folder) + b"/" + name)
    return folder


def test_names_that_are_not_utf8_are_names_all_the_same(fleet: Simulated, folder: Path, tmp_path: Path) -> None:
    """Else one file from an old disk stops the whole folder."""
    (folder / "broken.flac").write_bytes(b"no sound")
    terminal = Terminal(tmp_path / "home", fleet.server.url)
    out, err = terminal.run("convert", "--input", folder, "--force", code=1)
    assert "1 of 4 files could not be transcribed" in err
    assert "broken.flac is not audio or video" in err
    written = sorted(os.fsencode(path.name) for path in folder.glob("*.srt"))
    assert written == sorted([b"good.srt", b"t\xe4lk.srt", b"\xff\xfe.srt"])
    assert len(out.splitlines()) == 3
    assert "t\ufffdlk.srt" in out
    listed, _ = terminal.run("job", "list")
    assert "t\ufffdlk.flac" in listed


def test_a_file_with_an_odd_suffix_is_sent(fleet: Simulated, folder: Path, tmp_path: Path) -> None:
    """Else its stored name ends the command with a traceback."""
    odd = os.fsdecode(os.fsencode(folder) + b"/talk.\xff")
    shutil.copy(DATA / "5s.flac", odd)
    terminal = Terminal(tmp_path / "home", fleet.server.url)
    out, _ = terminal.run("convert", "--input", odd, "--force")
    assert out.endswith("talk.srt\n")


def test_what_nobody_expected_of_one_file_leaves_the_others(
    fleet: Simulated, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a bug triggered by one file of a thousand loses the other 999 and does not say which file it was."""
    as_ever = Batch._convert

    async def convert(batch: Batch, recording: Recording, sha256: str) -> str:
        if recording.name == "good.flac":
            raise KeyError("surprise")
        return await as_ever(batch, recording, sha256)

    monkeypatch.setattr(Batch, "_convert", convert)
    for name, value in {"NATS_URL": fleet.server.url, "V2T_DATA_DIR": str(tmp_path / "home")}.items():
        monkeypatch.setenv(name, value)
    arguments = ["convert", "--input", str(folder), "--force"]
    done = CliRunner().invoke(cli, arguments)
    assert f"v2t: {folder / 'good.flac'}: KeyError: 'surprise'" in done.output
    assert done.output.count(".srt") == 2
    assert "1 of 3 files could not be transcribed" in str(done.exception) + done.output
