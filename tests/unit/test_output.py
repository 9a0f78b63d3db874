"""Tables and sentences, on a terminal and in a pipe."""

import pytest

from v2t_stream.cli import output
from v2t_stream.cli.output import Column, ending, print_table, say

COLUMNS = (Column("job"), Column("language"), Column("took", right=True), Column("title"))
ROWS = [("a-1", "", "3 min", "A talk"), ("a-10", "", "9 s", "Long " * 30)]


def terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setattr(output, "is_terminal", lambda *, err=False: True)
    monkeypatch.setenv("COLUMNS", str(columns))


def test_one_long_title_does_not_widen_the_other_lines_of_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    """Else one podcast makes every line of `job list | less` two screens wide, or a script loses half of its title."""
    print_table(COLUMNS, ROWS)
    assert capsys.readouterr().out.splitlines() == [
        "job   language   took  title",
        "a-1   -         3 min  A talk",
        f"a-10  -           9 s  {('Long ' * 30).strip()}",
    ]


def test_a_terminal_gets_lines_that_fit_and_no_empty_column(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else a table is folded into something that nobody can read."""
    terminal(monkeypatch, 40)
    print_table(COLUMNS, ROWS)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "job    took  title"
    assert lines[2].startswith("a-10    9 s  Long Long")
    assert lines[2].endswith("…")
    assert max(map(len, lines)) == 40


def test_a_narrow_terminal_shows_whole_what_is_typed_next(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else `job list` shows no id that `job status` would take."""
    terminal(monkeypatch, 20)
    columns = (Column("job", cut="never"), Column("state"), Column("title"))
    print_table(columns, [("tpc9tz-12345", "transcribing", "A long talk")])
    assert capsys.readouterr().out.splitlines()[1] == "tpc9tz-12345  trans…  A lon…"
    print_table(columns[:1], [("tpc9tz-12345678901234",)])
    assert capsys.readouterr().out.splitlines()[1] == "tpc9tz-12345678901234"


def test_a_table_without_rows_is_its_header(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else a command that finds nothing ends with a traceback."""
    terminal(monkeypatch, 40)
    print_table(COLUMNS, [])
    assert capsys.readouterr().out == "job  language  took  title\n"


def test_a_link_shows_its_end(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Else fifty talks of one site look the same."""
    terminal(monkeypatch, 24)
    print_table((Column("job"), Column("link", cut="start")), [("a-1", "https://example.com/talks/2026/keynote.mp4")])
    assert capsys.readouterr().out.splitlines()[1] == "a-1  …s/2026/keynote.mp4"
    print_table((Column("title"),), [("https://example.com/talks/2026/keynote.mp4",)])  # a title that is none
    assert capsys.readouterr().out.splitlines()[1] == "…/talks/2026/keynote.mp4"
    assert ending("/a/b", 10) == "/a/b"
    assert ending("会議の録音.mp4", 8) == "…音.mp4"


def test_the_last_cell_is_wrapped_where_all_of_it_matters(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else a narrow terminal shows half of what a role may do."""
    terminal(monkeypatch, 24)
    print_table((Column("user"), Column("does", cut="nothing")), [("ann", "reads and changes nothing"), ("bob", "")])
    assert capsys.readouterr().out.splitlines() == [
        "user  does",
        "ann   reads and changes",
        "      nothing",
        "bob",
    ]


def test_what_a_stranger_wrote_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    """Else a title clears the screen, or makes a second line of its job."""
    print_table((Column("title"),), [("a\x1b[2Jb\nc",)])
    assert capsys.readouterr().out.splitlines() == ["title", "a [2Jb c"]


def test_a_sentence_is_wrapped_between_words_below_its_beginning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else words are cut in two, and a reason runs into the names at the left."""
    terminal(monkeypatch, 30)
    say("the file declares an hour and ends", name="caveats", indent=12)
    say("it broke", name="12  a-1  transcribe: ", indent=4)
    assert capsys.readouterr().out.splitlines() == [
        "caveats     the file declares",
        "            an hour and ends",
        "12  a-1  transcribe:",
        "    it broke",
    ]


def test_a_sentence_in_a_pipe_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Else a script that reads lines gets half of a reason."""
    say("word " * 60, name="reason", indent=12)
    assert capsys.readouterr().out == f"reason      {'word ' * 60}\n"
