"""What stands in a transcript besides the words, and which words are marked."""

from msgspec.structs import replace

from schemas.transcript import Doubt, Segment, Word
from tests.tui.still import chunk, incomplete, stored
from tui.state.entries import Entry, Words
from tui.state.timeline import marks, stretches
from tui.widgets.transcript import offset
from v2t_stream.jobs.state import Job, fold

TEXT = "We begin now, thank you thank you."


def entries(*words: Word) -> list[Entry]:
    segment = Segment(start=0.0, end=8.0, text=TEXT, words=words)
    done = replace(chunk("a-1", 0), segments=(segment,), doubtful=(Doubt(start=4.0, end=9.0, reason="repeated"),))
    job = fold("a-1", stored([(9.0, done)]))
    return Words().entries(job, stretches(job, {}))


def marked(entry: Entry) -> list[str]:
    return [entry.text[first:last] for first, last in entry.doubts]


def test_only_the_doubtful_words_are_marked_where_their_times_are_known() -> None:
    """A sentence that was said counts as invented, because an engine stuttered after it."""
    times = enumerate(TEXT.split())
    said, doubt = entries(*(Word(start=n, end=n + 1.0, text=f" {word}") for n, word in times))
    assert (said.kind, marked(said)) == ("doubtful", ["you", "thank", "you."])
    assert doubt.kind == "doubt"


def test_the_whole_line_is_marked_where_no_times_of_words_are_known() -> None:
    """Invented words pass for said."""
    said, _ = entries()
    assert (said.kind, marked(said)) == ("doubtful", [TEXT])


def test_a_mark_is_found_in_the_line_that_has_it() -> None:
    """In a folded line the wrong words are underlined."""
    lines = ["We begin", "now,", "thankyou", "thank you."]
    text = "We begin now, thankyouthank you."  # one word too long for a line was cut
    assert [text[offset(text, lines, at) :][: len(line)] for at, line in enumerate(lines)] == lines


def test_what_the_audit_found_is_on_the_timeline() -> None:
    """Half a recording looks like all of it."""
    job: Job = fold("cut-8", stored(incomplete()))
    found = {(mark.kind, mark.start, mark.end) for mark in marks(job)}
    assert found == {("unheard", 39.2, 42.9), ("doubtful", 70.0, 81.5), ("beyond", 90.0, 183.0)}
