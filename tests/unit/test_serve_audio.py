"""What OpenAI's API asks for and answers, as far as it needs no server."""

from typing import Any

import pytest

from schemas.message import Message
from schemas.options import Task
from schemas.transcript import Gap, Segment, Truncated, Unheard
from tests.builders import chunk, completed, converted, downloaded, failed, rerun, stored, submitted, transcript
from v2t_stream.errors import Reject
from v2t_stream.jobs.assembly import assemble
from v2t_stream.jobs.state import Job, fold
from v2t_stream.serve.audio.answers import document, headers, text_of
from v2t_stream.serve.audio.deltas import Deltas
from v2t_stream.serve.audio.parameters import Asked, asked
from v2t_stream.serve.audio.work import failure
from v2t_stream.serve.problems import Problem, problem_of


def spoken(*facts: Message) -> tuple[list[str], Deltas, Job]:
    """The deltas of a job after each of its facts, what makes them, and the job."""
    deltas = Deltas()
    found = [deltas.of(fold("job", stored(*facts[: n + 1]))) for n in range(len(facts))]
    return [delta for delta in found if delta], deltas, fold("job", stored(*facts))


def test_words_come_in_order_however_the_chunks_come() -> None:
    """A reader sees the end of a sentence before its beginning, or a word twice."""
    found, deltas, job = spoken(
        downloaded(), chunk(2, "three"), chunk(0, "One"), chunk(1, "two"), converted(chunks=4), chunk(3, "four.")
    )
    assert found == ["One", " two three", " four."]
    assert "".join(found) == text_of(assemble(job))
    assert deltas.rest("One two three four.") == ""


def test_what_is_missing_is_said_where_it_is_missing() -> None:
    """A stream with a hole reads like a whole one."""
    found, deltas, job = spoken(
        downloaded(),
        chunk(0, "One"),
        chunk(1, error="the engine died"),
        chunk(2, unheard=(Unheard(start=70.0, end=80.0),)),
        converted(chunks=3, truncated=Truncated(declared=120.0, decoded=90.0)),
    )
    whole = text_of(assemble(job))
    assert "".join(found) + deltas.rest(whole) == whole
    assert found[1] == " [missing: the engine died]"
    assert whole.endswith(
        "[missing: speech in which no words were heard] [missing: the recording ends here, at 1 min 30 s of 2 min]"
    )


def test_languages_without_spaces_get_none() -> None:
    """Chinese is torn apart at each chunk."""
    found, _, job = spoken(downloaded(), chunk(0, "你好。"), chunk(1, "世界"), chunk(2, "OK"))
    assert "".join(found) == text_of(assemble(job)) == "你好。世界 OK"


def test_words_that_a_retry_has_changed_are_not_sent_as_if_they_followed() -> None:
    """The words of two models stand one after another."""
    _, deltas, _ = spoken(downloaded(), chunk(0, "A dog"), rerun(downloaded()), chunk(0, "A cat", run=1))
    assert deltas.rest("A cat sleeps.") == ""
    assert deltas.rest("A dog sleeps.") == " sleeps."


def told(record: Any, format_: str) -> Any:
    return document(
        record, Asked(wish=asked({}, "transcribe").wish, format=format_, granularities=("segment",), stream=False)
    )


@pytest.mark.parametrize("format_", ["json", "verbose_json", "diarized_json"])
def test_no_format_says_that_a_transcript_with_a_gap_is_whole(format_: str) -> None:
    """A program files half of a meeting as the meeting."""
    gap = Gap(chunk=1, start=30.0, end=60.0, reason="the engine “died”")
    record = transcript(Segment(start=0.0, end=1.0, text="One"), gaps=(gap,))
    answer = told(record, format_)
    assert answer["text"] == "One [missing: the engine “died”]"
    assert answer["x_v2t"]["complete"] is False
    assert [found["start"] for found in answer["x_v2t"]["gaps"]] == [30.0]
    assert headers(record)["X-V2T-Caveats"].isascii()
    whole = transcript(Segment(start=0.0, end=1.0, text="One"))
    assert told(whole, format_)["x_v2t"]["complete"] is True
    assert headers(whole) == {"X-V2T-Job": "job"}


@pytest.mark.parametrize("format_", ["text", "srt", "vtt"])
def test_a_gap_is_seen_in_text_and_subtitles(format_: str) -> None:
    """Nobody notices that half a minute of a film has no subtitles."""
    record = transcript(gaps=(Gap(chunk=1, start=30.0, end=60.0, reason="it died"),))
    assert "[missing: it died]" in told(record, format_)


def test_what_no_engine_measures_is_marked() -> None:
    """A program takes 0 for a measurement, and trusts every segment."""
    record = transcript(Segment(start=0.0, end=1.0, text="One"))
    answer = told(record, "verbose_json")
    assert {"avg_logprob", "no_speech_prob"} <= {*answer["x_v2t"]["not_measured"]}
    assert answer["segments"][0]["compression_ratio"] < 1


def form(task: Task = "transcribe", **fields: str | list[str]) -> Asked:
    return asked({name: [value] if isinstance(value, str) else value for name, value in fields.items()}, task)


def test_what_common_clients_send_besides_is_taken() -> None:
    """A program that works with OpenAI is refused here for what it leaves empty."""
    found = form(model="whisper-1", language="", prompt=" ", temperature="0", user="me", stream="False", languages="de")
    assert (found.wish.model, found.wish.language, found.wish.prompt) == (None, "de", None)
    assert (found.wish.temperature, found.stream, found.format) == (None, False, "json")
    assert form(language="auto").wish.language is None
    assert form(language="en-US").wish.language == "en"
    assert form(chunking_strategy='{"type": "server_vad", "threshold": 0.3}').wish.vad_threshold == 0.3
    assert form(chunking_strategy="auto").wish.vad_threshold is None
    assert form(timestamp_granularities="word", response_format="verbose_json").wish.word_timestamps
    assert form(response_format="diarized_json").wish.speakers == "auto"
    assert form(response_format="diarized_json", speakers="2-5").wish.speakers == "2-5"


def test_of_a_long_prompt_the_end_counts() -> None:
    """A client that sends all it has written so far is refused."""
    assert form(prompt="x" * 5000 + " the last words").wish.prompt == ("x" * 985 + " the last words")


@pytest.mark.parametrize(
    ("param", "fields"),
    [
        ("chunking_strategy", {"chunking_strategy": "never"}),
        ("chunking_strategy", {"chunking_strategy": '{"type": "client_vad"}'}),
        ("chunking_strategy[prefix_padding_ms]", {"chunking_strategy": '{"prefix_padding_ms": 3}'}),
        ("vad_threshold", {"chunking_strategy": '{"type": "server_vad", "threshold": 7}'}),
        ("hotwords", {"keywords[]": ["x" * 600, "y" * 600]}),
        ("file", {"file": "text"}),
        ("url", {"url": "http://127.0.0.1/x"}),
        ("stream", {"stream": "maybe"}),
    ],
)
def test_what_cannot_be_honoured_names_its_parameter(param: str, fields: dict[str, Any]) -> None:
    """A parameter changes nothing, and nobody hears of it."""
    with pytest.raises((Problem, Reject)) as refused:
        form(**fields)
    told = problem_of(refused.value)
    assert (told.status, told.param) == (400, param)


def test_a_translation_has_no_speakers() -> None:
    """The client's type for that answer is always a transcription."""
    with pytest.raises(Problem, match="unknown response_format 'diarized_json'"):
        form("translate", response_format="diarized_json")


@pytest.mark.parametrize(
    ("stage", "status", "param"),
    [("download", 400, "file"), ("convert", 400, "file"), ("transcribe", 500, None), ("aggregate", 500, None)],
)
def test_the_status_says_whose_fault_a_failure_is(stage: str, status: int, param: str | None) -> None:
    """Somebody looks for the fault in a good file, or sends a broken one to support."""
    found = failure(fold("job", stored(submitted(), failed(stage=stage, reason="it is broken: mend it"))))
    assert (found.status, found.param) == (status, param)
    assert str(found) == "job job failed: it is broken: mend it"


def test_a_job_that_was_done_before_has_all_its_words_at_once() -> None:
    """A stream of a known recording has no words until its end."""
    _, deltas, _ = spoken(submitted(), completed(of="other"))
    assert deltas.rest("All of it.") == "All of it."
