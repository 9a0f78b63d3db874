"""The providers.yaml of the former v2t, which ran on Temporal, in today's form."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from v2t_stream.cli.providers import providers
from v2t_stream.errors import SettingsError
from v2t_stream.transcription.former import read
from v2t_stream.transcription.providers import parse

FORMER = """
default_provider: "openai"
providers:
  whisper_cpp:
    type: whisper_cpp
    enabled: true
    settings:
      binary_path: "${WHISPER_CPP_BINARY:-./whisper.cpp/main}"
      model_path: "${WHISPER_CPP_MODEL:-./whisper.cpp/models/ggml-large-v2.bin}"
      language: zh
      threads: 4
    performance: {timeout_sec: 300, max_concurrency: 2}
    error_handling: {max_retries: 2, retry_delay_ms: 1000}
  openai:
    type: openai
    enabled: true
    auth: {api_key: "${OPENAI_API_KEY}"}
    settings: {model: whisper-1, prompt: "Ishmael, Queequeg", response_format: text, temperature: 0.0}
    performance: {timeout_sec: 60, rate_limit_rpm: 50}
  groq:
    type: openai
    enabled: false
    auth: {api_key: "sk-hush"}
    settings: {model: whisper-large-v3, base_url: "https://api.groq.com/openai/v1"}
  paper:
    type: elevenlabs
    enabled: false
    settings: {api_key: "${PAPER_KEY}", model: eleven_whisper_v2}
  house:
    type: whisper_server
    enabled: true
    settings: {base_url: "http://${LOCAL_HOST:-localhost}:8080", inference_path: /inference, custom_headers: {x: y}}
  form:
    type: custom_http
    enabled: true
    settings: {endpoint: "http://192.168.1.2/asr", field_name: audio, extra_params: {mode: "{fast}"}, api_key: hush}
  far:
    type: ssh_whisper
    enabled: true
    settings: {host: "me@far", remote_dir: /w}
orchestrator:
  fallback_chain: [openai, house, far]
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("WHISPER_CPP_MODEL", "LOCAL_HOST"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "providers.yaml"
    path.write_text(FORMER)
    return path


def test_each_entry_becomes_today_s_in_the_order_of_the_former_system(file: Path) -> None:
    """A chunk goes to another service than before, or with another limit."""
    found = {entry.name: entry.provider for entry in read(file)}
    assert list(found) == ["openai", "house", "far", "whisper_cpp", "groq", "paper", "form"]
    assert found["whisper_cpp"] == {
        "name": "whisper_cpp",
        "type": "whisper_cpp",
        "model": "large-v2",
        "threads": 4,
        "timeout": 300,
        "max_concurrency": 2,
        "retries": 2,
    }
    assert found["openai"] == {
        "name": "openai",
        "type": "openai",
        "model": "whisper-1",
        "prompt": "Ishmael, Queequeg",
        "timeout": 60,
        "rate_limit_per_minute": 50,
    }
    assert found["groq"] == {
        "name": "groq",
        "type": "openai",
        "model": "whisper-large-v3",
        "base_url": "https://api.groq.com/openai/v1",
        "enabled": False,
    }
    assert found["paper"] == {"name": "paper", "type": "elevenlabs", "key_env": "PAPER_KEY", "enabled": False}
    assert found["house"]
    assert found["house"]["url"] == "http://localhost:8080/inference"
    assert found["form"] == {
        "name": "form",
        "type": "custom_http",
        "url": "http://192.168.1.2/asr",
        "remote": False,
        "file_field": "audio",
        "fields": {"mode": "{{fast}}"},
        "key_env": "FORM_API_KEY",
    }
    assert found["far"] is None


def test_what_is_left_out_is_said(file: Path) -> None:
    """A user believes that a setting still holds."""
    left = {entry.name: " ".join(entry.left) for entry in read(file)}
    for name, says in (
        ("whisper_cpp", "its language: give it with each job, as --language"),
        ("openai", "withdraws the model 'whisper-1'"),
        ("groq", "put it into the environment as OPENAI_API_KEY"),
        ("paper", "its model eleven_whisper_v2 is none of ElevenLabs'"),
        ("house", "its headers: none can be set today"),
        ("form", "put it into the environment as FORM_API_KEY"),
        ("far", "run v2t node on that machine instead"),
    ):
        assert says in left[name], left[name]
    assert "hush" not in str(left)


def test_odd_files_lose_only_what_is_odd(tmp_path: Path) -> None:
    """One entry that was edited by hand keeps a user from carrying over all others."""
    path = tmp_path / "old.yaml"
    path.write_text("providers: {a: null, b: {type: openai, settings: [], performance: {timeout_sec: -1}}, openai: {}}")
    found = {entry.name: entry for entry in read(path)}
    assert found["a"].provider is None
    assert "the setting timeout is wrong" in found["b"].left[0]
    assert found["openai"].provider == {"name": "openai", "type": "openai"}


@pytest.mark.parametrize("text", ["providers: [{type: openai}]", "just text", "{", ""])
def test_another_file_is_refused(text: str, tmp_path: Path) -> None:
    """The wrong file is overwritten by an empty one."""
    path = tmp_path / "other.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=r"other\.yaml is (no|not)"):
        read(path)


def test_a_former_file_where_today_s_belongs_is_named_with_the_way_out() -> None:
    """A user who updates gets an error about arrays and objects."""
    with pytest.raises(
        SettingsError, match=r"^p\.yaml is from the former v2t .*: v2t providers migrate p\.yaml writes"
    ):
        parse(FORMER.encode(), "p.yaml")


def test_migrate_writes_a_file_that_works_and_keeps_the_former_one(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user has to write the new file by hand, or loses the old one."""
    monkeypatch.setenv("V2T_DATA_DIR", str(file.parent / "data"))
    run = CliRunner().invoke
    done = run(providers, ["migrate", str(file)])
    assert (done.exit_code, "far: not carried over" in done.stderr) == (0, True)
    assert "hush" not in done.output
    today = file.parent / "data" / "providers.yaml"
    assert [each.name for each in parse(today.read_bytes(), "p")][:2] == ["openai", "house"]
    assert isinstance(run(providers, ["migrate", str(file)]).exception, SettingsError)  # it is there already
    printed = run(providers, ["migrate", str(file), "--output", "-"])
    assert printed.stdout == today.read_text()
    assert run(providers, ["migrate", str(file), "--output", str(file)]).exit_code == 0
    assert file.read_text() == today.read_text()
    assert file.with_name("providers.yaml.former").read_text() == FORMER
