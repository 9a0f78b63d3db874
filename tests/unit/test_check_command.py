"""`v2t check` and the options of subtitles, as a user types them."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from v2t_stream.cli import cli

CUE = "00:00:01.000 --> 00:00:03.000\nHello there.\n"
OTHER = "00:00:03.500 --> 00:00:06.000\nHow are you?\n"


def checked(*arguments: str | Path, stdin: str = "") -> Result:
    return CliRunner().invoke(cli, ["check", *map(str, arguments)], input=stdin)


@pytest.mark.parametrize("written", ["", "\n\n\n", "\ufeff", "WEBVTT\n"], ids=["empty", "blank", "mark", "header"])
def test_a_file_without_cues_is_not_called_good(tmp_path: Path, written: str) -> None:
    """Else a script publishes a film without subtitles, because the check of an empty file succeeded."""
    file = tmp_path / "talk.vtt"
    file.write_text(written)
    ran = checked(file)
    assert ran.exit_code == 1
    assert f"{file}:1: the file has no cues" in ran.stdout


def test_webvtt_without_its_first_line_is_a_problem(tmp_path: Path) -> None:
    """Else the check is content with a file that every browser refuses."""
    file = tmp_path / "talk.vtt"
    file.write_text(CUE)
    ran = checked("--json", file)
    assert ran.exit_code == 1
    assert json.loads(ran.stdout) == {
        "file": str(file),
        "line": 1,
        "cue": None,
        "reason": "the file does not begin with WEBVTT, so browsers refuse it",
    }
    file.write_text(f"WEBVTT\n\n{CUE}")
    ran = checked(file)
    assert ran.stdout == f"{file}: 1 cue, nothing breaks the style\n"
    assert ran.exit_code == 0


def test_standard_input_is_checked() -> None:
    """Else the output of v2t job transcript cannot be checked without a file in between."""
    assert checked("-", stdin=f"{CUE}\n{OTHER}").stdout == "-: 2 cues, nothing breaks the style\n"


def test_a_line_end_in_a_name_does_not_break_the_list(tmp_path: Path) -> None:
    """Else half of the name stands on a line of its own, and programs that read the list fail."""
    file = tmp_path / "one\ntwo.srt"
    file.write_text(CUE)
    assert checked(file).stdout == f"{tmp_path}/one two.srt: 1 cue, nothing breaks the style\n"


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("convert a.mp4 --highlight-words", "needs --format vtt or ass: srt cannot show the time of each word"),
        ("convert a.mp4 --highlight-words --format srt,json", "srt, json cannot show the time of each word"),
        (
            "convert a.mp4 --subtitle-style social --format txt",
            "shapes only subtitles, not txt: set --format to one of srt",
        ),
        ("job transcript 1 --highlight-words --format srt", "srt cannot show the time of each word"),
        ("job transcript 1 --max-cps 15", "shapes only subtitles, not txt"),
    ],
)
def test_an_option_that_changes_nothing_is_refused(command: str, sentence: str) -> None:
    """Else the user looks in vain for highlighted words, or for lines of the wanted width."""
    ran = CliRunner().invoke(cli, command.split())
    assert ran.exit_code == 2
    assert sentence in ran.stderr


@pytest.mark.parametrize("formats", ["--format srt --format docx", "--format docx --format srt"])
def test_each_repeated_format_counts(formats: str) -> None:
    """Else the last one wins without a word, and a file that was asked for is not written."""
    ran = CliRunner().invoke(cli, ["convert", "a.mp4", *formats.split()])
    assert "unknown format 'docx'" in f"{ran.output}{ran.exception}"
