"""`v2t queue` and `v2t dead` as their users call them."""

import json
from pathlib import Path

import pytest

from tests.acceptance.test_cli import Terminal
from tests.conftest import Pipeline


@pytest.fixture
def terminal(pipeline: Pipeline, tmp_path: Path) -> Terminal:
    return Terminal(tmp_path / "home", pipeline.url)


def test_a_queue_is_paused_and_goes_on(terminal: Terminal) -> None:
    """A user who wants the graphics card for an evening cannot pause the work."""
    try:
        assert terminal.run("queue", "pause", "transcribe-cuda")[0] == (
            "paused transcribe-cuda; resume it with v2t queue resume transcribe-cuda\n"
        )
        assert any(line.split() == ["transcribe-cuda", "0", "0", "0", "0", "-", "paused"] for line in rows(terminal))
    finally:
        assert terminal.run("queue", "resume", "transcribe-cuda")[0] == "resumed transcribe-cuda\n"
    told = json.loads(terminal.run("queue", "list", "--json")[0])
    assert [one["paused"] for one in told if one["name"] == "transcribe-cuda"] == [False]
    assert terminal.complaint("queue", "pause", "cuda").startswith("unknown queue 'cuda': use one of intake, download")


def rows(terminal: Terminal) -> list[str]:
    return terminal.run("queue", "list")[0].splitlines()


def test_a_dead_letter_is_shown_with_its_reason_and_done_again(terminal: Terminal) -> None:
    """Failed work is only in a stream that nobody reads."""
    terminal.run("etl", "--url", "http://127.0.0.1:1/gone.mp3", "--wait", "--force", code=1)
    number, *_ = next(line for line in terminal.run("dead", "list")[0].splitlines() if "/gone.mp3" in line).split()
    out, _ = terminal.run("dead", "redrive", number)
    assert out.startswith(f"{number}: retrying job ")
    assert number not in [line.split()[0] for line in terminal.run("dead", "list")[0].splitlines()]
    assert terminal.complaint("dead", "redrive", number) == (
        f"there is no dead letter {number}: v2t dead list shows all of them"
    )
    assert terminal.complaint("dead", "remove", "999999").startswith("there is no dead letter 999999")
