"""Text from strangers, where people read it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from v2t_stream.text import HARMFUL, one_line


@given(st.text(), st.integers(1, 600))
def test_a_line_is_one_and_does_nothing(text: str, longest: int) -> None:
    """A title clears the screen, types into the terminal, forges a line of the log, or is read backwards."""
    line = one_line(text, longest)
    assert len(line) <= longest
    assert len(line.splitlines()) <= 1
    assert not HARMFUL.search(line)
    assert not re.search(r"  |^ | $", line) or len(line) == longest
    line.encode()
    assert one_line(line, longest) == line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("talk\r\n\tone", "talk one"),
        ("\x1b[2J\x1b]0;owned\x07talk", "[2J ]0;owned talk"),
        ("\x9b31mtalk", "31mtalk"),
        ("invoice\u202egpj.exe", "invoice gpj.exe"),
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"),
        ("👩\u200d🔬", "👩\u200d🔬"),
        ("\ud800", ""),
    ],
)
def test_what_does_harm_goes_and_what_belongs_to_a_script_stays(text: str, line: str) -> None:
    """The same; or Persian and Hindi titles fall apart."""
    assert one_line(text) == line
