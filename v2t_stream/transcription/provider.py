"""The settings that providers have in common, and how a service registers.

A provider is one entry of a node's providers.yaml: an installed engine, or a service that is called over HTTP. Each
field of its struct is a setting of that name, and each is enforced.
"""

import ipaddress
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from schemas.options import Device, Request
from v2t_stream.engines import registry
from v2t_stream.engines.descriptor import Abilities, Descriptor, Withdrawal
from v2t_stream.engines.offer import Offer
from v2t_stream.errors import SettingsError

if TYPE_CHECKING:  # urllib3 takes a while to import
    from v2t_stream.transcription.remote.http import Caller
    from v2t_stream.transcription.result import Transcription

_Seconds = Annotated[float, Meta(gt=0, le=86_400)]
_Count = Annotated[int, Meta(ge=0)]
_Retries = Annotated[int, Meta(ge=0, le=10)]


class Provider(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of every provider."""

    type: str
    name: str = ""  # for people and logs; its type if not set
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
        """The environment variable that holds the key; empty if it needs none."""
        return ""

    @property
    def needs_key(self) -> bool:
        """Whether it cannot be used without a key."""
        return False

    @property
    def key(self) -> str:
        return os.environ.get(self.key_variable, "").strip() if self.key_variable else ""

    def able(self, model: str) -> Abilities:
        """What can be asked of it with `model`."""
        found = registry.descriptor(self.engine)
        return found.able(model) if found else Abilities()

    def withdrawn(self, model: str) -> str:  # noqa: ARG002  nobody withdraws a model that is on this machine
        """That its service withdraws `model`, and what to use instead; empty if it has announced nothing."""
        return ""

    def offer(self, *, listed: bool = True) -> Offer:
        """What it offers to jobs, without its hints, because no job is refused for lack of a hint."""
        able = self.able(self.model)
        return Offer(
            engine=self.engine,
            model=self.model,
            is_service=not isinstance(self, Local),
            remote=self.is_remote,
            listed=listed,
            abilities=Abilities(translates=able.translates, word_times=able.word_times, languages=able.languages),
        )

    def check(self) -> None:
        """Raises SettingsError for what the types of its fields alone cannot say."""


class Local(Provider, frozen=True, kw_only=True):
    """An installed engine, ours or a third party's."""

    timeout: _Seconds = 1800  # includes loading the model for the first chunk, but not downloading it
    max_concurrency: _Count = 0
    retries: _Retries = 0
    device: Literal["auto", Device] = "auto"  # auto: that of V2T_DEVICE
    threads: _Count = 0  # 0: those of V2T_THREADS
    batch: _Count = 0  # 0: that of V2T_BATCH


class Http(Provider, frozen=True, kw_only=True):
    """A service that is called over HTTP."""

    remote: bool | None = None  # needs a job's permission; by default if its host is another machine
    key_env: str | None = None  # the environment variable with the key, if it is not the usual one

    ADDRESS: ClassVar[str] = "base_url"  # the setting that holds its address
    KEY: ClassVar[str] = ""  # the usual environment variable of its key
    HOST: ClassVar[str] = ""  # the service's own, which refuses calls without a key; other hosts may not ask for one

    @property
    def address(self) -> str:
        text: str = getattr(self, self.ADDRESS)
        return text

    @property
    def is_own_host(self) -> bool:
        """Whether it is the service itself rather than another server that speaks its language."""
        return bool(self.HOST) and urlsplit(self.address).hostname == self.HOST

    @property
    def is_remote(self) -> bool:
        return not _is_this_machine(self.address) if self.remote is None else self.remote

    @property
    def key_variable(self) -> str:
        return self.KEY if self.key_env is None else self.key_env

    @property
    def needs_key(self) -> bool:
        return bool(self.key_env) or self.is_own_host

    def withdrawn(self, model: str) -> str:
        found = registry.descriptor(self.engine)
        if not (isinstance(found, ServiceDescriptor) and self.is_own_host and model in found.withdrawn):
            return ""
        return f"{self.engine} {found.withdrawn[model].sentence(model, datetime.now(UTC).date())}"

    def check(self) -> None:
        try:
            parts = urlsplit(self.address)
            complete = parts.scheme in ("http", "https") and bool(parts.hostname)
            _ = parts.port
        except ValueError:
            complete = False
        if not complete:
            raise SettingsError(f"the setting {self.ADDRESS} is not an http or https URL")
        if parts.username or parts.password:
            raise SettingsError(f"the setting {self.ADDRESS} holds a password: put it into the environment")


def _nothing(_: Any, __: Request) -> set[str]:
    return set()


class ServiceDescriptor(Descriptor, frozen=True, kw_only=True):
    """A service, as its entry point in the group v2t.engines names it."""

    settings: type[Http]
    # Transcribes one chunk, blocking: its provider, whom to call, the chunk as FLAC, its seconds, what is asked.
    hear: "Callable[[Any, Caller, bytes, float, Request], Transcription]"
    left_out: Callable[[Any, Request], set[str]] = _nothing  # the hints that it cannot use in this request
    withdrawn: Mapping[str, Withdrawal] = {}  # models whose end the service has announced

    def able(self, model: str) -> Abilities:
        """What `model` can do, also if a gateway puts the maker before the name: openai/gpt-transcribe."""
        return super().able(model.rpartition("/")[2])


def services() -> dict[str, ServiceDescriptor]:
    """The installed services, by the engine that jobs name."""
    found = {name: registry.descriptor(name) for name in registry.names()}
    return {name: each for name, each in found.items() if isinstance(each, ServiceDescriptor)}


def _is_this_machine(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
