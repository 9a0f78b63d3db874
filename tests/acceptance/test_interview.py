"""A talk of two people, from the command line to subtitles with their names."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.requests import SubmitRequest
from schemas.transcript import Transcript
from tests.diarization import in_turn
from tests.harness import broker, ended, node, until, upload
from tests.patience import PATIENCE
from v2t_stream.jobs.assembly import stored
from v2t_stream.jobs.submission import submit
from v2t_stream.store.jetstream_store import JetStreamStore

SENTENCES = (  # of words that the demo model knows
    "the white light is in the street",
    "he was in the kitchen with the old man",
    "the water is under the bridge and the boat is on the water",
    "we saw the small house at the end of the road",
)


@pytest.fixture
def interview(tmp_path: Path) -> Path:
    """Two voices in turn, a minute and a half."""
    return in_turn(2, [*SENTENCES * 7]).write(tmp_path / "interview.wav")


def speaking(record: Transcript) -> dict[float, str]:
    """Who says the word that begins at a time."""
    return {word.start: segment.speaker for segment in record.segments for word in segment.words}


async def test_an_interview_becomes_subtitles_with_names_whichever_machines_did_it(
    interview: Path, tmp_path: Path
) -> None:
    """Speakers change with the machines, or an editor has to put in who speaks and mend each cue."""
    async with broker(tmp_path / "nats") as (server, connection):
        store = JetStreamStore(connection)

        def v2t(*arguments: str | Path) -> str:
            environment = {**os.environ, "NATS_URL": server.url, "V2T_DATA_DIR": str(tmp_path / "home")}
            command = (sys.executable, "-m", "v2t_stream", *map(str, arguments))
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

        media = await upload(connection, interview)
        request = SubmitRequest(media=media, model="demo", speakers="2", word_timestamps=True, force=True)
        with node(server.url, tmp_path / "one") as first:
            alone, _ = await submit(connection, request)
            by_one = await ended(connection, alone)
            once = await stored(store, by_one.transcript)
            assert [each.label for each in once.speakers] == ["A", "B"]
            assert {segment.speaker for segment in once.segments} == {"A", "B"}

            with node(server.url, tmp_path / "two", "transcribe"), node(server.url, tmp_path / "three", "transcribe"):
                together, _ = await submit(connection, request)
                await until(connection, together, lambda job: job.chunks_cut > 0)
                first.kill("transcribe")
                by_three = await ended(connection, together)
                again = await stored(store, by_three.transcript)
        assert again.speakers == once.speakers  # to the last bit of their voices
        before, after = speaking(once), speaking(again)
        # In another batch the engine hears some words otherwise, and no lone word of a segment changes hands.
        same = {segment.words for segment in by_one.segments()} & {segment.words for segment in by_three.segments()}
        both = [word.start for words in same for word in words]
        assert len(both) > 50
        assert [at for at in both if before[at] != after[at]] == []

        assert "Speaker A" in v2t("job", "speakers", together)
        assert "Ben Smith" in v2t("job", "speakers", together, "--name", "A=Ann", "--name", "B=Ben Smith")
        options = ("--model", "demo", "--speakers", "2", "--subtitle-style", "broadcast", "--format", "srt,vtt")
        v2t("convert", interview, *options)  # the same was done before
        subtitles = [interview.with_suffix(suffix) for suffix in (".srt", ".vtt")]
        assert "\nAnn: " in subtitles[0].read_text()
        assert "\n<v Ben Smith>" in subtitles[1].read_text()
        assert v2t("check", *subtitles, "--style", "broadcast", "--language", "en").count("nothing breaks") == 2
        assert r"{\k" in v2t("job", "transcript", together, "--format", "ass", "--highlight-words")
        v2t("convert", interview, *options[:4], "--subtitle-style", "social", "--format", "ass", "--highlight-words")
        assert r"{\k" in interview.with_suffix(".ass").read_text()
