"""Correcting a transcript by hand, on a real broker with real files."""

import asyncio
import shlex
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace

from schemas.events import ChunkDone
from schemas.options import Options
from stages.aggregate import Aggregate
from tests.finished import Finished
from tests.harness import Server, shared_broker
from tui.actions import Actions
from v2t_stream.broker.connect import connect
from v2t_stream.cli.job import job as job_command
from v2t_stream.errors import V2TError
from v2t_stream.fleet.presence import Presence
from v2t_stream.jobs import operations, previous
from v2t_stream.jobs.assembly import stored
from v2t_stream.jobs.corrections import correct
from v2t_stream.jobs.edited import corrected, form
from v2t_stream.jobs.formats import FORMATS
from v2t_stream.jobs.lists import read
from v2t_stream.runtime.stage import Resources
from v2t_stream.settings import Settings
from v2t_stream.topology.streams import JOBS
from v2t_stream.topology.subjects import facts_of


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with shared_broker(tmp_path_factory.mktemp("nats")) as running:
        yield running


@pytest.fixture
async def house(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Finished]:
    monkeypatch.setenv("NATS_URL", server.url)
    monkeypatch.setenv("V2T_DATA_DIR", str(tmp_path))
    async with await connect(server.url, name="test") as connection:
        yield Finished(connection)


async def v2t_job(*arguments: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, job_command, list(arguments))


def editor(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """An editor that changes the `text` by this code."""
    script = (
        f"import pathlib, sys; file = pathlib.Path(sys.argv[1]); text = file.read_text(); {code}; file.write_text(text)"
    )
    monkeypatch.setenv("VISUAL", f"{shlex.quote(sys.executable)} -c {shlex.quote(script)}")


FIX = "text = text.replace('Ishmail', 'Ishmael')"


async def fixed(house: Finished, job: str, new: str = "Ishmael") -> None:
    """Correct the name in a job."""
    state = await read(house.connection, job)
    before = await stored(house.store, state.transcript)
    record = corrected(before, form(before).replace("Ishmail", new))
    await correct(house.connection, house.store, state, record, by="ann@desk")


async def test_every_reader_gets_the_corrected_transcript_and_the_original_stays(
    house: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a name is corrected in one place and wrong in the subtitles; or what was heard is lost."""
    job = await house.job("edit-1")
    editor(monkeypatch, FIX)
    done = await v2t_job("edit", job)
    assert (done.exit_code, done.stdout) == (0, f"corrected job {job}: v2t job transcript {job} prints it\n")
    for format_ in FORMATS:
        out = (await v2t_job("transcript", job, "--format", format_)).stdout
        assert ("Ishmael" in out, "Ishmail" in out) == (True, False), format_
        assert "Ishmail" in (await v2t_job("transcript", job, "--format", format_, "--original")).stdout
    state = await read(house.connection, job)
    record = await stored(house.store, state.transcript)
    original = await stored(house.store, f"transcripts/{job}/transcript")
    assert record.segments[0].words[:2] == original.segments[0].words[:2]
    assert "@" in (state.corrected.by if state.corrected else "")
    assert "corrected   by " in (await v2t_job("status", job)).stdout
    assert "Ishmael" in await Actions(house.connection, Settings.from_environment()).transcript(job, "srt")
    again = await previous.find(house.connection, house.store, f"origin-{job}", Options())
    assert again  # and so does whoever sends the same file again
    assert b"Ishmael" in await house.store.get(f"{again.transcript}.txt")


async def test_the_last_correction_outlives_the_facts_of_its_job(house: Finished) -> None:
    """Else a transcript loses its corrections after a month, and nobody notices."""
    job = await house.job("old-1")
    await fixed(house, job, "Ahab")
    state = await read(house.connection, job)
    before = await stored(house.store, state.transcript)
    record = corrected(before, form(before).replace("Ahab", "Ishmael"))
    await correct(house.connection, house.store, state, record, by="ann@desk")
    await house.connection.api(f"STREAM.PURGE.{JOBS}", {"filter": facts_of(job)})
    assert (await v2t_job("transcript", job)).stdout == "Call me Ishmael.\n"
    assert (await v2t_job("transcript", job, "--original")).stdout == "Call me Ishmail.\n"
    again = await previous.find(house.connection, house.store, f"origin-{job}", Options())
    assert again
    assert await house.store.get(f"{again.transcript}.txt") == b"Call me Ishmael.\n"


async def test_an_editor_that_changes_nothing_stores_nothing(house: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a transcript that somebody only looked at is called corrected."""
    job = await house.job("look-1")
    editor(monkeypatch, "text = text.replace('# Talk', '# I was here')")
    done = await v2t_job("edit", job)
    assert done.stderr == f"nothing was changed in the transcript of job {job}\n"
    assert (await read(house.connection, job)).corrected is None


async def test_the_second_of_two_edits_is_told_and_its_text_is_kept(
    house: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else two people correct a transcript, and the work of one of them vanishes."""
    job = await house.job("two-1")
    edits = asyncio.Event()
    loop = asyncio.get_running_loop()

    def edit(filename: str) -> None:
        """What the other person does while this editor is open."""
        asyncio.run_coroutine_threadsafe(fixed(house, job, "Ahab"), loop).result()
        file = Path(filename)
        file.write_text(file.read_text().replace("Ishmail", "Ishmael"))
        loop.call_soon_threadsafe(edits.set)

    monkeypatch.setattr(click, "edit", edit)
    done = await v2t_job("edit", job)
    assert edits.is_set()
    said = str(done.exception)
    assert said.startswith(f"somebody else has corrected job {job} meanwhile, so your correction was not stored (your ")
    kept = Path(said.split(" is kept in ")[1].split(":", maxsplit=1)[0])
    assert "Ishmael" in kept.read_text()
    state = await read(house.connection, job)
    assert b"Ahab" in await house.store.get(f"{state.transcript}.txt")
    assert len(await house.store.keys(f"transcripts/{job}/corrections/")) == len(FORMATS)


async def test_a_correction_of_what_was_retried_meanwhile_is_told(house: Finished) -> None:
    """Else somebody believes that a transcript is corrected which nobody reads any more."""
    job = await house.job("late-2")
    state = await read(house.connection, job)
    before = await stored(house.store, state.transcript)
    record = corrected(before, form(before).replace("Ishmail", "Ishmael"))
    await operations.retry(house.connection, state, chunk=0)
    with pytest.raises(V2TError, match="somebody has retried or removed job late-2 meanwhile"):
        await correct(house.connection, house.store, state, record, by="ann@desk")
    assert not await house.store.keys(f"transcripts/{job}/corrections/")


async def test_a_retry_stands_alone_unless_the_correction_is_kept(house: Finished) -> None:
    """Else a correction of old words is shown as a new transcript; or it is lost although the user wants to keep it."""
    alone, kept = await house.job("alone-1"), await house.job("kept-1")
    for job, keep in ((alone, False), (kept, True)):
        await fixed(house, job)
        state = await read(house.connection, job)
        await operations.retry(house.connection, state, chunk=0, keep_correction=keep)
        assert (await read(house.connection, job)).transcript == ""  # the retry has none yet
        converted = house.facts(job)[2]
        await house.connection.publish(replace(converted, run=1))
        chunk = house.chunk(job, 1, ("Call", "me", "Ishmaïl."))
        await house.connection.publish(chunk)
        await aggregated(house, chunk)
    text = await house.store.get(f"{(await read(house.connection, alone)).transcript}.txt")
    assert text.decode() == "Call me Ishmaïl.\n"
    state = await read(house.connection, kept)
    assert (await house.store.get(f"{state.transcript}.txt")).decode() == "Call me Ishmael.\n"
    assert state.corrected
    assert (await house.store.get(f"{state.corrected.of}.txt")).decode() == "Call me Ishmaïl.\n"
    with pytest.raises(V2TError, match="nobody has corrected the transcript of job alone-1"):
        await operations.retry(house.connection, await read(house.connection, alone), keep_correction=True)


async def aggregated(house: Finished, chunk: ChunkDone) -> None:
    """What a node does with the last result of a job; twice, because a message may come again."""
    settings = Settings.from_environment()
    stage = Aggregate(Resources(settings, house.connection, house.store, Presence("n", "aggregate")))
    for _ in range(2):
        async for result in stage.process(chunk):
            await house.connection.publish(result)


async def test_a_line_that_cannot_be_read_keeps_the_text_and_can_be_sent_from_its_file(
    house: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else an hour's work is lost for a slip in one line."""
    job = await house.job("slip-1")
    editor(monkeypatch, f"{FIX}; text = 'oops\\n' + text")
    said = str((await v2t_job("edit", job)).exception)
    kept = Path(said.split(" is kept in ")[1].split(":", maxsplit=1)[0])
    kept.write_text(kept.read_text().removeprefix("oops\n"))
    done = await v2t_job("edit", job, "--file", str(kept))
    assert done.exit_code == 0
    assert "Ishmael" in (await v2t_job("transcript", job)).stdout
