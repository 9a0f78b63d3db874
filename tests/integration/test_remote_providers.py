"""The services as the chain calls them, over real HTTP to a server that plays each of them."""

import asyncio
import logging
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import pytest

from schemas.options import Options
from tests.patience import PATIENCE
from tests.remote_api import Answer, Api, remote_api
from v2t_stream.errors import Reject, Retry, Unusable
from v2t_stream.models.fetching import Models
from v2t_stream.settings import Settings
from v2t_stream.transcription.chain import Chain, Heard
from v2t_stream.transcription.patience import Patience
from v2t_stream.transcription.provider import Provider
from v2t_stream.transcription.remote.custom_http import CustomHttp, Response
from v2t_stream.transcription.remote.elevenlabs import ElevenLabs
from v2t_stream.transcription.remote.http import _retry_after
from v2t_stream.transcription.remote.openai import OpenAI

KEY = "sk-very-secret-1234567890"
FLAC = b"fLaC and so on"
TWO_SECONDS = np.zeros(32_000, np.float32)

VERBOSE = {
    "task": "transcribe",
    "language": "english",
    "duration": 2.0,
    "text": " The black dog. In the street.",
    "segments": [
        {"id": 0, "start": 0.0, "end": 0.9, "text": " The black dog.", "avg_logprob": -0.2, "no_speech_prob": 0.01},
        {"id": 1, "start": 1.0, "end": 2.5, "text": " In the street.", "avg_logprob": -0.2, "no_speech_prob": 0.01},
        {"id": 2, "start": 2.0, "end": 2.5, "text": " Thanks!", "avg_logprob": -1.8, "no_speech_prob": 0.9},
    ],
}


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("ELEVENLABS_API_KEY", KEY)
    with remote_api() as api:
        yield api


async def hear(provider: Provider, **options: object) -> Heard:
    chain = Chain([provider], Settings(), Models(Settings()), Patience(backoff=(0.01,)))
    return await chain.transcribe(TWO_SECONDS, FLAC, Options(remote=True, **options))  # type: ignore[arg-type]


def openai(api: Api, **settings: object) -> OpenAI:
    return OpenAI(type="openai", name="paid", base_url=f"{api.url}/v1/", remote=True, **settings)  # type: ignore[arg-type]


def spoken(heard: Heard) -> list[tuple[float, float, str]]:
    return [(segment.start, segment.end, segment.text) for segment in heard.transcription.segments]


async def test_openai(api: Api) -> None:
    """Else the best-known service gets a request that it does not understand."""
    api.answers = [Answer(VERBOSE)]
    heard = await hear(openai(api, prompt="Rover"), language="en")  # another server than OpenAI's: whisper-1
    (asked,) = api.asked
    assert asked.path == "/v1/audio/transcriptions"
    assert asked.headers["Authorization"] == f"Bearer {KEY}"
    assert asked.files == {"file": ("chunk.flac", "audio/flac", FLAC)}
    assert sorted(asked.fields) == [
        ("language", "en"),
        ("model", "whisper-1"),
        ("prompt", "Rover"),
        ("response_format", "verbose_json"),
        ("timestamp_granularities[]", "segment"),
    ]
    assert spoken(heard) == [(0.0, 0.9, "The black dog."), (1.0, 2.0, "In the street.")]  # within the chunk's 2 s
    assert (heard.engine, heard.model, heard.provider) == ("openai", "whisper-1", "paid")
    assert heard.transcription.language == "en"
    assert heard.seconds > 0


async def test_openai_words_go_to_their_segments(api: Api) -> None:
    """Else the user pays for word times and does not get them."""
    said = ("The", 0.0, 0.3), ("black", 0.3, 0.6), ("dog", 0.6, 0.95), ("In", 1.0, 1.2), ("the", 1.2, 1.3)
    words = [{"word": word, "start": start, "end": end} for word, start, end in said]
    api.answers = [Answer(VERBOSE | {"words": words})]
    heard = await hear(openai(api), word_timestamps=True)
    assert ("timestamp_granularities[]", "word") in api.asked[0].fields
    assert [[word.text for word in segment.words] for segment in heard.transcription.segments] == [
        ["The", "black", "dog"],
        ["In", "the"],
    ]
    assert heard.transcription.segments[0].words[2].end == 0.9


async def test_openai_models_without_times_and_translation(api: Api) -> None:
    """Else the newer models, or `--task translate`, fail at every chunk."""
    api.answers = [Answer({"text": "The black dog."}), Answer(VERBOSE)]
    heard = await hear(openai(api, model="gpt-4o-transcribe"), language="de")
    assert ("response_format", "json") in api.asked[0].fields
    assert spoken(heard) == [(0.0, 2.0, "The black dog.")]
    assert heard.transcription.language == "de"
    heard = await hear(openai(api), task="translate", language="de")
    assert api.asked[1].path == "/v1/audio/translations"
    assert {name for name, _ in api.asked[1].fields} == {"model", "response_format"}
    assert heard.transcription.language == "en"
    with pytest.raises(Retry, match="paid gives no word times with the model 'gpt-4o-transcribe'"):
        await hear(openai(api, model="gpt-4o-transcribe"), word_timestamps=True)
    assert len(api.asked) == 2


async def test_gpt_transcribe_is_asked_in_its_own_words(api: Api) -> None:
    """The service refuses each call that names a `language`, asks for times, or has a bracket in a keyword."""
    api.answers = [Answer({"text": "The black dog.", "languages": [{"code": "en"}, {"code": "fr"}]})]
    wish = {"language": "en", "prompt": "Ahab.", "hotwords": "Queequeg, <Tashtego>,, Queequeg", "temperature": 0.5}
    heard = await hear(openai(api, model="gpt-transcribe", prompt="Rover."), **wish)
    assert sorted(api.asked[0].fields) == [
        ("keywords[]", "Queequeg"),
        ("keywords[]", "Tashtego"),
        ("languages[]", "en"),
        ("model", "gpt-transcribe"),
        ("prompt", "Rover. Ahab."),
        ("response_format", "json"),
        ("temperature", "0.5"),
    ]
    assert spoken(heard) == [(0.0, 2.0, "The black dog.")]
    heard = await hear(openai(api, model="openai/gpt-transcribe-2026-07-28"))  # as gateways name it
    assert {name for name, _ in api.asked[1].fields} == {"model", "response_format"}
    assert heard.transcription.language == "en"
    api.answers = [Answer({"text": "Mm.", "languages": []})]
    assert (await hear(openai(api, model="gpt-transcribe"))).transcription.language == ""


async def test_a_model_that_tells_speakers_apart_takes_no_prompt(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    """The service refuses each call that has a prompt."""
    api.answers = [Answer({"text": "The black dog."})]
    await hear(openai(api, model="gpt-4o-transcribe-diarize", prompt="Rover"), prompt="Ahab", hotwords="Queequeg")
    assert {name for name, _ in api.asked[0].fields} == {"model", "response_format"}
    assert "paid takes no prompt: it transcribes without" in caplog.messages


def test_the_default_model_is_one_that_the_server_has() -> None:
    """OpenAI withdraws whisper-1, a name that other servers use for their own models."""
    assert OpenAI(type="openai").model == "gpt-transcribe"
    assert OpenAI(type="openai", base_url="http://localhost:8000/v1").model == "whisper-1"
    assert OpenAI(type="openai", model="whisper-1").model == "whisper-1"


GONE = {"error": {"message": "The model `whisper-1` has been deprecated", "code": "model_not_found"}}


class OpenAIHere(OpenAI, frozen=True, kw_only=True):
    """The service itself, played here."""

    HOST: ClassVar[str] = "127.0.0.1"


@pytest.mark.parametrize("status", [400, 404, 410])
async def test_a_withdrawn_model_is_named_with_what_to_use_instead(
    api: Api, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """On 26 February 2027 a chain stops working, with an error that only names the address, or rejects each chunk."""
    provider = OpenAIHere(type="openai", name="paid", base_url=f"{api.url}/v1/", remote=True, model="whisper-1")
    api.answers = [Answer(GONE, status)]
    with pytest.raises(Unusable, match=f"answered {status}: .* withdr.* 'whisper-1' on 26 February 2027: use 'gpt-tr"):
        await hear(provider)
    assert any("withdraw" in message and "'gpt-transcribe'" in message for message in caplog.messages)  # and before
    api.answers = [Answer({"error": {"message": "The audio is too short"}}, 400)]
    with pytest.raises(Reject, match="too short"):  # the chunk's own fault
        await hear(provider)


async def test_another_server_may_keep_what_openai_withdraws(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    """A user's own server with a model of this name gets a false warning."""
    api.answers = [Answer(VERBOSE)]
    await hear(openai(api, model="whisper-1"))
    assert not caplog.records


async def test_openai_gets_the_hints_of_a_job(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    """The user's names are misspelt, or hints that the service cannot use are dropped silently."""
    api.answers = [Answer(VERBOSE)]
    provider = openai(api, prompt=" Rover. ")
    chain = Chain([provider], Settings(), Models(Settings()))
    job = Options(remote=True, prompt="Call me Ishmael.", hotwords="Queequeg, Tashtego", temperature=0.0, beam_size=3)
    for _ in range(3):
        await chain.transcribe(TWO_SECONDS, FLAC, job)
    told = dict(api.asked[0].fields)
    assert told["prompt"] == "Rover. Call me Ishmael. Queequeg, Tashtego"
    assert told["temperature"] == "0"
    assert not {"hotwords", "beam_size"} & told.keys()  # which api.openai.com does not know
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        "paid takes no beam_size: it transcribes without"
    ]
    await hear(openai(api), task="translate", prompt="Call me Ishmael.", temperature=0.25)
    assert api.asked[-1].path == "/v1/audio/translations"
    assert dict(api.asked[-1].fields).items() >= {"prompt": "Call me Ishmael.", "temperature": "0.25"}.items()
    await hear(openai(api, model="gpt-4o-transcribe"), hotwords="Queequeg")
    assert dict(api.asked[-1].fields)["prompt"] == "Queequeg"
    await hear(openai(api))
    assert not {"prompt", "temperature"} & dict(api.asked[-1].fields).keys()


async def test_a_server_with_hotwords_of_its_own_gets_them_there(api: Api) -> None:
    """A faster-whisper server gets hotwords as a prompt, although it has a better way for them."""
    api.answers = [Answer(VERBOSE)]
    provider = openai(api, prompt="Rover", hotwords_field="hotwords")
    await hear(provider, hotwords="Queequeg, Tashtego")
    await hear(provider)
    first, second = (dict(asked.fields) for asked in api.asked)
    assert (first["prompt"], first["hotwords"]) == ("Rover", "Queequeg, Tashtego")
    assert "hotwords" not in second


async def test_elevenlabs_gets_the_hints_of_a_job(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    """The user's names are misspelt, or one that is too long fails every chunk."""
    api.answers = [Answer({"text": ""})]
    provider = ElevenLabs(type="elevenlabs", name="labs", base_url=api.url)
    await hear(provider, hotwords="Ishmael,  the  white whale ,, Ishmael", temperature=0.5)
    (asked,) = api.asked
    assert [text for name, text in asked.fields if name == "keyterms"] == ["Ishmael", "the white whale"]
    assert dict(asked.fields)["temperature"] == "0.5"
    assert not caplog.records

    many = [f"n{n}" for n in range(100)]
    for hotwords, sent in (
        ("Ishmael, one two three four five six", ["Ishmael"]),
        (f"{'x' * 50}, Ishmael", ["Ishmael"]),
        (",".join([*many, "Ishmael"]), many),
    ):
        caplog.clear()
        await hear(provider, hotwords=hotwords, prompt="Call me Ishmael.", beam_size=2)
        assert [text for name, text in api.asked[-1].fields if name == "keyterms"] == sent
        assert [record.getMessage() for record in caplog.records] == [
            "labs takes no beam_size: it transcribes without",
            "labs takes no hotwords of more than 5 words or 49 characters, nor more than 100: it transcribes without",
            "labs takes no prompt: it transcribes without",
        ]
    await hear(provider)
    assert not {"keyterms", "temperature"} & dict(api.asked[-1].fields).keys()


async def test_elevenlabs(api: Api) -> None:
    """Else its words, which are all it gives, do not become sentences."""
    tokens = [("Hi", 0.0, 0.2), (" ", 0.2, 0.3), ("there.", 0.3, 0.5), (" ", 0.5, 0.6), ("Dog", 0.6, 0.9)]
    words = [
        {"text": text, "start": start, "end": end, "type": "word" if text.strip() else "spacing", "logprob": 0.0}
        for text, start, end in tokens
    ]
    words.append({"text": "(barks)", "start": 1.0, "end": 1.2, "type": "audio_event"})
    api.answers = [Answer({"language_code": "eng", "language_probability": 1, "text": "Hi there. Dog", "words": words})]
    provider = ElevenLabs(type="elevenlabs", name="labs", base_url=api.url)
    heard = await hear(provider, word_timestamps=True)
    (asked,) = api.asked
    assert asked.path == "/v1/speech-to-text"
    assert asked.headers["xi-api-key"] == KEY
    assert dict(asked.fields) == {
        "model_id": "scribe_v2",
        "timestamps_granularity": "word",
        "tag_audio_events": "false",
        "diarize": "false",
    }
    assert asked.files["file"][2] == FLAC
    assert spoken(heard) == [(0.0, 0.5, "Hi there."), (0.6, 0.9, "Dog")]
    assert [word.text for word in heard.transcription.segments[0].words] == ["Hi", "there."]
    assert heard.transcription.language == "en"
    with pytest.raises(Retry, match="labs does not translate"):
        await hear(provider, task="translate")


async def test_whisper_cpps_own_server(api: Api) -> None:
    """Else a user's own server cannot be used."""
    api.answers = [Answer(VERBOSE)]
    provider = CustomHttp(
        type="custom_http",
        name="house",
        url=f"{api.url}/inference",
        fields={"response_format": "verbose_json", "language": "{language}", "translate": "{translate}"},
    )
    assert [text for *_, text in spoken(await hear(provider))] == ["The black dog.", "In the street."]
    await hear(provider, language="de", task="translate")
    first, second = api.asked
    assert "Authorization" not in first.headers
    assert dict(first.fields) == {"response_format": "verbose_json", "translate": "false"}
    assert dict(second.fields) == {"response_format": "verbose_json", "language": "de", "translate": "true"}
    assert first.files == {"file": ("chunk.flac", "audio/flac", FLAC)}


async def test_whisper_asr_webservice_and_answers_of_another_shape(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a service that takes its options in the URL, or nests its answer, cannot be used."""
    monkeypatch.setenv("ASR_KEY", KEY)
    words = [{"word": " The", "start": 0.1, "end": 0.2, "probability": 0.9}]
    segment = {"start": 0.0, "end": 0.5, "text": " The", "words": words}
    api.answers = [Answer({"result": {"parts": [segment], "said": " The", "lang": "en"}})]
    provider = CustomHttp(
        type="custom_http",
        name="asr",
        url=f"{api.url}/asr?output=json&task={{task}}&language={{language}}&word_timestamps={{words}}",
        file_field="audio_file",
        response=Response(text="result.said", segments="result.parts", language="result.lang"),
        key_env="ASR_KEY",
    )
    heard = await hear(provider, word_timestamps=True)
    (asked,) = api.asked
    assert asked.path == "/asr?output=json&task=transcribe&word_timestamps=true"
    assert asked.headers["Authorization"] == f"Bearer {KEY}"
    assert list(asked.files) == ["audio_file"]
    assert heard.transcription.segments[0].words[0].probability == 0.9
    assert heard.transcription.language == "en"


async def test_a_custom_service_gets_the_hints_of_a_job(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    """A user's own server cannot get the hints that our engines can, or braces in a prompt break its form."""
    api.answers = [Answer(VERBOSE)]
    provider = CustomHttp(
        type="custom_http",
        name="house",
        url=f"{api.url}/asr?initial_prompt={{prompt}}",
        fields={"hotwords": "{hotwords}", "beam_size": "{beam_size}", "temperature": "{temperature}"},
    )
    await hear(provider, prompt="{Ishmael} & Söhne", hotwords="Queequeg", beam_size=1, temperature=0.0)
    await hear(provider)
    first, second = api.asked
    assert first.path == "/asr?initial_prompt=%7BIshmael%7D+%26+S%C3%B6hne"
    assert dict(first.fields) == {"hotwords": "Queequeg", "beam_size": "1", "temperature": "0"}
    assert (second.path, second.fields) == ("/asr", [])
    assert not caplog.records

    provider = CustomHttp(
        type="custom_http",
        name="bare",
        url=f"{api.url}/asr",
        fields={"prompt": "{prompt} {hotwords}"},  # which is sent where both are given
    )
    await hear(provider, prompt="Ishmael", beam_size=2)
    assert [record.getMessage() for record in caplog.records] == [
        "bare takes no beam_size: it transcribes without",
        "bare takes no prompt: it transcribes without",
    ]


async def test_a_service_that_cannot_be_asked_to_translate_is_not_asked(api: Api) -> None:
    """A transcript in the speaker's language claims to be the English translation."""
    api.answers = [Answer(VERBOSE)]
    url = f"{api.url}/asr"
    with pytest.raises(Retry, match="house does not translate as it is set up"):
        await hear(CustomHttp(type="custom_http", name="house", url=url), task="translate")
    assert not api.asked
    await hear(CustomHttp(type="custom_http", name="house", url=f"{url}?task={{task}}"), task="translate")
    assert api.asked[0].path == "/asr?task=translate"


async def test_what_passes_is_tried_again(api: Api) -> None:
    """Else a short failure of a service moves the job elsewhere."""
    busy = Answer({"error": {"message": "slow down"}}, 429, {"Retry-After": "0"})
    api.answers = [busy, Answer(b"", 500), Answer(VERBOSE)]
    assert spoken(await hear(openai(api)))
    assert len(api.asked) == 3


async def test_retry_after_is_honoured(api: Api) -> None:
    """Else the service blocks us for longer."""
    api.answers = [Answer(b"", 429, {"Retry-After": "1"}), Answer(VERBOSE)]
    await hear(openai(api))
    assert api.times[1] - api.times[0] >= 0.95


def test_a_date_to_come_back_at_is_by_the_clock_of_the_service() -> None:
    """Else a machine whose clock is an hour behind waits an hour for a service that asked for five seconds."""
    headers = {"Date": "Wed, 25 Nov 2020 10:00:00 GMT", "Retry-After": "Wed, 25 Nov 2020 10:00:05 GMT"}
    assert _retry_after(headers) == 5.0
    assert _retry_after({**headers, "Retry-After": "soon"}) is None


async def test_a_hung_service_ends_with_the_timeout(api: Api) -> None:
    """Else a chunk waits for half an hour."""
    api.answers = [Answer(VERBOSE, hang=10 * PATIENCE)]
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(Retry, match=r"paid .*0\.3 s"):
            await hear(openai(api, timeout=0.3, retries=1))
        while len(api.asked) < 2:  # the service may not have come to read it
            await asyncio.sleep(0.05)
    assert len(api.asked) == 2


@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        (Answer({"error": {"message": f"Incorrect key {KEY}"}}, 401), Unusable, "401.*check the key in OPENAI_API_KEY"),
        (Answer(KEY.encode(), 403), Unusable, "OPENAI_API_KEY"),
        (Answer({"detail": "no model"}, 404), Unusable, "404: no model: check the provider's address, model"),
        (Answer({"error": f"bad file from {KEY}"}, 400), Reject, "400: bad file from …"),
        (Answer(b"", 413), Reject, "413"),
        (Answer(b"<html>", 502), Retry, "502"),
        (Answer(b"<html>ok</html>"), Retry, "not JSON"),
        (Answer({"segments": [{"text": "x"}]}), Retry, "cannot be read"),
        (Answer([1]), Retry, "cannot be read"),
        (Answer(b"", 302, {"Location": "http://127.0.0.1:1/"}), Unusable, "302"),
        (Answer(b"x" * (9 << 20)), Retry, "more than 8 MiB"),
    ],
)
async def test_failures_give_a_sentence_without_the_key(
    answer: Answer, kind: type[Exception], reason: str, api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    """Else the chunk goes the wrong way, or a log, a dead letter and a job's status show the key."""
    caplog.set_level(logging.DEBUG)
    api.answers = [answer]
    with pytest.raises(kind, match=reason) as caught:
        await hear(openai(api, retries=1))
    assert type(caught.value) is kind
    assert KEY not in everything(caught.value) + caplog.text
    assert len(api.asked) == (2 if kind is Retry else 1)


async def test_no_service_and_no_key(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a wrong address or a missing key gives a confusing error, or the HTTP library quotes a damaged key."""
    with pytest.raises(Retry, match=r"house \(127\.0\.0\.1\) cannot be reached"):
        await hear(CustomHttp(type="custom_http", name="house", url="http://127.0.0.1:9/", retries=0))
    for broken in (f"{KEY}\nX-Other: 1", f"{KEY}ü"):
        monkeypatch.setenv("OPENAI_API_KEY", broken)
        with pytest.raises(Unusable, match="OPENAI_API_KEY has characters") as caught:
            await hear(openai(api))
        assert KEY not in everything(caught.value)
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(Unusable, match="set OPENAI_API_KEY"):
        await hear(OpenAI(type="openai", name="openai"))
    assert not api.asked
    api.answers = [Answer(VERBOSE)]
    await hear(openai(api))  # a compatible server may want no key
    assert "Authorization" not in api.asked[0].headers


async def test_limits_hold_over_real_calls(api: Api) -> None:
    """Else our own concurrency breaks the account's limits."""
    api.answers = [Answer(VERBOSE, hang=10 * PATIENCE)]
    chain = Chain([openai(api, max_concurrency=2)], Settings(), Models(Settings()))
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        for _ in range(6):
            group.create_task(chain.transcribe(TWO_SECONDS, FLAC, Options(remote=True)))
        while api.busy < 2:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)  # a third would come now
        api.over.set()  # from now on they are answered at once
    assert (len(api.asked), api.most_busy) == (6, 2)


def everything(error: BaseException | None) -> str:
    """Everything that a log, a traceback or a debugger could show of an error."""
    text = ""
    while error is not None:
        text += f"{error!r} {error.args!r} "
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return text
