"""The settings of one machine: V2T_*, NATS_* and MINIO_* of its environment, then config.toml, then the defaults.

An unknown name is an error, in the environment if it begins with V2T_.
"""

import base64
import os
import re
import socket
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, Self, TypeVar, get_args, get_origin, get_type_hints

import msgspec
import platformdirs
from msgspec import Meta

from schemas.message import fault
from schemas.options import DEFAULT_MODEL, Device
from v2t_stream.errors import SettingsError
from v2t_stream.host.addresses import networks, origins
from v2t_stream.retention import DAY, HOUR, Retention
from v2t_stream.settings import address, file

_Positive = Annotated[float, Meta(gt=0)]
_Count = Annotated[int, Meta(ge=0)]
_Probability = Annotated[float, Meta(ge=0, lt=1)]
_Days = Annotated[float, Meta(ge=0)]
# At most 51 characters, so that the longest bucket name fits S3's 63.
_BucketPrefix = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9-]{0,50}$")]

LogFormat = Literal["auto", "text", "color", "json"]

_OF_OTHERS: Final = ("NATS_", "MINIO_")  # settings that other programs use too
_MINIO: Final = ("minio_access_key", "minio_secret_key")
_KEYS: Final = (*_MINIO, "webhook_secret", "webhook_url")
_SECRET: Final = ("nats_url", *_KEYS)  # the URL may hold a password
_LOGIN: Final = ("nats_creds", "nats_nkey", "nats_ca", "nats_cert", "nats_key")
LOCAL: Final = "local"  # as NATS_URL: the embedded broker, whatever the file says
HIDDEN: Final = "(hidden)"

Source = Literal["default", "environment", "file"]
_T = TypeVar("_T")


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Each field is a setting of that name in the file, and an environment variable, as `variable` names it."""

    nats_url: str = ""  # empty: the embedded broker
    # Files; the `nats` command uses the same names.
    nats_creds: str = ""  # credentials for a server with JWTs
    nats_nkey: str = ""  # the seed of an nkey
    nats_ca: str = ""  # the certificate of the authority that vouches for the server
    nats_cert: str = ""  # our client certificate, for a server that requires one
    nats_key: str = ""  # and its private key
    log_format: LogFormat = "auto"  # auto: plain text on a terminal, JSON elsewhere
    data_dir: str = msgspec.field(default_factory=lambda: platformdirs.user_data_dir("v2t-stream"))
    node: str = msgspec.field(default_factory=lambda: socket.gethostname() or "localhost")

    engine: str = "faster-whisper"  # for jobs without one
    model: str = DEFAULT_MODEL  # for jobs without one
    device: Literal["auto", Device] = "auto"
    threads: _Count = 0  # of the engine; 0: all cores this process may use
    batch: _Count = 0  # chunks in one engine call; 0: by device

    providers: str = ""  # the provider chain's file; empty: providers.yaml in the data directory, if it exists

    models_bytes: _Count = 0  # for models on this machine's disk; 0: no limit
    vad_threshold: _Probability = 0.5  # lowest speech probability that goes into chunks; 0: all sound
    idle: _Positive = 600.0  # seconds without work until an engine frees its memory
    warm: bool = False  # load the engine and its model at the start instead of with the first chunk

    max_bytes: _Positive = 8 * 1024**3  # of one download
    max_duration: _Positive = 12 * 3600  # seconds of one medium
    max_download_time: _Positive = 4 * 3600  # seconds of one download
    allow_addresses: str = ""  # allowed for links besides public ones; networks, separated by commas
    cookies: str = ""  # a Netscape cookie file for yt-dlp
    media_hours: _Positive = 72  # until stored media and chunks expire
    facts_days: _Days = 30  # until jobs expire; 0: never, also below
    dead_days: _Days = 30  # until dead letters expire
    transcript_days: _Days = 0  # until transcripts expire
    replicas: Annotated[int, Meta(ge=1, le=5)] = 1  # servers of a cluster that hold each stream and bucket

    minio_endpoint: str = ""  # host:port of MinIO or another S3 server; empty: the object store of NATS
    minio_access_key: str = ""
    minio_secret_key: str = ""
    minio_secure: bool = False  # https
    minio_region: str = ""  # empty: ask the server
    minio_bucket_prefix: _BucketPrefix = "v2t-"  # of the buckets media, transcripts, models and uploads

    upload_prefix: str = ""  # of the keys in the upload bucket that start jobs
    upload_suffixes: str = ""  # of the same keys, separated by commas; empty: all media types
    beside_upload: bool = False  # whether the transcript of an upload is also stored next to it

    webhook_url: str = ""  # told of the end of every job; empty: only the links that jobs name
    webhook_secret: str = ""  # whsec_ and base64; signs what is told
    serve_origins: str = ""  # of other sites whose pages may use the HTTP API, separated by commas; *: all

    @property
    def home(self) -> Path:
        return Path(self.data_dir).expanduser()

    @property
    def retention(self) -> Retention:
        """How long things are kept."""
        days = (self.facts_days, self.dead_days, self.transcript_days)
        return Retention(self.media_hours * HOUR, *(count * DAY for count in days))

    def __repr__(self) -> str:
        """Show the settings without the secrets."""
        shown = (f"{name}={getattr(self, name)!r}" for name in self.__struct_fields__ if name not in _SECRET)
        return f"Settings({', '.join(shown)})"

    @property
    def upload_bucket(self) -> str:
        """The bucket whose uploads start jobs."""
        return f"{self.minio_bucket_prefix}uploads"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """The settings of the environment, then those of the file that it names; see `sourced`."""
        return cls.sourced(environment)[0]

    @classmethod
    def sourced(cls, environment: Mapping[str, str] = os.environ) -> tuple[Self, dict[str, Source]]:
        """The settings in force, and where each comes from. Raises SettingsError with the name of the wrong one."""
        names = {variable(field): field for field in cls.__struct_fields__}
        _check_names(environment, names)
        # A compose file sets missing variables to an empty string.
        told = {field: text for name, field in names.items() if (text := environment.get(name, "").strip())}
        kept = file.read(environment, cls.__struct_fields__)
        given = Given(told, {**kept, **told}, file.file_of(environment))
        settings = given.converted(cls)
        if any(_is_secret(field, str(value)) for field, value in kept.items()):
            file.check_private(given.path)
        if settings.nats_url == LOCAL:
            settings = msgspec.structs.replace(settings, nats_url="")
        for field, reason in _troubles(settings):
            raise SettingsError(f"{given.name(field)} is wrong: {reason}")
        _check_minio(settings)
        return settings, {field: given.source(field) for field in names.values()}

    def on(self, url: str) -> Self:
        """The same on this machine's own broker at `url`, which holds the only login that one needs."""
        return msgspec.structs.replace(self, nats_url=url, **dict.fromkeys(_LOGIN, ""))

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which another process has these settings, whatever the file says by then."""
        fields = {variable(field): getattr(self, field) for field in self.__struct_fields__}
        text = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in fields.items()}
        return {**text, file.VARIABLE: os.devnull}

    def shown(self, field: str) -> str:
        """The value of a field for people: without its secrets."""
        value = getattr(self, field)
        if field == "nats_url":
            return address.shown(value)
        if field in _SECRET and value:
            return HIDDEN
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        return str(value).lower() if isinstance(value, bool) else str(value)


class Given(NamedTuple):
    """What somebody set."""

    told: Mapping[str, str]  # in the environment
    merged: dict[str, Any]  # and in the file, where the environment says nothing
    path: Path  # of the file

    def source(self, field: str) -> Source:
        return "environment" if field in self.told else "file" if field in self.merged else "default"

    def name(self, field: str) -> str:
        """The setting, its value and where it was set, for an error."""
        value = str(self.merged.get(field, ""))
        if field == "nats_url":
            value = address.shown(value)
        where = f" in {self.path}" if self.source(field) == "file" else ""
        name = field if where else variable(field)
        return f"the setting {name}{where}" if field in _KEYS else f"the setting {name}={value!r}{where}"

    def converted(self, kind: type[_T]) -> _T:
        """Raises SettingsError if a value has the wrong type."""
        try:
            return msgspec.convert(self.merged, kind, strict=False)
        except msgspec.ValidationError as error:
            reason, path = fault(error)
            field = path.split("[")[0].split(".")[0]
            type_ = get_type_hints(kind)[field]
            wanted = f"use one of {', '.join(get_args(type_))}" if get_origin(type_) is Literal else reason.lower()
            raise SettingsError(f"{self.name(field)} is wrong: {wanted}") from None


def secret_of(text: str) -> bytes | None:
    """The bytes of a webhook secret (standardwebhooks.com); None if it is none."""
    try:
        secret = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except ValueError:
        return None
    return secret if text.startswith("whsec_") and 24 <= len(secret) <= 64 else None


def variable(field: str) -> str:
    """The environment variable of a field of Settings."""
    name = field.upper()
    return name if name.startswith(_OF_OTHERS) else f"V2T_{name}"


def _is_secret(field: str, value: str) -> bool:
    return address.has_login(value) if field == "nats_url" else field in _KEYS


def _check_names(environment: Mapping[str, str], names: Mapping[str, str]) -> None:
    for name in sorted(environment.keys() - names.keys() - {file.VARIABLE}):
        if name.startswith("V2T_") and environment[name]:
            near = get_close_matches(name.removeprefix("V2T_").lower(), names.values(), n=1)
            advice = f"did you mean {variable(near[0])}?" if near else "see docs/settings.md for the full list"
            raise SettingsError(f"unknown setting {name}: {advice}")


def _troubles(settings: Settings) -> Iterator[tuple[str, str]]:
    """What the types of fields alone cannot say: the field, what is wrong, and what to do."""
    if settings.nats_url and (reason := address.trouble(settings.nats_url)):
        yield "nats_url", reason
    try:
        networks(settings.allow_addresses)
    except ValueError as error:
        yield (
            "allow_addresses",
            f"{error}; use addresses or networks such as 192.168.1.0/24, separated by commas",
        )
    try:
        origins(settings.serve_origins)
    except ValueError as error:
        yield "serve_origins", f"{error}; separate several by commas, or use * for all"
    if settings.webhook_secret and secret_of(settings.webhook_secret) is None:
        yield (
            "webhook_secret",
            "it must be whsec_ and base64 of 24 to 64 bytes: make one with echo whsec_$(openssl rand -base64 32)",
        )
    if settings.webhook_url and not re.match(r"https?://[^/]", settings.webhook_url):
        yield "webhook_url", "it must begin with http:// or https://"
    if settings.minio_endpoint and re.search(r"[/@\s]", settings.minio_endpoint):
        yield "minio_endpoint", "use host:port alone; for https set MINIO_SECURE=true"


def _check_minio(settings: Settings) -> None:
    if not settings.minio_endpoint:
        return
    for field in _MINIO:
        if not getattr(settings, field):
            raise SettingsError(f"MINIO_ENDPOINT is set, but {variable(field)} is not: set it too")
