"""From the words of a command line to files, and to the names of their transcripts."""

import asyncio
import os
import shutil
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tests.harness import DATA
from tests.unit.test_look import picture
from v2t_stream.cli import cli
from v2t_stream.cli.etl import etl
from v2t_stream.cli.inputs import Inputs
from v2t_stream.cli.recordings import Recording, Recordings
from v2t_stream.errors import SettingsError

CLIP = DATA / "5s.flac"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def clip(path: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(CLIP, path)


def text(path: str, content: str = "Dear Sir,\n") -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(content)


def files(*words: str, output: str | None = None) -> list[str]:
    return [str(file.path) for file in Inputs(words, Path(output) if output else None).files]


def looked(*words: str, output: str | None = None) -> tuple[dict[str, str], Recordings]:
    """The path of the transcript, by the path of its recording."""
    recordings = Recordings(Inputs(words, Path(output) if output else None))

    async def all_of_them() -> list[Recording]:
        return [each async for each in recordings.among()]

    return {str(each.path): str(each.stem) for each in asyncio.run(all_of_them())}, recordings


def test_files_folders_and_patterns_are_taken_together_and_each_file_once() -> None:
    """A recording is done twice, or only the last word of the command line counts."""
    for path in ("a.flac", "talks/b.flac", "talks/deep/c.flac", "d [1].flac"):
        clip(path)
    assert files("a.flac", "talks", "./a.flac", "talks/b.flac") == ["a.flac", "talks/b.flac", "talks/deep/c.flac"]
    assert files("talks/**/*.flac") == ["talks/b.flac", "talks/deep/c.flac"]  # in quotes, or on a shell that knows none
    assert files("d [1].flac") == ["d [1].flac"]
    assert files(Path("a.flac").absolute().as_uri()) == [str(Path("a.flac").absolute())]


def test_what_is_hidden_in_a_folder_is_left_alone_and_may_be_named() -> None:
    """A Mac's ._talk.mp4, or what lies in a trash folder, fails the whole folder."""
    for path in ("t/a.flac", "t/._a.flac", "t/.trash/b.flac", "t/.c.flac"):
        clip(path)
    assert files("t") == ["t/a.flac"]
    assert files("t/.c.flac") == ["t/.c.flac"]


def test_links_to_folders_are_not_followed_and_said() -> None:
    """One link to its own folder makes the command run for ever, or a link to / transcribes the whole disk."""
    clip("t/a.flac")
    clip("elsewhere/b.flac")
    Path("t/self").symlink_to(".")
    Path("t/up").symlink_to("..")
    Path("t/other").symlink_to("../elsewhere")
    Path("t/again.flac").symlink_to("a.flac")
    found, recordings = looked("t")
    assert list(found) == ["t/a.flac"]
    assert list(recordings.skipped()) == [
        "skipped 1 file under a second name: t/again.flac",
        "skipped 3 links to another folder: t/other, t/self, t/up",
    ]
    Path("named").symlink_to("elsewhere")
    assert list(looked("named")[0]) == ["named/b.flac"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "name a file, a folder, or - for standard input, as in v2t convert talk.mp4"),
        (("lectrue.flac",), r"no such file or folder: 'lectrue\.flac'; did you mean lecture\.flac\?"),
        (("t/lectrue.flac",), r"no such file or folder: 't/lectrue\.flac'; did you mean t/lecture\.flac\?"),
        (("*.mkv",), r"no such file or folder: '\*\.mkv'"),
        (("pipe", "lecture.flac"), "several transcripts cannot be printed: give a folder for them with --output"),
    ],
)
def test_a_word_that_names_nothing_is_said_at_once(words: tuple[str, ...], says: str) -> None:
    """A misspelt name becomes a job that fails, or the user has to guess."""
    clip("lecture.flac")
    clip("t/lecture.flac")
    os.mkfifo("pipe")
    with pytest.raises(click.UsageError, match=says):
        Inputs(words, None)


def test_a_link_is_sent_to_the_command_for_links_without_its_password() -> None:
    """The user reads that https://… is no file, and has to look up what to type."""
    with pytest.raises(SettingsError) as caught:
        Inputs(["https://me:hush@a.example/talk?v=1&t=2"], None)
    said = "https://a.example/talk?v=1&t=2 is a link: v2t etl --wait 'https://a.example/talk?v=1&t=2' transcribes"
    assert str(caught.value).startswith(said)


def test_a_pipe_has_a_name_that_means_something() -> None:
    """The transcript of a pipe is called 63."""
    os.mkfifo("talk.pipe")
    first, second = os.pipe()
    try:
        words = ["/dev/stdin", f"/dev/fd/{first}", f"/dev/fd/{second}", "talk.pipe"]
        found = Inputs(words, Path("out"))
    finally:
        os.close(first)
        os.close(second)
    assert [str(file.short) for file in found.files] == ["out/stdin", "out/pipe", "out/pipe-2", "out/talk.pipe"]
    assert Inputs(["talk.pipe"], None).prints


def test_transcripts_of_different_recordings_have_different_names() -> None:
    """The transcript of one recording is replaced by another's."""
    for path in ("a/talk.mp4", "a/talk.wav", "b/talk.wav", "a/one.mp4", "a/two.mp4", "a/two.mp4.flac"):
        clip(path)
    text("a/one.jpg")  # it competes for no name
    found, _ = looked("a")
    assert found == {
        "a/one.mp4": "a/one",
        "a/talk.mp4": "a/talk.mp4",
        "a/talk.wav": "a/talk.wav",
        "a/two.mp4": "a/two",
        "a/two.mp4.flac": "a/two.mp4.flac",
    }
    found, _ = looked("a/talk.wav", "b", "a/one.mp4", output="out")
    assert found == {"a/talk.wav": "out/a/talk.wav", "b/talk.wav": "out/b/talk.wav", "a/one.mp4": "out/one"}


def test_what_a_folder_leaves_out_is_said_once_for_each_reason() -> None:
    """A recording is missing and nobody says why; or a thousand pictures print a thousand lines."""
    clip("t/talk.flac")
    for n in range(5):
        text(f"t/{n}.log")
    text("t/empty.xyz", "")
    for name in ("talk.srt", "talk.txt", "talk.json"):
        text(f"t/{name}")
    picture(Path("t/mute.mp4"), "mpeg4", "mp4")
    text("t/code.ts", "export const answer: number = 42;\n" * 100)
    text("t/broken.mp4")
    found, recordings = looked("t")
    assert list(found) == ["t/talk.flac"]
    assert sorted(recordings.skipped()) == [
        "skipped 1 file of 0 bytes: t/empty.xyz",
        "skipped 1 file without sound: t/mute.mp4",
        "skipped 6 files without audio or video: t/0.log, t/1.log, t/2.log and 3 more",
    ]
    (failure,) = recordings.failures
    assert failure.startswith("t/broken.mp4 is not audio or video of a known kind, or is damaged")


def test_a_file_that_is_named_and_is_no_recording_is_a_mistake() -> None:
    """`v2t convert talk.pdf` says that all went well."""
    text("notes.pdf")
    found, recordings = looked("notes.pdf")
    assert not found
    assert str(recordings.nothing(["notes.pdf"])).startswith("notes.pdf is not audio or video of a known kind")
    text("t/notes.pdf")
    found, recordings = looked("t")
    assert not found
    assert str(recordings.nothing(["t"])) == (
        "nothing to transcribe in t: skipped 1 file without audio or video: t/notes.pdf"
    )


def test_all_that_a_shell_expands_may_hold_our_own_transcripts() -> None:
    """`v2t convert *` fails when it is called a second time."""
    clip("talk.flac")
    text("talk.srt")
    found, recordings = looked("talk.flac", "talk.srt")
    assert list(found) == ["talk.flac"]
    assert not recordings.failures


def test_a_fault_with_one_file_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in a library, triggered by one file of thousands, ends the command before it begins."""
    clip("t/a.flac")
    clip("t/b.flac")
    as_ever = Recordings.__init__.__globals__["look"]

    def look(path: Path, name: str) -> object:
        if path.name == "a.flac":
            raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid")
        return as_ever(path, name)

    monkeypatch.setattr("v2t_stream.cli.recordings.look", look)
    assert sorted(looked("t")[0]) == ["t/a.flac", "t/b.flac"]


# -- v2t FILE-OR-URL


def resolved(*words: str) -> tuple[str | None, list[str]]:
    name, _, left = cli.resolve_command(click.Context(cli), list(words))
    return name, left


def test_a_file_or_a_link_needs_no_command() -> None:
    """A newcomer types `v2t talk.mp4` and reads that there is no such command."""
    clip("talk.flac")
    clip("demo")
    assert resolved("talk.flac", "--language", "en") == ("convert", ["talk.flac", "--language", "en"])
    assert resolved("*.flac") == ("convert", ["*.flac"])
    assert resolved(".") == ("convert", ["."])
    assert resolved("-") == ("convert", ["-"])
    assert resolved("https://a.example/1", "--follow") == ("etl", ["--wait", "https://a.example/1", "--follow"])
    assert resolved("demo", "x") == ("demo", ["x"])  # a command comes first; ./demo is the file
    assert resolved("./demo") == ("convert", ["./demo"])


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("convrt", "no such command or file: 'convrt'; did you mean convert?"),
        ("tlak.flac", "no such command or file: 'tlak.flac'; did you mean talk.flac?"),
        ("qqq", "no such command or file: 'qqq'"),
        ("youtu.be/x?v=1", "no such command or file: 'youtu.be/x?v=1'; did you mean https://youtu.be/x?v=1?"),
        ("./convrt", "no such command or file: './convrt'"),
    ],
)
def test_a_mistyped_word_gets_a_suggestion(word: str, says: str) -> None:
    """A typing mistake sends the user to the manual."""
    clip("talk.flac")
    with pytest.raises(click.UsageError) as caught:
        resolved(word)
    assert caught.value.message == says


def test_a_file_given_to_the_command_for_links_is_sent_to_its_own() -> None:
    """The user reads that talk.flac is no URL, and has to look up what to type."""
    clip("a talk.flac")
    done = CliRunner().invoke(etl, ["a talk.flac"])
    assert isinstance(done.exception, SettingsError)
    assert str(done.exception) == "a talk.flac is not a link: v2t convert 'a talk.flac' transcribes files"
