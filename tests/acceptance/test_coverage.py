"""An engine that loses words, in the real pipeline: lost words are heard again, or marked if they stay lost."""

from pathlib import Path

import msgspec

from schemas.requests import SubmitRequest
from schemas.transcript import Transcript
from tests.harness import broker, node, transcribe, upload
from tests.real_model import real_model
from tests.real_speech import SONNETS, Score, Speech, joined, recording, written
from v2t_stream.jobs.state import Job
from v2t_stream.store.jetstream_store import JetStreamStore

# faster-whisper as one decodes it wrongly: it loses the end of every window that it hears, and a deaf one the second
# time too.
ENGINE = """
from msgspec.structs import replace
from stages.transcribers.faster_whisper.engine import FasterWhisper

class Forgetful(FasterWhisper):
    def transcribe(self, chunks, request):
        heard = super().transcribe(chunks, request)
        return [self.less(one, len(chunk) / 16000, request) for one, chunk in zip(heard, chunks)]

    def less(self, heard, seconds, request):
        words = [word for segment in heard.segments for word in segment.words if word.end <= 0.7 * seconds]
        text = " ".join(word.text for word in words)
        segments = (replace(heard.segments[0], text=text, words=tuple(words)),) if words else ()
        return heard._replace(segments=segments)

class Deaf(Forgetful):
    def less(self, heard, seconds, request):
        return heard._replace(segments=()) if request.careful else super().less(heard, seconds, request)
"""


def install(folder: Path) -> dict[str, str]:
    """Install the engine as a third party's package would be; the environment with which a process has it."""
    package = folder / "forgetful-1.dist-info"
    package.mkdir(parents=True)
    (folder / "forgetful.py").write_text(ENGINE)
    (package / "METADATA").write_text("Name: forgetful\nVersion: 1\n")
    (package / "entry_points.txt").write_text(
        "[v2t.transcribers]\nforgetful = forgetful:Forgetful\ndeaf = forgetful:Deaf\n"
    )
    return {"PYTHONPATH": f"{folder}:{Path(__file__).parents[2]}"}


async def hear(folder: Path, engine: str) -> tuple[Speech, Transcript, Job]:
    speech = joined(map(recording, SONNETS), [1])
    async with broker(folder / "nats") as (server, connection):
        with node(server.url, folder / "home", **install(folder / "engine"), V2T_ENGINE=engine):
            request = SubmitRequest(
                media=await upload(connection, written(folder, "sonnets", speech)),
                language="en",
                model=str(real_model("faster-whisper")),
            )
            job, _ = await transcribe(connection, request)
            assert job.state == "completed", job.reason
            data = await JetStreamStore(connection).get(f"transcripts/{job.id}/transcript.json")
            return speech, msgspec.json.decode(data, type=Transcript), job


async def test_an_engine_that_drops_the_end_of_every_window_gives_a_whole_transcript(tmp_path: Path) -> None:
    """A third of all words is lost, and the job is completed."""
    speech, heard, job = await hear(tmp_path, "forgetful")
    score = Score.of(speech, heard.segments)
    assert score.lost <= 0.02, score
    assert score.wrong <= 0.15, score  # a stretch without what was said before it is harder to hear
    assert heard.unheard == ()
    assert job.completed
    assert job.completed.unheard == 0


async def test_what_an_engine_does_not_hear_at_all_is_marked(tmp_path: Path) -> None:
    """The transcript says it is whole when it is not."""
    speech, heard, job = await hear(tmp_path, "deaf")
    score = Score.of(speech, heard.segments)
    assert score.lost > 0.2, score
    missing = sum(stretch.end - stretch.start for stretch in heard.unheard)
    assert missing > 0.2 * speech.seconds
    assert job.completed
    assert job.completed.unheard == len(heard.unheard) > 0
