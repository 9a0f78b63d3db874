"""Hearing the seconds under the cursor."""

import asyncio
import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from schemas.message import Message
from schemas.transcript import Sound, Track
from tests.tui.still import chunk, converted, downloaded, shown, stored, submitted
from tui.player import Excerpt, Player
from tui.screens.sound import Play, command_of
from v2t_stream import demo
from v2t_stream.errors import V2TError
from v2t_stream.jobs.state import Job, fold

FACTS: list[tuple[float, Message]] = [
    (60.0, submitted("talk-1", "A talk")),
    (50.0, downloaded("talk-1", "A talk")),
    (45.0, converted("talk-1", 1)),
    (40.0, chunk("talk-1", 0)),
]


class Stored:
    """The store as the monitor sees it."""

    def __init__(self, *, has: bool) -> None:
        self._has = has
        self.fetched = 0

    async def has_media(self, job: Job) -> bool:
        return self._has

    async def media(self, job: Job, path: Path) -> None:
        self.fetched += 1
        shutil.copy(demo.CLIP, path)


def job(*facts: tuple[float, Message]) -> Job:
    return fold("talk-1", stored([*FACTS, *facts]))


async def test_the_command_plays_stored_media_from_a_pipe_and_other_media_from_its_link() -> None:
    """The line that is shown does not play anything when it is pasted into a shell."""
    excerpt = Excerpt(job(), 70.0, 81.5)
    player = "ffplay -loglevel fatal -nodisp -autoexit -ss 70.0 -t 11.5"
    command, why_not = await command_of(excerpt, Stored(has=True))  # type: ignore[arg-type]  # all that it asks of them
    assert (command, why_not) == (f"v2t job media talk-1 | {player} cache:pipe:0", "")
    command, why_not = await command_of(excerpt, Stored(has=False))  # type: ignore[arg-type]  # as above
    assert command == f'{player} "$(yt-dlp -g -f ba/b https://example.com/talk-1.mp3)"'
    assert why_not


@pytest.mark.parametrize(
    ("source", "shown_as"),
    [
        ("https://me:secret@example.com/x.mp3?token=secret", "https://example.com/x.mp3)"),
        ("https://example.com/$(rm -rf).mp3", "'https://example.com/$(rm -rf).mp3')"),
    ],
)
async def test_a_link_is_harmless_in_the_command(source: str, shown_as: str) -> None:
    """A password is on the screen and in the clipboard, or a title from outside runs a command in the user's shell."""
    of_link = replace(downloaded("talk-1", "A talk"), source=source)  # type: ignore[type-var]  # it is a struct
    excerpt = Excerpt(fold("talk-1", stored([FACTS[0], (50.0, of_link)])), 0.0, 5.0)
    command, _ = await command_of(excerpt, Stored(has=False))  # type: ignore[arg-type]  # as above
    assert shown_as in command
    assert "secret" not in command


def test_the_last_seconds_are_played_where_the_recording_ends() -> None:
    """The user listens for what was cut off, and there is silence."""
    assert "-ss 88.0 -t 2.0" in Excerpt(job(), 90.0, 90.0).command("x")


def test_the_track_that_was_transcribed_is_played() -> None:
    """The words are in English, and what is heard is the German track."""
    sound = Sound(tracks=(Track(number=1), Track(number=2, taken=True)))
    of_track = job((30.0, replace(converted("talk-1", 1), sound=sound)))
    assert "-ast a:1" in Excerpt(of_track, 0.0, 5.0).command("x")


@pytest.mark.skipif(not shutil.which("ffplay"), reason="ffplay is not installed")
async def test_ffplay_plays_the_media_that_is_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each key fetches gigabytes again, or what is fetched stays on the disk for ever."""
    monkeypatch.setenv("SDL_AUDIODRIVER", "dummy")
    player, store = Player(tmp_path), Stored(has=True)
    excerpt = Excerpt(job(), 3.0, 30.0)
    for _ in range(2):
        playing = asyncio.create_task(player.play(excerpt, functools.partial(store.media, excerpt.job)))
        while not player.stop():
            assert not playing.done()
            await asyncio.sleep(0.01)
        await playing  # to be stopped is no error
    assert store.fetched == 1
    player.end()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.skipif(not shutil.which("ffplay"), reason="ffplay is not installed")
async def test_media_that_cannot_be_played_says_why(tmp_path: Path) -> None:
    """The user presses the key, and there is silence."""

    async def fetch(path: Path) -> None:
        path.write_text("not media")

    with pytest.raises(V2TError, match=r"ffplay could not play it: .*nvalid data"):
        await Player(tmp_path).play(Excerpt(job(), 0.0, 2.0), fetch)


@pytest.mark.parametrize(
    ("here", "offered"), [("/usr/bin/ffplay", True), (None, False)], ids=["with ffplay", "without"]
)
async def test_it_is_asked_before_anything_is_heard(
    here: str | None, monkeypatch: pytest.MonkeyPatch, *, offered: bool
) -> None:
    """In an office somebody presses a key, and all hear it."""
    which: Callable[[str], str | None] = lambda _: here  # noqa: E731  # monkeypatch takes a function
    monkeypatch.setattr("tui.player.shutil.which", which)
    async with shown() as (app, settle, pilot):
        app.desk.actions = store = Stored(has=True)  # type: ignore[assignment]  # all that is asked of them
        app.tell(FACTS)
        await settle()
        await pilot.press("enter")
        app.tell(FACTS, "talk-1")
        await settle()
        await pilot.press("p")
        await settle()
        assert isinstance(app.screen, Play)
        assert bool(app.screen.check_action("play", ())) == offered
        await pilot.press("c")
        await settle()
        assert not isinstance(app.screen, Play)
        assert "v2t job media talk-1 |" in app.clipboard
        assert not store.fetched
