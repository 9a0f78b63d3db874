"""Transcripts as files: nothing is overwritten without being asked, and no half file is left."""

import os
from pathlib import Path

import click
import pytest

from v2t_stream.cli.files import Files, Kept
from v2t_stream.errors import SettingsError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "talk.srt"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def files(home: Path, *, overwrite: bool = False) -> Files:
    return Files(home, overwrite=overwrite)


def test_what_v2t_wrote_is_replaced_and_what_was_edited_is_kept(home: Path, path: Path) -> None:
    """An evening of corrections is lost to the second call of the same command."""
    assert files(home).write(path, b"one")
    assert not files(home).keeps(path)
    assert files(home).write(path, b"two")  # by a better model
    path.write_text("Two!")
    assert files(home).keeps(path)
    assert not files(home).write(path, b"three")
    assert path.read_text() == "Two!"
    assert not files(home, overwrite=True).keeps(path)
    assert files(home, overwrite=True).write(path, b"three")
    assert path.read_bytes() == b"three"
    assert files(home).write(path, b"four")


def test_what_is_there_already_is_no_reason_to_complain(home: Path, path: Path) -> None:
    """A folder that another machine has done is a failure, although nothing is lost."""
    path.write_bytes(b"one")
    before = path.stat()
    assert files(home).keeps(path)
    assert files(home).write(path, b"one")
    assert path.stat() == before
    assert files(home).write(path, b"two")  # from now on v2t knows that it is its own


def test_a_home_that_cannot_be_written_costs_no_words(path: Path, tmp_path: Path) -> None:
    """A full disk in one place loses a transcript in another."""
    (tmp_path / "file").touch()
    here = files(tmp_path / "file")
    assert here.write(path, b"one")
    assert here.write(path, b"two")
    assert files(tmp_path / "file").keeps(path)


def test_a_single_file_is_kept_with_a_sentence(home: Path, path: Path) -> None:
    """`job transcript --output` writes over the corrected text, or says nothing and exits with 0."""
    path.write_text("mine")
    with pytest.raises(Kept, match=rf"^{path} was kept, because it was edited, or is not by v2t: --overwrite replaces"):
        files(home).write_one(path, b"one")
    assert path.read_text() == "mine"
    files(home).write_one(path.with_name("new.srt"), b"one")


@pytest.mark.parametrize("answer", [True, False])
def test_on_a_terminal_it_asks(answer: bool, home: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001  # pytest's
    """Nobody wants to type the command again with another option."""
    asked = []

    def confirm(text: str, **_: object) -> bool:
        asked.append(text)
        return answer

    monkeypatch.setattr(os, "isatty", lambda _: True)
    monkeypatch.setattr(click, "confirm", confirm)
    path.write_text("mine")
    here = files(home)
    here.ask([path])
    assert asked == ["Replace it?"]
    assert here.write(path, b"one") is answer
    other = path.with_name("other.srt")
    other.write_text("mine")
    assert here.keeps(other)  # nobody was asked about this one


def test_a_write_that_breaks_off_leaves_what_was_there(home: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C, or a full disk, leaves half a transcript that looks whole."""
    here = files(home)
    here.write(path, b"one")

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", stopped)
    with pytest.raises(KeyboardInterrupt):
        here.write(path, b"two")
    assert path.read_bytes() == b"one"
    assert [each.name for each in path.parent.iterdir()] == ["talk.srt"]


def test_a_file_stays_what_it_is(home: Path, path: Path) -> None:
    """A shared transcript is closed to others, a link to it is cut, or a device is replaced by a file."""
    here = files(home, overwrite=True)
    here.write(path, b"one")
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask()
    path.chmod(0o664)
    link = path.with_name("link.srt")
    link.symlink_to(path)
    here.write(link, b"two")
    assert link.is_symlink()
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"two", 0o664)
    files(home).write_one(Path("/dev/null"), b"three")
    assert Path("/dev/null").is_char_device()
    longest = path.with_name("x" * 251 + ".srt")
    assert here.write(longest, b"four")


def test_a_place_where_nothing_can_be_written_is_said_before_the_work(home: Path, tmp_path: Path) -> None:
    """The user waits an hour to read that the disk is read-only."""
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"cannot be written .*: choose another --output"):
        files(home).check(tmp_path / "file" / "out")
    with pytest.raises(SettingsError, match=r"cannot be written .*: choose another --output"):
        files(home).write(tmp_path, b"one")


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
