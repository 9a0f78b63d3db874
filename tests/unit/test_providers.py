"""What a providers.yaml may contain."""

from pathlib import Path

import pytest

from schemas.options import LANGUAGES, Options
from schemas.requests import SubmitRequest
from v2t_stream.errors import Reject, SettingsError
from v2t_stream.jobs.submission import check
from v2t_stream.languages import code_of
from v2t_stream.settings import Settings
from v2t_stream.transcription.provider import Local
from v2t_stream.transcription.providers import load, parse, refusal
from v2t_stream.transcription.remote.custom_http import CustomHttp
from v2t_stream.transcription.remote.elevenlabs import ElevenLabs
from v2t_stream.transcription.remote.openai import OpenAI


def read(*lines: str) -> list[object]:
    return list(parse("\n".join(["providers:", *lines]).encode(), "p.yaml"))


def test_the_providers_come_in_the_order_of_the_file() -> None:
    """Else a chunk goes to the paid service first."""
    whisper, house, paid = read(
        "- type: faster_whisper\n  model: small\n  device: cpu",
        "- type: custom_http\n  name: house\n  url: http://10.0.0.2/x?l={language}\n  remote: false",
        "- type: openai\n  retries: 5\n  timeout: 9.5\n  max_concurrency: 2\n  rate_limit_per_minute: 30",
    )
    assert isinstance(whisper, Local)
    assert (whisper.name, whisper.engine, whisper.model) == ("faster_whisper", "faster-whisper", "small")
    assert isinstance(house, CustomHttp)
    assert (house.name, house.is_remote, house.key_variable) == ("house", False, "")
    assert isinstance(paid, OpenAI)
    assert (paid.timeout, paid.retries, paid.max_concurrency, paid.rate_limit_per_minute) == (9.5, 5, 2, 30)
    assert (paid.is_remote, paid.key_variable, paid.needs_key) == (True, "OPENAI_API_KEY", True)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (
            "- type: openai\n  timeout_sec: 5",
            r"provider 1 \(openai\): unknown setting 'timeout_sec': did you mean timeout",
        ),
        ("- type: openai\n  rate_limit_rpm: 5", "unknown setting 'rate_limit_rpm': did you mean rate_limit_per_minute"),
        ("- type: openai\n  performance: {}", "unknown setting 'performance': use one of type, name"),
        ("- type: openai\n  api_key: sk-1", "unknown setting 'api_key': put keys into the environment"),
        ("- type: openai\n  device: cpu", "unknown setting 'device'"),
        ("- type: whisper_cpp\n  base_url: http://x", "unknown setting 'base_url'"),
        ("- type: whispercpp", "unknown type 'whispercpp': did you mean whisper_cpp"),
        ("- name: x", "provider 1 has no type"),
        ("- type: openai\n- type: openai", "two providers are called 'openai'"),
        ("- type: openai\n  enabled: false", "enables no provider"),
        ("- type: openai\n  timeout: soon", "the setting timeout is wrong: expected `float`, got `str`"),
        ("- type: openai\n  timeout: 0", "the setting timeout is wrong"),
        ("- type: openai\n  retries: -1", "the setting retries is wrong"),
        ("- type: openai\n  max_concurrency: 1.5", "the setting max_concurrency is wrong"),
        ("- type: openai\n  rate_limit_per_minute: many", "the setting rate_limit_per_minute is wrong"),
        ("- type: openai\n  enabled: perhaps", "the setting enabled is wrong"),
        ("- type: openai\n  base_url: api.openai.com", "the setting base_url is not an http or https URL"),
        ("- type: openai\n  base_url: http://me:secret@x", "the setting base_url holds a password"),
        ("- type: faster_whisper\n  device: gpu", "the setting device is wrong: .*: it must be one of auto, cuda"),
        ("- type: custom_http", "missing required field `url`"),
        ("- type: custom_http\n  url: http://x/?a={lang}", r"unknown placeholder \{lang\}: did you mean language"),
        ("- type: custom_http\n  url: http://x/\n  fields: {a: '{'}", "an unmatched brace"),
        ("- type: custom_http\n  url: http://x/\n  response: {txt: a}", "the setting response is wrong.*`txt`"),
    ],
)
def test_what_is_wrong_is_named(entry: str, reason: str) -> None:
    """Else a user relies on a setting that nothing reads."""
    with pytest.raises(SettingsError, match=f"p.yaml.*{reason}") as caught:
        read(entry)
    assert "secret" not in str(caught.value)
    assert "sk-1" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"provider: []", "is not valid"),
        (b"providers: {openai: {}}", "is from the former v2t"),
        (b"providers: []", "enables no provider"),
        (b"", "is not valid"),
        (b"providers:\n  - {type: [sk-1", "not valid YAML: look at line 3"),
        (b"\xff\xfe\x00", "p.yaml"),
    ],
)
def test_a_file_of_another_form_gives_a_sentence(text: bytes, reason: str) -> None:
    """Else an older system's file is half understood, or its keys are printed."""
    with pytest.raises(SettingsError, match=reason) as caught:
        parse(text, "p.yaml")
    assert "sk-1" not in str(caught.value)


def test_without_a_file_it_is_the_engine_of_the_settings(tmp_path: Path) -> None:
    """Else a machine without a providers.yaml does nothing."""
    settings = Settings(data_dir=str(tmp_path), engine="whisper-cpp", model="tiny")
    (only,) = load(settings)
    assert (only.engine, only.model, only.is_remote) == ("whisper-cpp", "tiny", False)
    (tmp_path / "providers.yaml").write_text("providers: [{type: elevenlabs}]")
    (only,) = load(settings)
    assert isinstance(only, ElevenLabs)
    with pytest.raises(SettingsError, match=r"V2T_PROVIDERS names .*nowhere.yaml, which does not exist"):
        load(Settings(providers=str(tmp_path / "nowhere.yaml")))


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1", "[::1]:80", "whisper.localhost"])
def test_a_server_on_this_machine_needs_no_permission(host: str) -> None:
    """Else a user's own whisper-server is treated as if it cost money, or another host counts as the user's own."""
    for type_, setting in (("openai", "base_url"), ("custom_http", "url")):
        (here,) = read(f"- type: {type_}\n  {setting}: http://{host}/x")
        (there,) = read(f"- type: {type_}\n  {setting}: http://localhost.example.com/x")
        assert (here.is_remote, there.is_remote) == (False, True)  # type: ignore[attr-defined]


def test_a_machine_with_only_remote_providers_says_so_at_once() -> None:
    """Else `v2t convert` waits for ever for an engine that nobody has."""
    remote = parse(b"providers: [{type: openai}]", "p")
    mixed = parse(b"providers: [{type: openai}, {type: whisper_cpp}]", "p")
    assert "--remote" in (refusal(remote, Options()) or "")
    assert refusal(remote, Options(remote=True, accelerator="remote")) is None
    assert refusal(mixed, Options()) is None


def test_asking_for_remote_without_allowing_it_is_refused() -> None:
    """Else the job waits for somebody who may not do it."""
    with pytest.raises(Reject, match="--remote"):
        check(SubmitRequest(url="http://x/y", accelerator="remote"))
    check(SubmitRequest(url="http://x/y", accelerator="remote", remote=True, engine="openai", model="whisper-1"))


def test_services_languages_are_ours() -> None:
    """Else a transcript's language reads `english` or `eng`, depending on the service."""
    assert {code_of(code) for code in LANGUAGES} == LANGUAGES
    said = ("English", "eng", "en-US", "Haitian Creole", "cmn", "klingon", "")
    assert [code_of(name) for name in said] == ["en", "en", "en", "ht", "zh", "", ""]
