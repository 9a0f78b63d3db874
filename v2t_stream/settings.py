"""The settings of one machine, from the environment: NATS_URL and V2T_*; an unknown V2T_ name is an error."""

import os
import socket
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal, Self, get_args, get_origin, get_type_hints

import msgspec
import platformdirs
from msgspec import Meta

from schemas.options import DEFAULT_MODEL
from v2t_stream.errors import SettingsError

_Positive = Annotated[float, Meta(gt=0)]
_Count = Annotated[int, Meta(ge=0)]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Each field is the environment variable V2T_<NAME>, but for `nats_url`, which is NATS_URL."""

    nats_url: str = ""  # empty: the embedded broker
    data_dir: str = msgspec.field(default_factory=lambda: platformdirs.user_data_dir("v2t-stream"))
    node: str = msgspec.field(default_factory=lambda: socket.gethostname() or "localhost")

    engine: str = "faster-whisper"  # for jobs that name none
    model: str = DEFAULT_MODEL  # for jobs that name none
    device: Literal["auto", "cuda", "metal", "coreml", "cpu"] = "auto"
    threads: _Count = 0  # of the engine; 0: all cores this process may use
    batch: _Count = 0  # chunks in one engine call; 0: by device

    providers: str = ""  # the file of the provider chain; empty: providers.yaml in the data directory, if it is there

    idle: _Positive = 600.0  # seconds without work after which an engine's memory is given back
    warm: bool = False  # load the engine and its model at the start instead of with the first chunk

    max_bytes: _Positive = 8 * 1024**3  # of one download
    max_duration: _Positive = 12 * 3600  # seconds of one medium
    cookies: str = ""  # a Netscape cookie file for yt-dlp
    media_hours: _Positive = 72  # until stored media and chunks expire
    replicas: Annotated[int, Meta(ge=1, le=5)] = 1  # servers that hold each stream and bucket, of a cluster of them

    @property
    def home(self) -> Path:
        return Path(self.data_dir).expanduser()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Raises SettingsError naming the variable that is wrong."""
        values = {
            name.removeprefix("V2T_").lower(): value
            for name, value in environment.items()
            if name.startswith("V2T_") and value  # a compose file sets what it was not given to nothing
        }
        known = set(cls.__struct_fields__) - {"nats_url"}
        for field in sorted(values.keys() - known):
            near = get_close_matches(field, known, n=1)
            advice = f"did you mean V2T_{near[0].upper()}?" if near else "see docs/settings.md for those there are"
            raise SettingsError(f"unknown setting V2T_{field.upper()}: {advice}")
        if url := environment.get("NATS_URL"):
            values["nats_url"] = url
        try:
            return msgspec.convert(values, cls, strict=False)
        except msgspec.ValidationError as error:
            reason, _, path = str(error).partition(" - at `$.")
            name = path.rstrip("`")
            kind = get_type_hints(cls)[name]
            wanted = f"it is one of {', '.join(get_args(kind))}" if get_origin(kind) is Literal else reason.lower()
            raise SettingsError(f"the setting V2T_{name.upper()}={values[name]!r} is wrong: {wanted}") from None
