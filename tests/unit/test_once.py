"""Message ids: equal submissions get the same id, which nobody else knows."""

from pathlib import Path

import pytest

from schemas.requests import SubmitRequest
from v2t_stream.jobs import once
from v2t_stream.jobs.once import message_ids

LINK = SubmitRequest(url="https://example.com/talk.mp3")
OTHER = SubmitRequest(url="https://example.com/other.mp3")


def test_what_is_sent_twice_has_the_same_id(tmp_path: Path) -> None:
    """Else pressing the key twice, or in two terminals, makes two jobs."""
    first, other = message_ids(tmp_path / "home", [LINK, OTHER])
    assert first != other
    assert message_ids(tmp_path / "home", [OTHER, LINK]) == [other, first]


def test_another_sender_has_other_ids(tmp_path: Path) -> None:
    """Else a stranger who guesses a submission uses its id first, and the submission is lost."""
    assert message_ids(tmp_path / "one", [LINK]) != message_ids(tmp_path / "two", [LINK])
    assert (tmp_path / "one" / "sent.json").stat().st_mode & 0o777 == 0o600


def test_an_id_is_used_no_longer_than_the_stream_knows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a stranger who learns the id of the last message from the server can reuse it."""
    now = 1000.0
    monkeypatch.setattr(once.time, "time", lambda: now)
    (first,) = message_ids(tmp_path, [LINK])
    now += 119
    assert message_ids(tmp_path, [LINK]) == [first]
    now += 1
    (second,) = message_ids(tmp_path, [LINK])
    assert second != first
    now -= 60  # a clock that was put back
    assert message_ids(tmp_path, [LINK]) != [second]


@pytest.mark.parametrize("kept", ["", "[]", '{"a": 1}', "\0"])
def test_a_damaged_memory_is_no_memory(tmp_path: Path, kept: str) -> None:
    """Else nothing can be submitted from a machine whose disk was full once."""
    (tmp_path / "sent.json").write_text(kept)
    (first,) = message_ids(tmp_path, [LINK])
    assert message_ids(tmp_path, [LINK]) == [first]


def test_a_folder_that_cannot_be_written_hinders_nothing(tmp_path: Path) -> None:
    """Else a submitter in a container without a disk of its own cannot submit."""
    (tmp_path / "home").write_text("a file")
    assert message_ids(tmp_path / "home", [LINK]) != message_ids(tmp_path / "home", [LINK])
