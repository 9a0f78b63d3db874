"""The provider chain of one machine: its engines and services in order, from providers.yaml.

Each provider is one struct below; every field is a setting of that name, and each is enforced. Keys stand in the
environment, never in the file.
"""

import ipaddress
import os
import re
import string
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, get_args
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from schemas.options import Options
from v2t_stream.errors import SettingsError
from v2t_stream.settings import Settings
from v2t_stream.transcription.installed import engine_names

_Seconds = Annotated[float, Meta(gt=0, le=86_400)]
_Count = Annotated[int, Meta(ge=0)]
_Retries = Annotated[int, Meta(ge=0, le=10)]

# In the form of a custom_http.
PLACEHOLDERS: Final = (
    *("language", "task", "model", "words", "translate"),
    *("prompt", "hotwords", "beam_size", "temperature"),
)
_SECRETS: Final = {"api_key", "apikey", "key", "token", "secret", "password"}


class Provider(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every provider can be told."""

    type: str
    name: str = ""  # for people and logs; its type where not given
    model: str = ""
    enabled: bool = True
    timeout: _Seconds = 120  # for one try of one chunk
    max_concurrency: _Count = 4  # chunks at the same time; 0: no limit of its own
    rate_limit_per_minute: _Count = 0  # tries begun in any minute; 0: no limit
    retries: _Retries = 2  # after the first try, before the next provider gets the chunk

    @property
    def engine(self) -> str:
        """The type as jobs, transcripts and entry points spell it."""
        return self.type.replace("_", "-")

    @property
    def is_remote(self) -> bool:
        return False

    @property
    def key_variable(self) -> str:
        """The environment variable that holds the key; empty where it needs none."""
        return ""

    @property
    def needs_key(self) -> bool:
        """Whether it is of no use without."""
        return False

    @property
    def key(self) -> str:
        return os.environ.get(self.key_variable, "").strip() if self.key_variable else ""


class Local(Provider, frozen=True, kw_only=True):
    """An installed engine, ours or a third party's."""

    timeout: _Seconds = 1800  # counts the model's load too, for the first chunk, but not its download
    max_concurrency: _Count = 0
    retries: _Retries = 0
    device: Literal["auto", "cuda", "metal", "coreml", "cpu"] = "auto"  # auto: that of V2T_DEVICE
    threads: _Count = 0  # 0: those of V2T_THREADS
    batch: _Count = 0  # 0: that of V2T_BATCH


class _Http(Provider, frozen=True, kw_only=True):
    remote: bool | None = None  # needs a job's permission; by default where its host is another machine
    key_env: str | None = None  # the environment variable with the key, where it is not the usual one

    _KEY: ClassVar[str] = ""
    _HOST: ClassVar[str] = ""  # which refuses whoever brings no key; others may not ask for one

    @property
    def address(self) -> str:
        raise NotImplementedError

    @property
    def is_remote(self) -> bool:
        return not _is_this_machine(self.address) if self.remote is None else self.remote

    @property
    def key_variable(self) -> str:
        return self._KEY if self.key_env is None else self.key_env

    @property
    def needs_key(self) -> bool:
        return bool(self.key_env) or urlsplit(self.address).hostname == self._HOST


class OpenAI(_Http, frozen=True, kw_only=True):
    """The OpenAI API, and whatever speaks it."""

    _KEY: ClassVar[str] = "OPENAI_API_KEY"
    _HOST: ClassVar[str] = "api.openai.com"

    type: Literal["openai"]
    model: str = "whisper-1"
    base_url: str = "https://api.openai.com/v1"
    prompt: str = ""  # words and names it should expect
    hotwords_field: str = (
        ""  # the form field for a job's hotwords, where the server has one; else the prompt ends in them
    )

    @property
    def address(self) -> str:
        return self.base_url


class ElevenLabs(_Http, frozen=True, kw_only=True):
    _KEY: ClassVar[str] = "ELEVENLABS_API_KEY"
    _HOST: ClassVar[str] = "api.elevenlabs.io"

    type: Literal["elevenlabs"]
    model: str = "scribe_v2"
    base_url: str = "https://api.elevenlabs.io"

    @property
    def address(self) -> str:
        return self.base_url


class Response(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where in a JSON answer things are, as names joined by dots."""

    text: str = "text"
    segments: str = "segments"
    language: str = "language"


class CustomHttp(_Http, frozen=True, kw_only=True):
    """A form POST with the audio as a file. Placeholders such as {language} may stand in the query and the fields."""

    type: Literal["custom_http", "custom-http"]
    url: str
    fields: dict[str, str] = {}
    file_field: str = "file"
    response: Response = Response()

    @property
    def address(self) -> str:
        return self.url


_HTTP: Final[dict[str, type[_Http]]] = {"openai": OpenAI, "elevenlabs": ElevenLabs, "custom-http": CustomHttp}

HTTP_ENGINES: Final = tuple(_HTTP)  # that a job may ask for besides the installed engines


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    providers: list[dict[str, Any]]


def load(settings: Settings) -> list[Provider]:
    """The providers of this machine, in order; without a file the one of V2T_ENGINE and V2T_MODEL.

    Raises SettingsError naming the file, the provider, the setting, and what is wrong with it.
    """
    path = file_of(settings)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        if settings.providers:
            raise SettingsError(f"V2T_PROVIDERS names {path}, which does not exist") from None
        return [Local(type=settings.engine, name=settings.engine, model=settings.model)]
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
    return parse(data, str(path))


def file_of(settings: Settings) -> Path:
    """Where the providers' file is, or would be."""
    return Path(settings.providers).expanduser() if settings.providers else settings.home / "providers.yaml"


def parse(data: bytes, path: str) -> list[Provider]:
    """Read the text of a providers.yaml; see `load`."""
    try:
        entries = msgspec.yaml.decode(data, type=_File).providers
    except msgspec.ValidationError as error:
        raise SettingsError(
            f"{path} does not fit ({error}): it holds a list called providers, as docs/providers.md shows"
        ) from None
    except msgspec.DecodeError as error:
        # Only the line: the parser's own text may quote the file, and with it what somebody took for its place.
        line = re.findall(r"line (\d+)", str(error))
        raise SettingsError(f"{path} is not valid YAML{f': look at line {line[-1]}' if line else ''}") from None
    providers = [_provider(entry, f"{path}: provider {n}", n) for n, entry in enumerate(entries, 1)]
    names = [provider.name for provider in providers]
    for name in names:
        if names.count(name) > 1:
            raise SettingsError(f"{path}: two providers are called {name!r}: give each a name of its own")
    if not any(provider.enabled for provider in providers):
        raise SettingsError(f"{path} enables no provider: without one this machine cannot transcribe")
    return providers


def refusal(providers: Iterable[Provider], options: Options) -> str | None:
    """Why a machine with only these providers can never do such a job; None where it can."""
    enabled = [provider for provider in providers if provider.enabled]
    if any(not provider.is_remote for provider in enabled) or (options.remote and options.accelerator == "remote"):
        return None
    names = ", ".join(provider.name for provider in enabled)
    return f"this machine has only remote providers ({names}): allow them with --remote --accelerator remote"


def _provider(entry: dict[str, Any], place: str, number: int) -> Provider:
    kind = entry.get("type")
    if not isinstance(kind, str):
        raise SettingsError(f"{place} has no type: it is one of {', '.join(_types())}")
    name = entry.get("name") or kind
    place = place.replace(f"provider {number}", f"provider {number} ({name})")
    struct: type[Provider] | None = _HTTP.get(kind.replace("_", "-"))
    if struct is None and kind.replace("_", "-") in engine_names():
        struct = Local
    if struct is None:
        raise SettingsError(f"{place}: unknown type {kind!r}: {_advice(kind, _types())}")
    known = struct.__struct_fields__
    for field in entry:
        if field not in known:
            raise SettingsError(f"{place}: unknown setting {field!r}: {_advice(field, known)}")
    try:
        provider = msgspec.convert({**entry, "name": name}, struct)
    except msgspec.ValidationError as error:
        reason, _, where = str(error).partition(" - at `$.")
        if not where:  # of the struct itself there is one thing left to be wrong
            raise SettingsError(f"{place}: {_lower(reason)}") from None
        field = where.rstrip("`").split(".")[0].split("[")[0]
        kind_of = next((each.type for each in msgspec.structs.fields(struct) if each.name == field), None)
        choices = f": it is one of {', '.join(get_args(kind_of))}" if "enum value" in reason else ""
        raise SettingsError(f"{place}: the setting {field} is wrong: {_lower(reason)}{choices}") from None
    _check(provider, place)
    return provider


def _check(provider: Provider, place: str) -> None:
    """What the types alone cannot say."""
    if isinstance(provider, _Http):
        setting = "url" if isinstance(provider, CustomHttp) else "base_url"
        try:
            parts = urlsplit(provider.address)
            complete = parts.scheme in ("http", "https") and bool(parts.hostname)
            _ = parts.port
        except ValueError:
            complete = False
        if not complete:
            raise SettingsError(f"{place}: the setting {setting} is not an http or https URL")
        if parts.username or parts.password:
            raise SettingsError(f"{place}: the setting {setting} holds a password: put it into the environment")
    if isinstance(provider, CustomHttp):
        for text in (urlsplit(provider.url).query, *provider.fields.values()):
            for name in _placeholders(text, place):
                if name not in PLACEHOLDERS:
                    raise SettingsError(f"{place}: unknown placeholder {{{name}}}: {_advice(name, PLACEHOLDERS)}")


def _placeholders(text: str, place: str) -> list[str]:
    try:
        return [name for _, name, _, _ in string.Formatter().parse(text) if name is not None]
    except ValueError:
        raise SettingsError(f"{place}: {text!r} has a brace too many: one that is meant is written twice") from None


def _types() -> list[str]:
    return [name.replace("-", "_") for name in (*engine_names(), *HTTP_ENGINES)]


def _advice(name: str, known: Iterable[str]) -> str:
    if name.lower() in _SECRETS:
        return "keys stand in the environment; key_env names the variable where it is not the usual one"
    near = get_close_matches(name, list(known), n=1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _is_this_machine(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
