"""The library of voices on a real broker: from one job into the next."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from schemas.events import ChunkDone, Named
from schemas.options import Options
from schemas.voices import KnownVoice
from stages.aggregate import Aggregate
from tests.builders import chunk, converted, downloaded, rerun, resources, submitted
from tests.harness import Server, shared_broker
from tests.unit.test_speakers import said, voice, window
from v2t_stream.broker.connect import connect
from v2t_stream.broker.connection import Connection
from v2t_stream.cli import cli
from v2t_stream.jobs import previous, voices
from v2t_stream.jobs.assembly import stored
from v2t_stream.jobs.lists import read
from v2t_stream.store.jetstream_store import JetStreamStore

ANN, BEN = 5, 9  # the directions of their voices


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with shared_broker(tmp_path_factory.mktemp("nats")) as running:
        yield running


@pytest.fixture
async def connection(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Connection]:
    """With an empty library."""
    monkeypatch.setenv("NATS_URL", server.url)
    monkeypatch.setenv("V2T_DATA_DIR", str(tmp_path))
    async with await connect(server.url, name="test") as connection:
        yield connection
        await JetStreamStore(connection).delete_prefix("voices/")


async def v2t(*arguments: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, cli, list(arguments))


async def listed() -> dict[str, list[str]]:
    rows = json.loads((await v2t("voices", "list", "--json")).stdout)
    return {row["name"]: [f"{each['job']} {each['speaker']}" for each in row["voices"]] for row in rows}


def spoken(job: str, *people: int, run: int = 0) -> ChunkDone:
    """A chunk in which each of them says a few words in turn."""
    heard = tuple(window(10 * n, voice(person, 10 * n, 10 * n + 8, noise=n)) for n, person in enumerate(people))
    words = tuple(said("one two three", 10 * n) for n, _ in enumerate(people))
    return chunk(job=job, run=run, windows=heard, segments=words)


async def transcribed(connection: Connection, job: str, *people: int, knows: bool = True) -> list[str]:
    """Do such a job; returns the names of its speakers."""
    options = Options(speakers="auto", voices=knows)
    heard = spoken(job, *people)
    facts = (submitted(job, options=options), downloaded(job, options=options, origin=job), converted(job), heard)
    for fact in facts:
        await connection.publish(fact)
    await finish(connection, heard)
    return await names(connection, job)


async def finish(connection: Connection, last: ChunkDone) -> None:
    async for result in Aggregate(resources(connection)).process(last):
        await connection.publish(result)


async def names(connection: Connection, job: str) -> list[str]:
    record = await stored(JetStreamStore(connection), (await read(connection, job)).transcript)
    return [each.name for each in record.speakers]


async def test_a_known_voice_has_its_name_in_later_jobs_until_it_is_removed(connection: Connection) -> None:
    """Else the same host has to be named after every interview; or a person who asked to be forgotten is not."""
    assert await transcribed(connection, "first-1", ANN, BEN) == ["", ""]
    done = await v2t("voices", "add", "Ann", "--job", "first-1", "--speaker", "A")
    assert (done.exit_code, done.stderr) == (0, ""), repr(done.exception)
    assert await listed() == {"Ann": ["first-1 A"]}
    assert "first-1 A" in (await v2t("voices", "list")).stdout
    assert await transcribed(connection, "next-1", BEN, ANN) == ["", "Ann"]
    assert "Ann: one two three" in (await v2t("job", "transcript", "next-1")).stdout
    assert await transcribed(connection, "other-1", BEN, ANN, knows=False) == ["", ""]  # it did not ask

    assert (await v2t("voices", "rm", "Ann")).stdout == "removed 1 voice of Ann\n"
    assert await JetStreamStore(connection).keys("voices/") == []
    info = await connection.api("STREAM.INFO.OBJ_v2t_voices")
    assert info["state"]["messages"] == 0  # not even a mark that somebody was there
    assert await listed() == {}
    assert await transcribed(connection, "last-1", BEN, ANN) == ["", ""]
    again = await v2t("voices", "rm", "Ann")
    assert str(again.exception) == "no voice of 'Ann' is known: v2t voices list shows whose are"


async def test_the_first_names_of_a_job_stand_whatever_becomes_of_the_library(connection: Connection) -> None:
    """Else two machines that finish a job together write two transcripts, or a retry names people otherwise."""
    await transcribed(connection, "known-1", ANN, knows=False)
    await v2t("voices", "add", "Ann", "--job", "known-1", "--speaker", "A")
    options, heard = Options(speakers="auto", voices=True), spoken("both-1", ANN)
    for fact in (submitted("both-1", options=options), downloaded("both-1", options=options), converted("both-1")):
        await connection.publish(fact)
    await connection.publish(heard)
    slow = Aggregate(resources(connection)).process(heard)
    late = await anext(slow)
    assert isinstance(late, Named)
    assert [each.name for each in late.people] == ["Ann"]
    await v2t("voices", "rm", "Ann")
    await finish(connection, heard)  # by another machine
    assert await names(connection, "both-1") == [""]
    assert not await connection.publish(late)
    async for result in slow:
        await connection.publish(result)
    assert await names(connection, "both-1") == [""]

    await v2t("voices", "add", "Ann", "--job", "known-1", "--speaker", "A")
    await again(connection, "both-1", 1)
    assert await names(connection, "both-1") == [""]


async def again(connection: Connection, job: str, run: int) -> None:
    """A retry of a job, which hears Ann."""
    state = await read(connection, job)
    assert state.downloaded
    heard = spoken(job, ANN, run=run)
    for fact in (rerun(state.downloaded, run), converted(job, run=run), heard):
        await connection.publish(fact)
    await finish(connection, heard)


async def test_what_a_person_says_of_a_job_counts_more_than_the_library(connection: Connection) -> None:
    """Else somebody corrects a wrong name, and the next retry brings it back."""
    await transcribed(connection, "source-1", ANN, knows=False)
    await v2t("voices", "add", "Anna", "--job", "source-1", "--speaker", "A")
    assert await transcribed(connection, "named-1", ANN) == ["Anna"]
    assert (await v2t("job", "speakers", "named-1", "--name", "A=Ann Smith")).exit_code == 0
    await again(connection, "named-1", 1)
    assert await names(connection, "named-1") == ["Ann Smith"]
    assert (await v2t("job", "speakers", "named-1", "--name", "A=")).exit_code == 0
    await again(connection, "named-1", 2)
    assert await names(connection, "named-1") == [""]


async def test_a_job_that_asks_for_names_is_not_the_same_the_next_day(connection: Connection) -> None:
    """Else a file keeps the names of a library that has other people by now."""
    store, options = JetStreamStore(connection), Options(speakers="auto")
    await transcribed(connection, "today-1", ANN)
    assert await previous.find(connection, store, "today-1", Options(speakers="auto", voices=True)) is None
    await transcribed(connection, "plain-1", ANN, knows=False)
    assert await previous.find(connection, store, "plain-1", options)


async def test_what_is_wrong_with_a_voice_is_said(connection: Connection) -> None:
    """Else a person has two names by a slip, and so none; or one name means two people."""
    await transcribed(connection, "two-1", ANN, BEN, knows=False)
    await v2t("voices", "add", "Ann", "--job", "two-1", "--speaker", "A")
    slip = await v2t("voices", "add", "Anne", "--job", "two-1", "--speaker", "A")
    assert slip.stderr.startswith("v2t: it also sounds like Ann: ")
    wrong = await v2t("voices", "add", "Ann", "--job", "two-1", "--speaker", "B")
    assert "does not sound like the other voices of Ann" in wrong.stderr
    nobody = await v2t("voices", "add", "Cid", "--job", "two-1", "--speaker", "C")
    assert str(nobody.exception) == "job two-1 has no speaker 'C': it has A, B"
    assert await listed() == {"Ann": ["two-1 A", "two-1 B"], "Anne": ["two-1 A"]}


@pytest.mark.parametrize("name", ["../../media/x", "*.>", "a/b c", "Zoë 🎙"])
async def test_a_name_of_any_letters_is_only_a_name(connection: Connection, name: str) -> None:
    """Else a name reaches what it does not name, or cannot be removed."""
    await transcribed(connection, "odd-1", ANN, knows=False)
    await v2t("voices", "add", "Ann", "--job", "odd-1", "--speaker", "A")
    await v2t("voices", "add", name, "--job", "odd-1", "--speaker", "A")
    assert set(await listed()) == {"Ann", name}
    assert (await v2t("voices", "rm", name)).exit_code == 0
    assert set(await listed()) == {"Ann"}


@pytest.mark.parametrize("name", ["", " ", "a\x1b[2Jb", "two\nlines", "x" * 61])
async def test_what_is_no_name_is_refused(connection: Connection, name: str) -> None:
    """Else a list of voices clears the screen of whoever reads it."""
    assert (await v2t("voices", "add", name, "--job", "odd-1", "--speaker", "A")).exit_code == 2


async def test_what_others_put_into_the_library_does_no_harm(connection: Connection) -> None:
    """Else a damaged voice keeps every job without a transcript, or a name acts on a terminal."""
    store = JetStreamStore(connection)
    await store.put("voices/x/damaged.json", b"{")
    sound = voice(ANN, 0, 1).embedding
    forged = KnownVoice(name="\x1b[2Jx", voice=sound, model="campplus", job="j", speaker="A", by="me")
    await voices.add(store, forged)
    await voices.add(store, KnownVoice(name="Ben", voice=sound, model="another", job="j", speaker="A", by="me"))
    assert "\x1b" not in (await v2t("voices", "list")).stdout
    assert await transcribed(connection, "harm-1", ANN) == ["\x1b[2Jx"]
    assert "\x1b" not in (await v2t("job", "transcript", "harm-1")).stdout


async def test_a_broker_without_a_library_still_gives_transcripts(connection: Connection) -> None:
    """Else a fleet whose broker an older release set up loses every job that asks for names."""
    await connection.api("STREAM.DELETE.OBJ_v2t_voices")
    try:
        assert await transcribed(connection, "without-1", ANN) == [""]
    finally:
        await JetStreamStore(connection).create(media_max_age=3600)
