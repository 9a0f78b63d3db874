"""What each screen looks like: compared with files of text that show it as it should be.

`pytest tests/tui --snapshots` writes the files anew; look at what has changed in them before you commit it.
"""

import re
import time
from collections.abc import Callable

import pytest
from textual.pilot import Pilot

from schemas.events import Failed, Named
from schemas.message import Message
from schemas.transcript import Speaker
from tests.tui.pictures import picture
from tests.tui.still import (
    LARGE,
    SMALL,
    SNAPSHOTS,
    Settle,
    Still,
    chunk,
    completed,
    converted,
    done,
    downloaded,
    embedding,
    empty,
    everything,
    incomplete,
    interview,
    letters,
    node,
    nodes,
    queues,
    running,
    shown,
    spoken,
    submitted,
)
from tui.state.rows import TABS
from tui.widgets.look import LIGHT
from tui.widgets.transcript import Transcript
from v2t_stream.jobs.options import OPTIONS

Compare = Callable[[str, Still], None]


@pytest.fixture
def compare(request: pytest.FixtureRequest) -> Compare:
    def check(name: str, app: Still) -> None:
        file = SNAPSHOTS / f"{name}.txt"
        shown = picture(app)
        if request.config.getoption("--snapshots"):
            file.write_text(shown)
        assert shown == file.read_text(), f"{file} shows another picture"

    return check


async def test_jobs_when_there_are_none(compare: Compare) -> None:
    """A new user sees a blank screen, and no word of what to do."""
    async with shown(SMALL) as (app, settle, _):
        app.tell([])
        await settle()
        compare("jobs-empty", app)


async def test_jobs_while_the_history_is_read(compare: Compare) -> None:
    """A broker with many jobs looks as if it had none."""
    async with shown(SMALL) as (app, settle, _):
        await settle()
        compare("jobs-reading", app)


@pytest.mark.parametrize(("name", "size"), [("jobs-narrow", SMALL), ("jobs-busy", LARGE)])
async def test_jobs_in_all_states(compare: Compare, name: str, size: tuple[int, int]) -> None:
    """Columns fall out of line, text from outside colours the screen, or what matters is cut off at 80 columns."""
    async with shown(size) as (app, settle, _):
        app.tell(everything())
        app.look(nodes=nodes(), dead=letters())
        await settle()
        compare(name, app)


async def test_jobs_in_a_light_theme(compare: Compare) -> None:
    """On a light terminal nothing can be read."""
    async with shown(SMALL) as (app, settle, _):
        app.theme = LIGHT.name
        app.tell(everything())
        app.look(nodes=nodes(), dead=letters())
        await settle()
        compare("jobs-light", app)


async def test_jobs_that_failed(compare: Compare) -> None:
    """The tab of failed jobs shows others, or the wrong key is offered for them."""
    async with shown(SMALL) as (app, settle, pilot):
        app.tell(everything())
        app.look(nodes=nodes())
        await settle()
        await pilot.press("left", "left")
        await settle()
        compare("jobs-failed", app)


async def test_jobs_that_are_searched_for(compare: Compare) -> None:
    """Who looks for a talk of last week scrolls through all of it."""
    async with shown(SMALL) as (app, settle, pilot):
        app.tell(everything())
        await settle()
        await pilot.press("slash", *"brücken")
        await settle()
        compare("jobs-filter", app)


async def test_the_entries_of_a_list(compare: Compare) -> None:
    """A playlist is one row of which nobody sees what is in it."""
    async with shown(SMALL) as (app, settle, pilot):
        app.tell(everything())
        await settle()
        await pilot.press("slash", *"podcast", "enter", "enter")
        await settle()
        compare("jobs-list", app)


async def test_jobs_when_the_broker_is_away(compare: Compare) -> None:
    """The picture freezes without a word, or is gone."""
    async with shown(SMALL) as (app, settle, _):
        app.tell(everything())
        app.look(nodes=nodes(), dead=letters())
        await settle()
        app.lose()
        await settle()
        compare("jobs-away", app)


@pytest.mark.parametrize(("name", "size"), [("detail-live-narrow", SMALL), ("detail-live", LARGE)])
async def test_a_job_as_it_runs(compare: Compare, name: str, size: tuple[int, int]) -> None:
    """Words are not in their order, what is missing is not marked, or nobody sees who does what."""
    async with shown(size) as (app, settle, pilot):
        app.tell(running())
        app.look(nodes=nodes())
        await settle()
        await pilot.press("enter")
        await settle()
        app.tell(running(), "sea-3")
        await settle()
        compare(name, app)


async def test_a_job_that_failed_with_gaps(compare: Compare) -> None:
    """Why it failed is not said, or which parts of it are missing."""
    job, reason = "sea-3", "none of it could be transcribed: no engine could do it: out of memory"
    facts = [
        (60.0, submitted(job, "A talk")),
        (50.0, downloaded(job, "A talk")),
        (45.0, converted(job, 3)),
        *((40.0, chunk(job, n, error="no engine could do it: out of memory")) for n in range(3)),
        (39.0, Failed(job=job, stage="aggregate", reason=reason)),
    ]
    async with shown(SMALL) as (app, settle, pilot):
        app.tell(facts)
        app.look(nodes=nodes())
        await settle()
        await pilot.press("enter")
        await settle()
        app.tell(facts, job)
        await settle()
        compare("detail-failed", app)


async def shows_in_detail(app: Still, settle: Settle, pilot: Pilot[None], facts: list[tuple[float, Message]]) -> None:
    app.tell(facts)
    app.look(nodes=nodes())
    await settle()
    await pilot.press("enter")
    await settle()
    app.tell(facts, facts[0][1].job)
    await settle()


@pytest.mark.parametrize(("name", "size"), [("detail-incomplete-narrow", SMALL), ("detail-incomplete", LARGE)])
async def test_a_transcript_that_is_not_whole(compare: Compare, name: str, size: tuple[int, int]) -> None:
    """Half a recording passes for all of it, and words nobody said pass for said."""
    async with shown(size) as (app, settle, pilot):
        await shows_in_detail(app, settle, pilot, incomplete())
        compare(name, app)


async def test_who_speaks_while_the_job_runs(compare: Compare) -> None:
    """An interview is one long text until all of it is done."""
    async with shown(SMALL) as (app, settle, pilot):
        await shows_in_detail(app, settle, pilot, interview())
        await app.workers.wait_for_complete()
        await settle()
        compare("detail-speakers-narrow", app)


async def test_who_spoke_and_how_long(compare: Compare) -> None:
    """A name that somebody gave is not shown, or nobody sees who talked all the time."""
    people = (Speaker(label="A", name="Ann", voice=embedding("A")), Speaker(label="B", name="Bo", voice=embedding("B")))
    job = "pair-10"
    facts = [*interview(job), (30.0, spoken(job, 2)), (25.0, completed(job)), (9.0, Named(job=job, people=people))]
    async with shown(LARGE) as (app, settle, pilot):
        app.theme = LIGHT.name
        await shows_in_detail(app, settle, pilot, facts)
        await app.workers.wait_for_complete()
        await settle()
        compare("detail-speakers", app)


async def test_a_transcript_without_words(compare: Compare) -> None:
    """Success with nothing: nobody learns that the recording was too quiet, or that its other track has the speech."""
    async with shown(SMALL) as (app, settle, pilot):
        await shows_in_detail(app, settle, pilot, empty())
        compare("detail-empty", app)


async def test_jobs_whose_transcripts_are_not_whole(compare: Compare) -> None:
    """Of a hundred that completed nobody finds the one that is cut off."""
    async with shown(SMALL) as (app, settle, _):
        app.tell([*incomplete(), *empty(), *done("news-1", "The news of the day", 90_000)])
        app.look(nodes=nodes())
        await settle()
        compare("jobs-incomplete", app)


@pytest.mark.parametrize("width", [40, 60])
async def test_every_state_is_on_the_screen_of_a_phone(width: int) -> None:
    """The last states are beyond the edge: nobody can tap them, and whoever has chosen one does not see which."""
    async with shown((width, 49)) as (app, settle, _):
        app.tell(everything())
        await settle()
        tabs = app.screen.query_one("#tabs")
        drawn = " ".join(picture(app).splitlines()[1 : 1 + tabs.size.height])
        assert [tab for tab in TABS if not re.search(rf"\b{tab}\s+\d", drawn)] == []


async def test_a_phone_says_that_the_name_of_the_broker_is_cut_off() -> None:
    """The line ends in a dot with nothing after it, as if there were no broker."""
    async with shown((60, 49)) as (app, settle, _):
        app.tell(everything())
        app.look(nodes=nodes(), dead=letters())
        await settle()
        assert re.search(r"nats\S*…$|nats\S*:4222$", picture(app).splitlines()[0])


async def test_a_phone_shows_titles_rather_than_progress() -> None:
    """On a phone titles end after ten letters, and bars take their room."""
    async with shown((60, 49)) as (app, settle, _):
        app.tell(done("news-1", "The news of the whole day", 60))
        await settle()
        drawn = picture(app)
        assert "The news of the whole day" in drawn
        assert "progress" not in drawn


async def test_a_transcript_without_words_does_not_promise_a_language() -> None:
    """The user waits for a language that is not known yet, of a job that has ended."""
    async with shown(SMALL) as (app, settle, pilot):
        facts = [(60.0, submitted("dead-1", "A talk")), (50.0, Failed(job="dead-1", stage="download", reason="gone"))]
        await shows_in_detail(app, settle, pilot, facts)
        drawn = picture(app)
        assert "language not known" in drawn
        assert "not known yet" not in drawn


async def test_the_next_place_where_words_are_missing() -> None:
    """Speech that nothing was heard in is found only by reading all of it, and is not tried again."""
    async with shown(SMALL) as (app, settle, pilot):
        await shows_in_detail(app, settle, pilot, incomplete())
        await pilot.press("g")
        await settle()
        transcript = app.screen.query_one(Transcript)
        assert transcript.current
        assert (transcript.current.kind, transcript.current.chunk) == ("unheard", 1)
        assert app.screen.check_action("retry", ()) is True


async def test_a_very_long_title_takes_one_line() -> None:
    """The title of a video is a paragraph, and the words are below the end of the screen."""
    async with shown(SMALL) as (app, settle, pilot):
        await shows_in_detail(app, settle, pilot, done("long-1", "A talk about everything. " * 20, 60))
        assert app.screen.query_one("#head").size.height == 4


async def test_a_search_within_a_transcript(compare: Compare) -> None:
    """What is searched for is not found where it is, or not marked."""
    async with shown(SMALL) as (app, settle, pilot):
        app.tell(running())
        await settle()
        await pilot.press("enter")
        await settle()
        app.tell(running(), "sea-3")
        await settle()
        await pilot.press("slash", *"Bridge", "enter", "n")
        await settle()
        compare("detail-search", app)


@pytest.mark.parametrize(("name", "size"), [("fleet-narrow", SMALL), ("fleet", LARGE)])
async def test_the_fleet(compare: Compare, name: str, size: tuple[int, int]) -> None:
    """An accelerator has work and no node, a stage is down, a letter is dead, and nobody sees it."""
    async with shown(size) as (app, settle, pilot):
        down = node("box", "download", pid=78, state="restarting in 5 s", last_error="ended with code 1: no disk space")
        app.known.nodes.look([node("old mac", speed=4.0)], time.monotonic() - 90)
        for speed in (3.0, 9.0, 14.0, 11.0):
            app.known.nodes.look([node("m4", speed=speed)], time.monotonic() - 10)
        app.look(nodes=[*(info for info in nodes() if info.stage != "download"), down], queues=queues(), dead=letters())
        app.tell([])
        await pilot.press("2")
        await settle()
        await pilot.press("tab", "down", "down", "down")
        await settle()
        compare(name, app)


async def test_the_form_of_a_submission(compare: Compare) -> None:
    """What can be put in is not said, or the form does not fit 80 columns by 24 lines."""
    async with shown(SMALL) as (app, settle, pilot):
        app.desk.actions = object()  # type: ignore[assignment]  # there is a broker
        app.tell([])
        await settle()
        await pilot.press("s")
        await pilot.press(*"ftp://x", "ctrl+s")
        await settle()
        compare("submit", app)


async def test_all_options_of_a_submission(compare: Compare) -> None:
    """Who wants a prompt, a beam or another track leaves the monitor for the command line."""
    async with shown(LARGE) as (app, settle, pilot):
        app.desk.actions = object()  # type: ignore[assignment]  # there is a broker
        app.tell([])
        await settle()
        await pilot.press("s", *"https://example.com/talk.mp3", *["tab"] * 5, *"Call me Ishmael.")
        await settle()
        compare("submit-large", app)


async def test_the_last_option_of_a_submission_is_reached_with_the_keys(compare: Compare) -> None:
    """On a small terminal the options at the end cannot be seen, and so not be used."""
    async with shown(SMALL) as (app, settle, pilot):
        app.desk.actions = object()  # type: ignore[assignment]  # there is a broker
        app.tell([])
        await settle()
        await pilot.press("s", *["tab"] * len(OPTIONS), *"0.3")
        await settle()
        compare("submit-scrolled", app)


async def test_the_help(compare: Compare) -> None:
    """A key that exists is found by nobody."""
    async with shown(SMALL) as (app, settle, pilot):
        app.tell(everything())
        await settle()
        await pilot.press("question_mark")
        await settle()
        compare("help", app)


async def test_a_question_before_something_is_destroyed(compare: Compare) -> None:
    """One wrong key ends a job of hours."""
    async with shown(SMALL) as (app, settle, pilot):
        app.desk.actions = object()  # type: ignore[assignment]  # there is a broker
        app.tell(running())
        await settle()
        await pilot.press("c")
        await settle()
        compare("confirm", app)
