"""What the command line says about incomplete transcripts. The test stands in for two stages."""

import asyncio
import contextlib
import json
import re
import secrets
import wave
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import pytest
from msgspec.structs import replace

from schemas.events import ChunkDone, Downloaded
from schemas.message import Message
from schemas.transcript import Doubt, Segment, Sound, Track, Truncated, Unheard
from tests.acceptance.test_cli import DEMO, Terminal
from tests.builders import chunk, converted, failed
from tests.conftest import Pipeline
from tests.harness import DATA, Server, node, served, shared_broker
from tests.patience import PATIENCE
from v2t_stream.broker.connect import connect
from v2t_stream.broker.connection import Connection
from v2t_stream.host import tasks
from v2t_stream.topology.streams import JOBS
from v2t_stream.topology.subjects import decode

CUT = "the file declares 1 h 2 min and ends at 1 min: the recording is cut off"
UNHEARD = "no words were heard in 1 stretch of speech (00:12 to 00:20)"
DOUBTFUL = "words in 1 place may never have been said (00:31 to 00:40: repeated 12 times)"
EMPTY = (
    "no words were heard: the recording is very quiet (peak -62 dBFS, level -80 dBFS), no speech was detected in "
    '1 min, audio track 2 (deu, "Kommentar") was not transcribed; try --audio-track 2 or a lower --vad-threshold'
)
ACCEPTS = "--allow-truncated accepts that"


def said(n: int, *texts: str) -> ChunkDone:
    segments = tuple(
        Segment(start=30.0 * n + 10 * at, end=30.0 * n + 10 * at + 2, text=text) for at, text in enumerate(texts)
    )
    return chunk(n, segments=segments, language="en", engine="e")


WORDS = (said(0, "One.", "Two.", "Three."), said(1, "Four."))
SOUND = Sound(peak=-3.0, level=-20.0, speech=10.0, tracks=(Track(number=1, taken=True),))
ENDS: Mapping[str, tuple[Message, ...]] = {
    "whole": (*WORDS, converted(chunks=2, speech=10, sound=SOUND)),
    "cut": (
        replace(WORDS[0], unheard=(Unheard(start=12.5, end=20),)),
        replace(WORDS[1], doubtful=(Doubt(start=31, end=40, reason="repeated 12 times"),)),
        converted(chunks=2, speech=10, sound=SOUND, truncated=Truncated(declared=3723, decoded=60)),
    ),
    "empty": (
        converted(
            chunks=0,
            duration=60,
            sound=Sound(
                peak=-62.4,
                speech=0.0,
                level=-80.1,
                tracks=(Track(number=1, taken=True), Track(number=2, language="deu", title="Kommentar")),
            ),
        ),
    ),
    "bad": (failed(reason="it is no recording"),),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A broker with the stages that do not look into media."""
    folder = tmp_path_factory.mktemp("caveats")
    with (
        shared_broker(folder / "nats") as server,
        node(server.url, folder / "home", "intake", "download", "aggregate"),
    ):
        yield server


@pytest.fixture
async def connection(server: Server) -> AsyncIterator[Connection]:
    """Decodes and transcribes each download as ENDS says for its title."""
    async with await connect(server.url, name="test", patience=PATIENCE) as connection:
        hearing = asyncio.create_task(hear(connection))
        yield connection
        await tasks.end(hearing)


async def hear(connection: Connection) -> None:
    async with contextlib.aclosing(connection.watch(JOBS, Downloaded.subject_of(job="*"))) as facts:
        async for stored in facts:
            if stored and isinstance(media := decode(stored.subject, stored.data), Downloaded):
                for fact in ENDS[Path(media.title).stem]:
                    await connection.publish(replace(fact, job=media.job))


@pytest.fixture
def terminal(server: Server, connection: Connection, tmp_path: Path) -> Terminal:
    return Terminal(tmp_path / "home", server.url)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Requests for recordings that nobody has transcribed before."""
    folder = tmp_path / "talks"
    folder.mkdir()
    for name in ENDS:
        with wave.open(str(folder / f"{name}.wav"), "wb") as file:
            file.setparams((1, 2, 16_000, 0, "NONE", ""))
            file.writeframes(secrets.token_bytes(2000))
    return folder


async def ran(terminal: Terminal, *arguments: str | Path, code: int = 0) -> tuple[str, str]:
    return await asyncio.to_thread(terminal.run, *arguments, code=code)


async def test_convert_writes_what_there_is_of_a_recording_that_is_cut_off_and_fails(
    terminal: Terminal, folder: Path
) -> None:
    """Half a recording passes for all of it, or is lost."""
    arguments = ("convert", "--input", folder / "cut.wav", "--format", "srt,json")
    out, err = await ran(terminal, *arguments, code=3)
    assert out == f"{folder}/cut.srt\n{folder}/cut.json\n"
    told = [f"v2t: {folder}/cut.wav: {caveat}" for caveat in (CUT, UNHEARD, DOUBTFUL)]
    assert err.splitlines()[-4:] == [
        *told,
        f"v2t: the recording is cut off, so the transcript is incomplete: {ACCEPTS}",
    ]
    assert "completed: 1 min of media in" in err
    assert ", but 1 stretch of speech without words, the recording is cut off\n" in err
    srt = (folder / "cut.srt").read_text()
    assert "\n00:00:12,500 --> 00:00:20,000\n[missing: speech in which no words were heard]\n" in srt
    assert srt.endswith("\n00:01:00,000 --> 01:02:03,000\n[missing: the recording ends here, at 1 min of 1 h 2 min]\n")
    record = json.loads((folder / "cut.json").read_text())
    assert record["truncated"] == {"declared": 3723.0, "decoded": 60.0}
    assert record["unheard"] == [{"start": 12.5, "end": 20.0}]
    assert record["doubtful"] == [{"start": 31.0, "end": 40.0, "reason": "repeated 12 times"}]


async def test_convert_of_the_same_again_says_the_same_again(terminal: Terminal, folder: Path) -> None:
    """The second time half a recording is whole."""
    await ran(terminal, "convert", "--input", folder / "cut.wav", code=3)
    _, err = await ran(terminal, "convert", "--input", folder / "cut.wav", code=3)
    assert "cut.wav was already done as job" in err
    assert f"v2t: {folder}/cut.wav: {CUT}" in err
    _, err = await ran(terminal, "convert", "--input", folder / "cut.wav", "--allow-truncated")
    assert f"v2t: {folder}/cut.wav: {CUT}" in err
    assert ACCEPTS not in err


async def test_convert_of_a_folder_names_those_that_are_not_whole(terminal: Terminal, folder: Path) -> None:
    """One of a hundred is cut off and nobody knows which, or a failure looks like a cut-off recording."""
    out, err = await ran(terminal, "convert", "--input", folder, code=1)
    assert len(out.splitlines()) == 3
    assert f"v2t: {folder}/cut.wav: {CUT}\n" in err
    assert f"v2t: {folder}/empty.wav: {EMPTY}\n" in err
    assert f"v2t: {folder}/whole.wav" not in err
    assert err.endswith("v2t: 1 of 4 files could not be transcribed\n")
    (folder / "bad.wav").unlink()
    _, err = await ran(terminal, "convert", "--input", folder, code=3)
    assert err.endswith(f"v2t: 1 of 3 recordings is cut off, so the transcript is incomplete: {ACCEPTS}\n")


async def test_convert_of_a_recording_with_nothing_to_hear(terminal: Terminal, folder: Path) -> None:
    """The command succeeds with nothing and does not say why."""
    out, err = await ran(terminal, "convert", "--input", folder / "empty.wav")
    assert out == f"{folder}/empty.srt\n"
    assert (folder / "empty.srt").read_text() == ""
    assert err.splitlines()[-1] == f"v2t: {folder}/empty.wav: {EMPTY}"


async def test_etl_tells_of_what_it_waited_for(terminal: Terminal, folder: Path) -> None:
    """A link to half a recording is transcribed with exit code 0."""
    with served(folder) as site:
        out, err = await ran(terminal, "etl", "--url", f"{site}/cut.wav", "--wait", code=3)
        assert f"v2t: cut: {CUT}\nv2t: cut: {UNHEARD}\nv2t: cut: {DOUBTFUL}\n" in err
        assert out == (
            "One.\nTwo.\n[missing: speech in which no words were heard]\nThree.\nFour.\n"
            "[missing: the recording ends here, at 1 min of 1 h 2 min]\n"
        )
        arguments = ("etl", "--url", f"{site}/cut.wav?again", "--allow-truncated")
        assert (await ran(terminal, *arguments, "--wait"))[0] == out
        links = ("--url", f"{site}/whole.wav", "--url", f"{site}/empty.wav")
        out, err = await ran(terminal, "etl", *links, "--wait")
        assert f"v2t: empty: {EMPTY}\n" in err
        assert "v2t: whole" not in err
        out, err = await ran(terminal, "etl", "--url", f"{site}/cut.wav?follow", "--force", "--follow", code=3)
    assert out.splitlines() == [
        "[00:00 - 00:02] One.",
        "[00:10 - 00:12] Two.",
        "[00:12 - 00:20] [missing: speech in which no words were heard]",
        "[00:20 - 00:22] Three.",
        "[00:30 - 00:32] Four.",
    ]
    assert f"v2t: cut: {CUT}\n" in err


def test_half_a_file_is_marked_through_all_stages(pipeline: Pipeline, tmp_path: Path) -> None:
    """The next stage loses what one stage finds out."""
    half = tmp_path / "half.flac"
    whole = (DATA / "20s-1.flac").read_bytes()
    half.write_bytes(whole[: len(whole) // 2])
    terminal = Terminal(tmp_path / "home", pipeline.url)
    out, err = terminal.run("convert", "--input", half, *DEMO, "--format", "txt", code=3)
    assert out == f"{half.with_suffix('.txt')}\n"
    assert re.search(
        rf"^v2t: {half}: the file declares (19|20)[\d.]* s and ends at [\d.]+ s: the recording is cut off$",
        err,
        re.MULTILINE,
    )
    assert re.search(
        r"\w+\.\n(.*\n)*\[missing: the recording ends here, at [\d.]+ s of (19|20)[\d.]* s\]\n$",
        half.with_suffix(".txt").read_text(),
    )


async def test_the_status_of_a_job_says_what_its_transcript_lacks(terminal: Terminal, folder: Path) -> None:
    """Weeks later nobody knows that the job, or one that reuses it, has only half a recording."""
    with served(folder) as site:
        for link in ("cut.wav", "cut.wav?before", "empty.wav"):
            await ran(terminal, "etl", "--url", f"{site}/{link}", "--wait", "--allow-truncated")
        jobs = json.loads((await ran(terminal, "job", "list", "--json"))[0])
        by_source = {job["source"]: job["id"] for job in jobs}
        cut, before, empty = (by_source[f"{site}/{link}"] for link in ("cut.wav", "cut.wav?before", "empty.wav"))
    for job in (cut, before):
        out, _ = await ran(terminal, "job", "status", job)
        assert f"caveats     {CUT}\n            {UNHEARD}\n            {DOUBTFUL}\n" in out
        status = json.loads((await ran(terminal, "job", "status", job, "--json"))[0])
        assert status["truncated"] == {"declared": 3723.0, "decoded": 60.0}
        assert status["unheard"] == [{"start": 12.5, "end": 20.0}]
        assert status["doubtful"] == [{"start": 31.0, "end": 40.0, "reason": "repeated 12 times"}]
        assert status["caveats"] == [CUT, UNHEARD, DOUBTFUL]
    assert f"done before as job {cut}\n" in out
    out, _ = await ran(terminal, "job", "status", empty)
    assert f"caveats     {EMPTY}\n" in out
    status = json.loads((await ran(terminal, "job", "status", empty, "--json"))[0])
    assert status["sound"]["peak"] == -62.4
    assert [track["number"] for track in status["sound"]["tracks"]] == [1, 2]
    out, _ = await ran(terminal, "job", "list")
    for job in (cut, before, empty):
        assert re.search(rf"^{job}  completed!  ", out, re.MULTILINE)
