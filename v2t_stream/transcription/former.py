"""Reads the providers.yaml of the former v2t, which ran on Temporal, and says what of it today's can hold.

There, `providers` was a mapping of names to entries with a type, settings, auth, performance and error_handling;
default_provider, priority and orchestrator.fallback_chain gave their order. Nothing secret is carried over or quoted.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from v2t_stream.errors import SettingsError
from v2t_stream.models import names
from v2t_stream.transcription.providers import is_former, parse

PLACES: Final = ("~/.tiktok-whisper/providers.yaml", "~/.tiktok-whisper/providers.yml")
_REFERENCE: Final = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")  # to the environment, perhaps with a default
_MOST_RETRIES: Final = 10
_PER_JOB: Final = {
    "language": "give it with each job, as --language",
    "temperature": "give it with each job, as --temperature",
    "translate": "give it with each job, as --task translate",
    "prompt": "give it with each job, as --prompt",
}
_NEEDLESS: Final = {
    *("binary_path", "output_format", "response_format", "temp_dir", "load_path", "max_length", "word_threshold"),
    *("no_timestamps", "timeout", "timeout_sec", "max_concurrent", "server_url", "api_key"),
}


class Entry(NamedTuple):
    """One entry of the former file."""

    name: str
    provider: dict[str, Any] | None  # as today's file has it; None if it cannot be carried over
    left: list[str]  # what could not be carried over, and what to do about it


class _Former(NamedTuple):
    name: str
    settings: Mapping[str, Any]
    auth: Mapping[str, Any]
    left: list[str]

    def text(self, *fields: str) -> str:
        """The first of these settings that is set, with its references to the environment resolved."""
        found = (self.settings.get(field) or self.auth.get(field) for field in fields)
        return next((_resolved(str(value)) for value in found if value), "")

    def number(self, field: str) -> int | None:
        value = self.settings.get(field)
        return value if isinstance(value, int) and not isinstance(value, bool) else None


def read(path: Path) -> list[Entry]:
    """The entries of a former file, in the order in which today's providers are tried.

    Raises SettingsError if it is none.
    """
    try:
        data = msgspec.yaml.decode(path.read_bytes())
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
    except msgspec.DecodeError:
        raise SettingsError(f"{path} is not valid YAML: choose a providers.yaml of the former v2t") from None
    if not is_former(data):
        raise SettingsError(f"{path} is no providers.yaml of the former v2t, which named its providers in a mapping")
    former = {str(name): entry for name, entry in _mapping(data.get("providers")).items()}
    return [_entry(name, _mapping(former[name])) for name in _order(data, former)]


def _order(data: Mapping[str, Any], former: Mapping[str, Any]) -> list[str]:
    """The default one first, then the fallbacks, then the others by priority and place."""
    fallbacks = _mapping(data.get("orchestrator")).get("fallback_chain")
    first = [data.get("default_provider"), *(fallbacks if isinstance(fallbacks, list) else [])]

    def rank(name: str) -> tuple[int, float]:
        priority = _mapping(former[name]).get("priority")
        return first.index(name) if name in first else len(first), priority if isinstance(priority, int) else 1e9

    return sorted(former, key=rank)


def _entry(name: str, entry: Mapping[str, Any]) -> Entry:
    kind = str(entry.get("type") or name)
    former = _Former(name, _mapping(entry.get("settings")), _mapping(entry.get("auth")), [])
    carry = _KINDS.get(kind)
    if carry is None:
        advice = _GONE.get(kind, "today's types are in docs/providers.md")
        return Entry(name, None, [f"the type {kind} does not exist any more: {advice}"])
    try:
        provider = {"name": name, **carry(former), **_limits(entry)}
        if entry.get("enabled") is False:
            provider["enabled"] = False
        (read_today,) = parse(written([{**provider, "enabled": True}]), "it")
    except SettingsError as error:
        return Entry(name, None, [str(error)])
    withdrawn = read_today.withdrawn(read_today.model)
    return Entry(name, provider, [*former.left, *_other(former, provider), *([withdrawn] if withdrawn else [])])


def written(providers: list[dict[str, Any]]) -> bytes:
    """Today's file with these providers."""
    return msgspec.yaml.encode({"providers": providers})


def _limits(entry: Mapping[str, Any]) -> dict[str, Any]:
    performance, errors, again = (_mapping(entry.get(name)) for name in ("performance", "error_handling", "retry"))
    attempts = again.get("max_attempts")
    retries = errors.get("max_retries", attempts - 1 if isinstance(attempts, int) else None)
    found = {
        "timeout": performance.get("timeout_sec"),
        "max_concurrency": performance.get("max_concurrency"),
        "rate_limit_per_minute": performance.get("rate_limit_rpm"),
        "retries": min(retries, _MOST_RETRIES) if isinstance(retries, int) else None,
    }
    return {field: value for field, value in found.items() if value}


def _whisper_cpp(former: _Former) -> dict[str, Any]:
    path = former.text("model_path", "model")
    known = Path(path).name.removeprefix("ggml-").removesuffix(".bin")
    provider: dict[str, Any] = {"type": "whisper_cpp"}
    if Path(path).expanduser().is_file():
        provider["model"] = str(Path(path).expanduser().resolve())
    elif known in names().get("whisper-cpp", ()):
        provider["model"] = known  # v2t fetches it
    elif path:
        former.left.append(f"its model {path} is not here, so it uses V2T_MODEL: set model to a name or a file")
    return provider | ({"threads": threads} if (threads := former.number("threads")) else {})


def _openai(former: _Former) -> dict[str, Any]:
    found = {"type": "openai"} | {field: former.text(field) for field in ("model", "base_url", "prompt")}
    provider = {name: value for name, value in found.items() if value}
    return provider | _ours(provider.get("base_url", "")) | _key(former, "OPENAI_API_KEY")


def _elevenlabs(former: _Former) -> dict[str, Any]:
    model = former.text("model")
    provider = {"type": "elevenlabs", **_key(former, "ELEVENLABS_API_KEY")}
    if model.startswith("scribe"):
        provider["model"] = model
    elif model:
        former.left.append(f"its model {model} is none of ElevenLabs' for transcription: it uses scribe_v2")
    return provider


def _whisper_server(former: _Former) -> dict[str, Any]:
    url = former.text("base_url", "server_url").rstrip("/") + (former.text("inference_path") or "/inference")
    fields = {"response_format": "verbose_json", "language": "{language}", "translate": "{translate}"}
    return {"type": "custom_http", "url": url, "fields": fields, **_ours(url)}


def _custom_http(former: _Former) -> dict[str, Any]:
    url = former.text("endpoint", "url", "base_url")
    extra = {str(name): _resolved(str(value)) for name, value in _mapping(former.settings.get("extra_params")).items()}
    provider: dict[str, Any] = {"type": "custom_http", "url": url, **_ours(url), **_key(former, "")}
    if extra:
        provider["fields"] = {name: text.replace("{", "{{").replace("}", "}}") for name, text in extra.items()}
    if field := former.text("field_name"):
        provider["file_field"] = field
    return provider


def _ours(url: str) -> dict[str, bool]:
    """The former system asked nobody before it sent audio to a server in the user's own network."""
    host = urlsplit(url).hostname or "."
    return {"remote": False} if "." not in host or re.match(r"(10|192\.168|172\.(1[6-9]|2\d|3[01]))\.", host) else {}


def _key(former: _Former, usual: str) -> dict[str, str]:
    """The variable that holds the key. A key in the file is left there: it belongs into the environment."""
    told = str(former.auth.get("api_key") or former.settings.get("api_key") or "")
    if reference := _REFERENCE.fullmatch(told):
        return {} if reference[1] == usual else {"key_env": reference[1]}
    if told:
        variable = usual or re.sub(r"\W", "_", former.name).upper() + "_API_KEY"
        former.left.append(f"its key is in the file: put it into the environment as {variable}, and out of the file")
        return {} if variable == usual else {"key_env": variable}
    return {}


def _other(former: _Former, provider: Mapping[str, Any]) -> Iterator[str]:
    """The settings that nothing above has read."""
    if former.auth.get("headers") or former.settings.get("headers") or former.settings.get("custom_headers"):
        yield "its headers: none can be set today"
    for field, value in former.settings.items():
        if field in _PER_JOB and field not in provider and value not in ("", "auto", 0, False, None):
            yield f"its {field}: {_PER_JOB[field]}"
        elif field == "insecure_skip_tls" and value:
            yield "its insecure_skip_tls: certificates are always checked"
        elif field not in (*_PER_JOB, *_NEEDLESS, *_READ, *provider):
            yield f"its {field}: nothing reads that today"


_KINDS: Final[Mapping[str, Callable[[_Former], dict[str, Any]]]] = {
    "whisper_cpp": _whisper_cpp,
    "openai": _openai,
    "elevenlabs": _elevenlabs,
    "whisper_server": _whisper_server,
    "custom_http": _custom_http,
}
_GONE: Final = {"ssh_whisper": "run v2t node on that machine instead"}
_READ: Final = (
    *("model_path", "model", "threads", "base_url", "inference_path", "endpoint", "url", "extra_params", "field_name"),
    *("headers", "custom_headers", "insecure_skip_tls", "method", "language_code"),
)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _resolved(text: str) -> str:
    return _REFERENCE.sub(lambda found: os.environ.get(found[1]) or found[2] or "", text)
