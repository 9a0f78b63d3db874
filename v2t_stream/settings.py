"""The settings of one machine, from its environment: V2T_*, NATS_URL, MINIO_*; an unknown V2T_ name is an error."""

import os
import socket
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Final, Literal, Self, get_args, get_origin, get_type_hints

import msgspec
import platformdirs
from msgspec import Meta

from schemas.options import DEFAULT_MODEL, Device
from v2t_stream.errors import SettingsError
from v2t_stream.host.addresses import networks
from v2t_stream.retention import DAY, HOUR, Retention

_Positive = Annotated[float, Meta(gt=0)]
_Count = Annotated[int, Meta(ge=0)]
_Probability = Annotated[float, Meta(ge=0, lt=1)]
_Days = Annotated[float, Meta(ge=0)]
# At most 51 characters, so that the longest bucket name fits S3's 63.
_BucketPrefix = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9-]{0,50}$")]

LogFormat = Literal["auto", "text", "color", "json"]

_OF_OTHERS: Final = ("NATS_", "MINIO_")  # settings that other programs use too
_SECRET: Final = ("nats_url", "minio_access_key", "minio_secret_key")  # the URL may hold a password


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Each field is an environment variable, as `variable` names it."""

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
        """Raises SettingsError with the name of the wrong variable."""
        names = {variable(field): field for field in cls.__struct_fields__}
        # A compose file sets missing variables to an empty string.
        values = {field: environment[name] for name, field in names.items() if environment.get(name)}
        for name in sorted(environment.keys() - names.keys()):
            if name.startswith("V2T_") and environment[name]:
                near = get_close_matches(name.removeprefix("V2T_").lower(), names.values(), n=1)
                advice = f"did you mean {variable(near[0])}?" if near else "see docs/settings.md for the full list"
                raise SettingsError(f"unknown setting {name}: {advice}")
        try:
            settings = msgspec.convert(values, cls, strict=False)
        except msgspec.ValidationError as error:
            reason, _, path = str(error).partition(" - at `$.")
            field = path.rstrip("`")
            kind = get_type_hints(cls)[field]
            wanted = f"use one of {', '.join(get_args(kind))}" if get_origin(kind) is Literal else reason.lower()
            raise SettingsError(f"the setting {variable(field)}={values[field]!r} is wrong: {wanted}") from None
        _check_addresses(settings)
        _check_minio(settings)
        return settings


def variable(field: str) -> str:
    """The environment variable of a field of Settings."""
    name = field.upper()
    return name if name.startswith(_OF_OTHERS) else f"V2T_{name}"


def _check_addresses(settings: Settings) -> None:
    try:
        networks(settings.allow_addresses)
    except ValueError as error:
        raise SettingsError(
            f"the setting V2T_ALLOW_ADDRESSES={settings.allow_addresses!r} is wrong: {error}; use addresses or "
            "networks such as 192.168.1.0/24, separated by commas"
        ) from None


def _check_minio(settings: Settings) -> None:
    if not settings.minio_endpoint:
        return
    if "/" in settings.minio_endpoint:
        raise SettingsError(
            f"the setting MINIO_ENDPOINT={settings.minio_endpoint!r} is wrong: use host:port alone; for https set "
            "MINIO_SECURE=true"
        )
    for field in ("minio_access_key", "minio_secret_key"):
        if not getattr(settings, field):
            raise SettingsError(f"MINIO_ENDPOINT is set, but {variable(field)} is not: set it too")
