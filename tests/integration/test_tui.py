"""The monitor with a real broker and real stages: every action by its keys, late joiners, and brokers that go away."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
import pytest
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Input, Static, TextArea

from schemas.requests import SUBMIT_SUBJECT, SubmitRequest
from tests.harness import DATA, Node, Server, broker, ended, node, simulated, until, upload
from tests.patience import PATIENCE
from tests.simulated import install
from tests.web import Web, web
from tui.app import Monitor
from tui.screens.ask import Ask
from tui.screens.confirm import Confirm, Offer
from tui.screens.detail import DetailScreen
from tui.screens.export import Export
from tui.screens.fleet import FleetScreen
from tui.screens.help import Help
from tui.screens.jobs import JobsScreen
from tui.screens.submit import Submit
from tui.state.rows import Row
from tui.widgets.table import Table
from tui.widgets.transcript import Transcript
from v2t_stream.broker.connect import connect
from v2t_stream.broker.connection import Connection
from v2t_stream.broker.embedded import find_running
from v2t_stream.jobs.dead_letters import dead_letters
from v2t_stream.jobs.submission import submit
from v2t_stream.settings import Settings
from v2t_stream.topology.ids import inbox_epoch, job_id
from v2t_stream.topology.queues import queues
from v2t_stream.topology.streams import INBOX

OTHERS = ("intake", "download", "convert", "aggregate")
# A key goes to the app, to what has the focus, up to the app again through all that is around, and so does what it
# sets off: each of them has a queue of its own.
_QUEUES: Final = 12
AnyScreen = TypeVar("AnyScreen", bound=Screen[Any])


class Running(NamedTuple):
    server: Server
    site: Web
    machine: Node
    folder: Path
    environment: dict[str, str]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A broker, a node with an engine that takes no time, and a web server."""
    folder = tmp_path_factory.mktemp("tui")
    with web(DATA) as site, simulated(folder) as there:
        yield Running(there.server, site, there.machine, folder, there.environment)


@pytest.fixture
async def connection(running: Running) -> AsyncIterator[Connection]:
    running.machine.revive()
    async with await connect(running.server.url, name="test", patience=PATIENCE) as connection:
        yield connection


class User:
    """A person at the keyboard of a monitor."""

    def __init__(self, app: Monitor, pilot: Pilot[None]) -> None:
        self.app = app
        self.pilot = pilot
        self._said: list[str] = []
        notify = app.notify

        def noted(message: str, **more: Any) -> None:
            self._said.append(message)
            notify(message, **more)

        app.notify = noted  # type: ignore[method-assign]  # what was said vanishes after some seconds

    async def press(self, *keys: str) -> None:
        """Press one key after another, each when the effect of the one before is complete.

        The pilot takes a process for idle that uses no processor, which one that the system holds up does not either.
        """
        for key in keys:
            await self.pilot.press(key)
            for _ in range(_QUEUES):
                await self.pilot._wait_for_screen()
            await self.sees(lambda: self.app.screen.is_mounted)

    async def answers(self, key: str, answer: str) -> None:
        """Press a key that asks a question, and answer it."""
        await self.press(key)
        await self.comes_to(Confirm)
        await self.press(answer)
        await self.sees(lambda: not isinstance(self.app.screen, Confirm))

    async def comes_to(self, kind: type[AnyScreen]) -> AnyScreen:
        """The screen of that kind, once it is open and complete."""
        await self.sees(lambda: isinstance(self.app.screen, kind) and self.app.screen.is_mounted)
        screen = self.app.screen
        assert isinstance(screen, kind)
        return screen

    async def is_told(self, text: str) -> None:
        """The error in the open form."""
        await self.sees(lambda: text in str(self.app.screen.query_one("#wrong").render()))

    async def sees(self, what: Callable[[], object]) -> None:
        """Wait until the condition holds and is drawn, because keys act on the screen."""
        async with asyncio.timeout(PATIENCE):
            while not what() or self.app.known.is_new:
                await self.pilot.pause(0.05)

    def row(self, title: str) -> Row | None:
        """The latest job with this title."""
        rows = [row for row in self.app.known.picture.rows() if row.title == title]
        return max(rows, key=lambda row: row.started_at or 0.0, default=None)

    async def sees_state(self, title: str, state: str) -> Row:
        await self.sees(lambda: (row := self.row(title)) and row.state == state)
        row = self.row(title)
        assert row
        return row

    async def goes_to(self, job: str) -> None:
        """Put the cursor on the job."""
        table = self.app.screen.query_one("#jobs", Table)
        await self.sees(lambda: table.select(job) or table.selected == job)

    def said(self) -> str:
        """The notifications."""
        return "\n".join(self._said)

    async def fills_in(self, lines: str, language: str = "", model: str = "") -> None:
        await self.press("s")
        form = await self.comes_to(Submit)
        form.query_one(TextArea).text = lines
        form.query_one("#language", Input).value = language
        form.query_one("#model", Input).value = model
        await self.press("ctrl+s")


@contextlib.asynccontextmanager
async def user(url: str, home: Path, size: tuple[int, int] = (120, 40), model: str = "") -> AsyncIterator[User]:
    """A person at a monitor that has joined. `model`: of the simulated engine, where the monitor runs the stages."""
    mine = {"engine": "simulated", "model": model, "batch": 1} if model else {}
    app = Monitor(msgspec.structs.replace(Settings(nats_url=url, data_dir=str(home)), **mine))
    async with app.run_test(size=size, notifications=True) as pilot:
        person = User(app, pilot)
        if url:
            await person.sees(lambda: app.known.picture.caught_up and app.known.seen)
        yield person


async def test_a_link_is_submitted_watched_read_and_exported(running: Running, tmp_path: Path) -> None:
    """The monitor does not do its main job."""
    async with user(running.server.url, tmp_path) as person:
        await person.fills_in(f"{running.site.url}/20s-1.flac?export", language="EN")
        row = await person.sees_state("20s-1", "completed")
        assert (row.language, row.missing) == ("en", 0)
        await person.goes_to(row.id)
        await person.press("enter")
        transcript = (await person.comes_to(DetailScreen)).query_one(Transcript)
        await person.sees(lambda: transcript.all_entries)
        assert {entry.kind for entry in transcript.all_entries} == {"said"}
        assert " in en." in " ".join(entry.text for entry in transcript.all_entries)

        await person.press("Y")
        await person.sees(lambda: person.app.clipboard)
        assert person.app.clipboard.count("\n") == len(transcript.all_entries) - 1
        await person.press("e")
        file = tmp_path / "talk.srt"
        (await person.comes_to(Export)).query_one("#file", Input).value = str(file)
        await person.press("enter")
        await person.sees(file.exists)
        await person.sees(lambda: "wrote " in person.said())
        assert file.read_text().startswith("1\n00:00:0")

        # A file that is there is not overwritten by a single key.
        file.write_text("mine")
        await person.press("e")
        (await person.comes_to(Export)).query_one("#file", Input).value = str(file)
        await person.press("enter")
        await person.is_told("press enter again to overwrite it")
        assert file.read_text() == "mine"


async def test_several_lines_and_files_are_submitted(running: Running, tmp_path: Path) -> None:
    """Only one of several links is taken, or a local file cannot be sent."""
    clip = tmp_path / "my clip.flac"
    clip.write_bytes((DATA / "5s.flac").read_bytes())
    async with user(running.server.url, tmp_path) as person:
        await person.fills_in(f"{running.site.url}/20s-2.flac?several\n\n{clip}\n", language="de")
        await person.sees_state("20s-2", "completed")
        row = await person.sees_state("my clip.flac", "completed")
        assert row.language == "de"
        await person.sees(lambda: "submitted 2 jobs" in person.said())


async def test_what_is_wrong_in_a_form_is_said_there(running: Running, tmp_path: Path) -> None:
    """A misspelt model shows only when a job fails."""
    async with user(running.server.url, tmp_path) as person:
        await person.fills_in("https://example.com/talk.mp3", model="smal")
        await person.is_told("unknown model 'smal': did you mean small")
        assert isinstance(person.app.screen, Submit)


async def test_a_job_is_cancelled_after_a_question(running: Running, connection: Connection, tmp_path: Path) -> None:
    """A wrong key ends a job, or nothing does."""
    media = await upload(connection, DATA / "3min.ogg")
    wish = SubmitRequest(media=media, title="slow", model="sim/x1", language="fr", force=True)
    job, _ = await submit(connection, wish)
    async with user(running.server.url, tmp_path) as person:
        await person.sees_state("slow", "transcribing")
        await person.goes_to(job)
        await person.answers("c", "n")
        await person.answers("c", "y")
        await person.sees_state("slow", "cancelled")
    assert (await ended(connection, job)).state == "cancelled"
    running.machine.kill("transcribe")  # it would be at it for a while
    running.machine.start("transcribe")


async def test_a_failed_job_is_retried(running: Running, tmp_path: Path) -> None:
    """A link that was dead for a moment must be entered again."""
    running.site.missing.add("20s-3.flac")
    async with user(running.server.url, tmp_path) as person:
        await person.fills_in(f"{running.site.url}/episode/1/20s-3.flac?retried", language="es")
        await person.sees(lambda: any(row.state == "failed" for row in person.app.known.picture.rows()))
        (row,) = (row for row in person.app.known.picture.rows() if row.state == "failed")
        running.site.missing.clear()
        await person.goes_to(row.id)
        await person.press("r")
        await person.sees(lambda: (job := person.app.known.picture.job(row.id)) and job.state == "completed")
        # Again, by another model, which is asked for.
        await person.sees(lambda: person.app.screen.check_action("model", ()))  # its row shows the end a moment later
        await person.press("m")
        (await person.comes_to(Ask)).query_one(Input).value = "sim/x900"
        await person.press("enter")
        await person.sees(lambda: (job := person.app.known.picture.job(row.id)) and job.retries == 2)
        await person.sees(lambda: (job := person.app.known.picture.job(row.id)) and job.state == "completed")


async def test_a_gap_is_filled_from_the_job_and_from_its_dead_letter(
    running: Running, connection: Connection, tmp_path: Path
) -> None:
    """Failed work stays undone, or retrying one chunk redoes all of them."""
    lengths = {}
    media = await upload(connection, DATA / "3min.ogg")
    first, _ = await submit(connection, SubmitRequest(media=media, title="lengths", language="it", force=True))
    for n, chunk in (await ended(connection, first)).chunks.items():
        lengths[n] = chunk.segments[0].text.split(" ")[0]
    media = await upload(connection, DATA / "3min.ogg")
    poison = f"x1000-poison{lengths[1]}-poison{lengths[2]}"
    running.machine.kill("transcribe")
    environment = {**running.environment, "V2T_MODEL": poison}
    with node(running.server.url, running.folder / "poison", "transcribe", **environment):
        job, _ = await submit(connection, SubmitRequest(media=media, title="gaps", language="it", force=True))
        assert {gap.chunk for gap in (await ended(connection, job)).gaps} == {1, 2}
    running.machine.start("transcribe")
    async with user(running.server.url, tmp_path) as person:
        row = await person.sees_state("gaps", "completed")
        assert row.missing == 2
        await person.goes_to(job)
        await person.press("enter")
        screen = await person.comes_to(DetailScreen)
        transcript = screen.query_one(Transcript)
        await person.sees(lambda: [entry.chunk for entry in transcript.all_entries if entry.kind == "gap"] == [1, 2])
        await person.press("g")
        await person.sees(lambda: transcript.current and transcript.current.kind == "gap")
        await person.press("r")
        await person.sees(lambda: [gap.chunk for gap in screen.job.gaps] == [2] and screen.job.completed)
        await person.press("escape")
        await person.comes_to(JobsScreen)
        await person.press("2")
        dead = (await person.comes_to(FleetScreen)).query_one("#dead", Table)
        dead.focus()
        await person.sees(lambda: dead.has_focus)
        # The retry has taken the letter about the other chunk off the list.
        (number,) = await letters_about(connection, job)
        await person.sees(lambda: dead.select(number) or dead.selected == number)
        await person.press("r")
        await person.sees(lambda: f"retrying job {job}" in person.said())  # till then its old end stands
        await until(connection, job, lambda state: bool(state.is_whole and not state.gaps and state.completed))
    assert not await letters_about(connection, job)


async def test_a_dead_letter_is_discarded_after_a_question(
    running: Running, connection: Connection, tmp_path: Path
) -> None:
    """What nobody wants to retry stays on the list for a month."""
    await connection.submit(SUBMIT_SUBJECT, b"gopher://nobody", "discarded")
    state = (await connection.api(f"STREAM.INFO.{INBOX}"))["state"]
    job = job_id(await inbox_epoch(connection), state["last_seq"])
    async with user(running.server.url, tmp_path) as person:
        await person.press("2")
        dead = (await person.comes_to(FleetScreen)).query_one("#dead", Table)
        dead.focus()
        await person.sees(lambda: dead.has_focus)
        async with asyncio.timeout(PATIENCE):
            while not (numbers := await letters_about(connection, job)):
                await asyncio.sleep(0.05)
        await person.sees(lambda: dead.select(numbers[0]) or dead.selected == numbers[0])
        await person.answers("x", "y")
        await person.sees(lambda: "discarded dead letter" in person.said())
    assert not await letters_about(connection, job)


async def test_speech_that_nobody_heard_is_shown_and_can_be_heard_again(
    running: Running, connection: Connection, tmp_path: Path
) -> None:
    """An engine that hears nothing looks like a silent recording."""
    media = await upload(connection, DATA / "20s-3.flac")
    wish = SubmitRequest(media=media, title="deaf", language="it", model="sim/x1000-deaf", force=True)
    job, _ = await submit(connection, wish)
    async with user(running.server.url, tmp_path) as person:
        row = await person.sees_state("deaf", "completed")
        assert row.falls_short
        await person.goes_to(job)
        await person.press("enter")
        screen = await person.comes_to(DetailScreen)
        transcript = screen.query_one(Transcript)
        await person.sees(lambda: transcript.all_entries)
        assert {entry.kind for entry in transcript.all_entries} == {"unheard"}
        await person.sees(lambda: screen.query_one("#remarks").display)
        said = str(screen.query_one("#remarks", Static).render())
        assert re.search(r"^no words were heard in \d+ stretch(es)? of speech \(00:0", said)
        assert re.search(r"^no words were heard(:| in)", said.splitlines()[-1])
        await person.press("g")
        await person.press("r")
        await person.sees(lambda: screen.job.retries == 1 and screen.job.completed)


async def letters_about(connection: Connection, job: str) -> list[str]:
    return [str(one.number) for one in await dead_letters(connection) if one.letter.job == job]


async def test_a_queue_is_paused_and_resumed(running: Running, connection: Connection, tmp_path: Path) -> None:
    """A stage cannot be paused, or never resumed."""

    async def paused() -> bool:
        return next(queue.paused for queue in await queues(connection) if queue.name == "convert")

    async with user(running.server.url, tmp_path) as person:
        await person.press("2")
        table = (await person.comes_to(FleetScreen)).query_one("#queues", Table)
        table.focus()
        await person.sees(lambda: table.has_focus)
        await person.sees(lambda: table.select("convert") or table.selected == "convert")
        await person.press("p")
        await person.sees(lambda: "paused convert" in person.said())
        assert await paused()
        await person.sees(lambda: next(one.paused for one in person.app.known.around.queues if one.name == "convert"))
        await person.press("p")
        await person.sees(lambda: "resumed convert" in person.said())
        assert not await paused()


async def test_a_list_is_one_row_with_its_entries_behind_it(running: Running, tmp_path: Path) -> None:
    """A channel floods the table, or nobody sees which of its videos failed."""
    async with user(running.server.url, tmp_path) as person:
        await person.fills_in(f"{running.site.url}/feed/2", language="nl")
        row = await person.sees_state("A podcast", "completed")
        assert (row.length, row.done, row.missing) == (2, 2, 0)
        await person.goes_to(row.id)
        jobs = await person.comes_to(JobsScreen)
        await person.press("enter")
        await person.sees(lambda: person.app.screen is not jobs)
        table = (await person.comes_to(JobsScreen)).query_one("#jobs", Table)
        await person.sees(lambda: table.selected)
        assert {one.title for one in person.app.known.picture.rows(row.id)} == {"Episode 1", "Episode 2"}
        await person.press("enter")
        await person.comes_to(DetailScreen)
        await person.press("escape")
        await person.comes_to(JobsScreen)
        await person.press("escape")
        await person.sees(lambda: person.app.screen is jobs and jobs.query_one("#jobs", Table).selected == row.id)


async def test_a_late_viewer_sees_the_same(running: Running, connection: Connection, tmp_path: Path) -> None:
    """Two people look at the same broker and see different jobs."""
    async with user(running.server.url, tmp_path) as early:
        media = await upload(connection, DATA / "3min.ogg")
        first, _ = await submit(connection, SubmitRequest(media=media, title="first", language="pl", force=True))
        await ended(connection, first)
        media = await upload(connection, DATA / "3min.ogg")
        wish = SubmitRequest(media=media, title="second", model="sim/x2", language="pl", force=True)
        second, _ = await submit(connection, wish)
        await until(connection, second, lambda job: job.converted is not None and len(job.chunks) >= 1)
        running.machine.kill("transcribe")
        async with user(running.server.url, tmp_path) as late:

            def same() -> bool:
                return {*early.app.known.picture.rows()} == {*late.app.known.picture.rows()}

            await late.sees(lambda: same() and (row := late.row("second")) and row.done)
            row = late.row("second")
            assert row
            assert 1 <= row.done < row.cut
            await late.press("s")
            await late.comes_to(Submit)  # it answers
            await late.press("escape")
            await late.comes_to(JobsScreen)
            await late.goes_to(second)
            await late.answers("c", "y")
            await early.sees_state("second", "cancelled")
            await late.sees(same)
    running.machine.start("transcribe")


async def test_the_broker_goes_away_and_comes_back(tmp_path: Path) -> None:
    """The monitor ends with the broker, or shows an old picture as if it were the present."""
    async with broker(tmp_path / "nats") as (server, connection):
        await submit(connection, SubmitRequest(url="https://example.com/a.mp3"))
        with node(server.url, tmp_path / "home", "intake", **install(tmp_path / "simulated")):
            async with user(server.url, tmp_path) as person:
                title = "https://example.com/a.mp3"
                await person.sees_state(title, "queued")
                server.kill()
                await person.sees(lambda: person.app.known.away)
                away = person.app.screen.query_one("#away")
                await person.sees(lambda: away.display)
                assert person.row(title)
                await person.press("down", "up", "question_mark")
                await person.comes_to(Help)
                await person.press("escape")
                await person.comes_to(JobsScreen)
                server.start()
                await person.sees(lambda: not person.app.known.away)
                await person.sees(lambda: not away.display)
                await submit(connection, SubmitRequest(url="https://example.com/b.mp3"))
                await person.sees_state("https://example.com/b.mp3", "queued")
                assert len(list(person.app.known.picture.rows())) == 2


async def test_a_broker_that_lost_its_store_is_seen_as_it_is_now(tmp_path: Path) -> None:
    """The monitor shows jobs that no longer exist, and not the new ones."""
    async with broker(tmp_path / "one") as (server, connection), user(server.url, tmp_path) as person:
        with node(server.url, tmp_path / "home", "intake", **install(tmp_path / "simulated")):
            await submit(connection, SubmitRequest(url="https://example.com/a.mp3"))
            await person.sees_state("https://example.com/a.mp3", "queued")
        server.kill()
        (tmp_path / "one").rename(tmp_path / "lost")
        server.start()
        await person.sees(lambda: person.app.known.away)
        with node(server.url, tmp_path / "home", "intake", **install(tmp_path / "simulated")):
            await person.sees(lambda: not list(person.app.known.picture.rows()))
            await submit(connection, SubmitRequest(url="https://example.com/b.mp3"))
            await person.sees_state("https://example.com/b.mp3", "queued")


async def test_a_broker_that_is_not_there_yet_is_joined_when_it_is(tmp_path: Path) -> None:
    """A user who starts the monitor before the broker must start it again."""
    server = Server(tmp_path / "nats")
    server.start()
    server.kill()
    app = Monitor(Settings(nats_url=server.url, data_dir=str(tmp_path)))
    async with app.run_test() as pilot:
        person = User(app, pilot)
        await person.sees(lambda: "no NATS server answers" in app.known.away)
        await person.press("s")
        await person.sees(lambda: "not connected to a broker yet" in person.said())
        server.start()
        try:
            with node(server.url, tmp_path / "home", "intake", **install(tmp_path / "simulated")):
                await person.sees(lambda: not app.known.away and app.known.picture.caught_up)
        finally:
            server.stop()


async def test_without_a_broker_the_embedded_one_is_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without any set-up gets an error."""
    monkeypatch.setenv("PYTHONPATH", install(tmp_path / "simulated")["PYTHONPATH"])
    async with user("", tmp_path / "home", model="x1000") as person:
        await person.comes_to(Offer)
        await person.press("y")
        await person.sees(lambda: person.app.known.picture.caught_up and person.app.known.seen)
        await person.fills_in(str(DATA / "5s.flac"))
        await person.sees_state("5s.flac", "completed")
    assert find_running(tmp_path / "home") is None  # the monitor does not end before its broker and stages have
