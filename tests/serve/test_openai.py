"""OpenAI's audio API, as its own client speaks it."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
from jsonschema import Draft202012Validator
from openai.types.audio import (
    TranscriptionDiarized,
    TranscriptionTextDeltaEvent,
    TranscriptionTextDoneEvent,
    TranscriptionTextSegmentEvent,
    TranscriptionVerbose,
    TranslationVerbose,
)

from tests.diarization import in_turn
from tests.harness import DATA, reference
from tests.patience import PATIENCE
from tests.serve.api import CLIP, LONG, form, problem
from tests.serving import Serving
from v2t_stream.demo.wer import word_error_rate

SENTENCES = (  # of words that the demo model knows
    "the white light is in the street",
    "he was in the kitchen with the old man",
)
SAID = reference(CLIP.name)
ANEW: dict[str, Any] = {"force": "true"}  # not what another test's job has done before


@pytest.fixture
def api(server: Serving) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=PATIENCE) as api:
        yield api


def test_openais_client_transcribes_a_file_in_each_format(api: openai.OpenAI) -> None:
    """Programs that read one of the formats find another, or none."""
    create = api.audio.transcriptions.create
    plain = create(file=CLIP, model="demo", language="en")
    assert word_error_rate(SAID, plain.text) <= 0.1
    assert plain.languages
    assert plain.languages[0].code == "en"
    assert plain.usage
    assert plain.usage.type == "duration"
    assert plain.usage.seconds == pytest.approx(5, abs=0.5)
    text = create(file=CLIP, model="demo", language="en", response_format="text")
    assert text.strip() == plain.text
    srt = create(file=CLIP, model="demo", language="en", response_format="srt")
    assert srt.startswith("1\n00:00:00,")
    assert word_error_rate(SAID, " ".join(line for line in srt.splitlines() if line[:1].isalpha())) <= 0.1
    vtt = create(file=CLIP, model="demo", language="en", response_format="vtt")
    assert vtt.startswith("WEBVTT")


def test_verbose_json_is_as_the_clients_types_say(api: openai.OpenAI) -> None:
    """Clients in typed languages cannot read the answer."""
    told = api.audio.transcriptions.create(
        file=CLIP,
        model="demo",
        language="en",
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )
    assert isinstance(told, TranscriptionVerbose)
    TranscriptionVerbose.model_validate_json(told.model_dump_json(), strict=True)
    assert (told.language, round(told.duration)) == ("english", 5)
    assert told.segments
    assert told.words
    assert " ".join(segment.text for segment in told.segments) == told.text
    assert word_error_rate(SAID, " ".join(word.word for word in told.words)) <= 0.1
    assert all(before.start <= after.start for before, after in itertools.pairwise(told.words))
    assert 0.2 <= told.segments[0].start <= 0.5
    about = told.model_extra["x_v2t"] if told.model_extra else {}
    assert (about["complete"], about["gaps"], about["models"]) == (True, [], ["demo"])
    alone = api.audio.transcriptions.create(
        file=CLIP, model="demo", language="en", response_format="verbose_json", timestamp_granularities=["word"]
    )
    assert alone.words
    assert not alone.segments


def test_words_are_streamed_as_the_client_reads_them(api: openai.OpenAI) -> None:
    """Somebody who waits for the words of a long file sees none until its end."""
    stream = api.audio.transcriptions.create(
        file=DATA / "3min.ogg", model="demo", language="en", stream=True, extra_body=ANEW
    )
    events = list(stream)
    deltas = [event for event in events if isinstance(event, TranscriptionTextDeltaEvent)]
    assert len(deltas) > 2
    assert isinstance(events[-1], TranscriptionTextDoneEvent)
    assert "".join(delta.delta for delta in deltas) == events[-1].text
    assert word_error_rate(reference("3min.ogg"), events[-1].text) <= 0.1


def test_a_job_that_ends_within_a_stream_is_an_error_of_the_client(api: openai.OpenAI) -> None:
    """Half of the words look like all of them."""
    stream = api.audio.transcriptions.create(
        file=("talk.ogg", LONG), model="demo", language="en", stream=True, extra_body=ANEW
    )
    next(stream)
    api.delete(f"/jobs/{stream.response.headers['X-V2T-Job']}", cast_to=object)
    with pytest.raises(openai.APIError, match="was cancelled: send the file again"):
        list(stream)


def test_diarized_json_says_who_speaks(api: openai.OpenAI, tmp_path: Path) -> None:
    """Minutes of a meeting name nobody."""
    talk = in_turn(2, [*SENTENCES * 7]).write(tmp_path / "talk.wav")
    asked: dict[str, Any] = {"file": talk, "model": "demo", "language": "en", "response_format": "diarized_json"}
    stream = api.audio.transcriptions.create(**asked, stream=True, extra_body={"speakers": "2", **ANEW})
    events = list(stream)
    assert isinstance(events[0], TranscriptionTextDeltaEvent)
    assert isinstance(events[-1], TranscriptionTextDoneEvent)
    spoken = [event for event in events if isinstance(event, TranscriptionTextSegmentEvent)]
    assert {segment.speaker for segment in spoken} == {"A", "B"}
    assert spoken[0].speaker == "A"
    assert " ".join(segment.text for segment in spoken) == events[-1].text
    told = api.audio.transcriptions.create(**asked, extra_body={"speakers": "2"})  # done before
    assert isinstance(told, TranscriptionDiarized)
    TranscriptionDiarized.model_validate_json(told.model_dump_json(), strict=True)
    assert [segment.model_dump() for segment in told.segments] == [segment.model_dump() for segment in spoken]


def test_what_was_done_before_is_streamed_at_once(api: openai.OpenAI) -> None:
    """Whoever sends a file again waits again, or gets no words."""
    first = api.audio.transcriptions.create(file=CLIP, model="demo", language="en")
    stream = api.audio.transcriptions.create(file=CLIP, model="demo", language="en", stream=True)
    job = stream.response.headers["X-V2T-Job"]
    delta, done = stream
    assert isinstance(delta, TranscriptionTextDeltaEvent)
    assert isinstance(done, TranscriptionTextDoneEvent)
    assert delta.delta == done.text == first.text
    assert done.model_extra
    assert done.model_extra["x_v2t"]["job"] == job  # not the one that did it, which may be somebody else's


@pytest.mark.parametrize("model", ["whisper-1", "gpt-transcribe"])
def test_openais_models_stand_for_the_fleets_own(api: openai.OpenAI, model: str) -> None:
    """A program in which the model's name is fixed cannot use the fleet."""
    said = api.audio.transcriptions.create(file=CLIP, model=model, language="en")
    assert word_error_rate(SAID, said.text) <= 0.1


async def test_the_asynchronous_client_works_too(server: Serving) -> None:
    """Half of the programs use it."""
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as own:
        stream = await own.audio.transcriptions.create(file=CLIP, model="demo", language="en", stream=True)
        assert [event.type async for event in stream][-1] == "transcript.text.done"


def test_hints_of_every_name_reach_the_job(api: openai.OpenAI) -> None:
    """A parameter is taken and does nothing."""
    answer = api.audio.transcriptions.with_raw_response.create(
        file=CLIP,
        model="demo",
        language="english",
        prompt="A dog\nin a street.",
        keywords=["dog", "street"],
        temperature=0.2,
        chunking_strategy={"type": "server_vad", "threshold": 0.4},
        extra_body={"title": "A talk"},
    )
    job = api.get(f"/jobs/{answer.headers['X-V2T-Job']}", cast_to=object)
    assert isinstance(job, dict)
    assert job["title"] == "A talk"
    options = job["options"]
    assert [options[name] for name in ("model", "language", "prompt")] == ["demo", "en", "A dog in a street."]
    assert [options[name] for name in ("hotwords", "temperature", "vad_threshold")] == ["dog, street", 0.2, 0.4]


@pytest.mark.parametrize(
    ("param", "fields"),
    [
        ("response_format", {"response_format": "mp3"}),
        ("temperature", {"temperature": 7}),
        ("language", {"language": "klingon"}),
        ("languages", {"languages": ["en", "de"]}),
        ("stream", {"stream": True, "response_format": "srt"}),
        ("timestamp_granularities[]", {"timestamp_granularities": ["word"]}),
        ("timestamp_granularities[]", {"timestamp_granularities": ["letter"], "response_format": "verbose_json"}),
        ("include", {"include": ["logprobs"]}),
        ("known_speaker_names", {"known_speaker_names": ["Ann"]}),
        (
            "chunking_strategy[silence_duration_ms]",
            {"chunking_strategy": {"type": "server_vad", "silence_duration_ms": 5}},
        ),
        ("speakers", {"extra_body": {"speakers": "many"}}),
        ("best_of", {"extra_body": {"best_of": 5}}),
    ],
)
def test_what_is_not_honoured_is_refused_by_name(api: openai.OpenAI, param: str, fields: dict[str, Any]) -> None:
    """A parameter changes nothing, and nobody hears of it."""
    with pytest.raises(openai.BadRequestError) as refused:
        api.audio.transcriptions.create(**{"file": CLIP, "model": "demo", **fields})
    assert refused.value.param == param
    assert param.partition("[")[0] in refused.value.message


def test_a_model_that_nobody_has_is_refused(api: openai.OpenAI) -> None:
    """A misspelt model waits for ever, or another one answers."""
    with pytest.raises(openai.NotFoundError, match="did you mean large-v3") as refused:
        api.audio.transcriptions.create(file=CLIP, model="lagre-v3")
    assert (refused.value.param, refused.value.code) == ("model", "model_not_found")


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # the client's word on OpenAI's own translations
def test_translations_are_into_english(api: openai.OpenAI) -> None:
    """Somebody reads words in a language that they did not ask for."""
    told = api.audio.translations.create(file=CLIP, model="demo", response_format="verbose_json")
    assert isinstance(told, TranslationVerbose)
    assert told.language == "english"
    assert word_error_rate(SAID, told.text) <= 0.1
    with pytest.raises(openai.NotFoundError, match=r"does not translate with the model 'tiny\.en'"):
        api.audio.translations.create(file=CLIP, model="tiny.en")


def test_the_models_of_the_fleet_are_listed(api: openai.OpenAI) -> None:
    """A program that lets people choose a model shows none."""
    names = [model.id for model in api.models.list()]
    assert names[0] == "demo"
    assert {"whisper-1", "gpt-4o-transcribe-diarize"} <= {*names}
    assert api.models.retrieve("demo").id == "demo"
    with pytest.raises(openai.NotFoundError):
        api.models.retrieve("gpt-7")


async def test_a_form_without_a_recording_gets_one_sentence(client: aiohttp.ClientSession) -> None:
    """Whoever forgets the file gets a page of HTML, or waits."""
    without = aiohttp.FormData()
    without.add_field("model", "demo", content_type="text/plain")
    async with client.post("/v1/audio/transcriptions", data=without) as answer:
        assert (await problem(answer, 400))["param"] == "file"
    async with client.post("/v1/audio/transcriptions", json={"model": "demo"}) as answer:
        assert "multipart/form-data" in (await problem(answer, 415))["message"]


@pytest.mark.parametrize(
    ("boundary", "body"),
    [
        ("", b"x"),
        ("; boundary=x", b""),
        ("; boundary=x", b"no boundary"),
        ("; boundary=x", b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nde'),
        ("; boundary=x", b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\nRIFF'),
    ],
)
async def test_a_body_that_is_no_whole_form_is_the_clients_fault(
    client: aiohttp.ClientSession, boundary: str, body: bytes
) -> None:
    """Half of a recording is transcribed as the recording, or the log fills with traces of what strangers send."""
    headers = {"Content-Type": f"multipart/form-data{boundary}"}
    async with client.post("/v1/audio/transcriptions", headers=headers, data=body) as answer:
        assert "not a complete form" in (await problem(answer, 400))["message"]


async def test_a_file_that_is_no_recording_is_the_clients_fault(client: aiohttp.ClientSession) -> None:
    """A client sends its broken file again and again, as if the server were at fault."""
    for fields in ({}, {"stream": "true"}):
        async with client.post(
            "/v1/audio/transcriptions", data=form(b"no sound " * 999, "notes.txt", **fields)
        ) as answer:
            told = await problem(answer, 400)
            assert (told["param"], told["code"]) == ("file", "job_failed")
            assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("format_", ["json", "verbose_json", "diarized_json"])
async def test_answers_are_as_the_openapi_document_says(client: aiohttp.ClientSession, format_: str) -> None:
    """A client that is generated from the document fails at what the server really sends."""
    async with client.get("/openapi.json") as answer:
        told = await answer.json()

    def check(found: object, path: str, method: str) -> None:
        schema = told["paths"][path][method]["responses"]["200"]["content"]["application/json"]["schema"]
        Draft202012Validator({**schema, "components": told["components"]}).validate(found)

    async with client.post("/v1/audio/transcriptions", data=form(response_format=format_)) as answer:
        check(await answer.json(), "/v1/audio/transcriptions", "post")
    async with client.get("/v1/models") as answer:
        check(await answer.json(), "/v1/models", "get")
    body = told["paths"]["/v1/audio/transcriptions"]["post"]["requestBody"]["content"]["multipart/form-data"]
    fields = body["schema"]["allOf"][-1]["properties"]
    assert {"timestamp_granularities[]", "response_format", "speakers", "vad_threshold"} <= fields.keys()
    assert not {"url", "media", "owner", "task", "word_timestamps"} & fields.keys()
