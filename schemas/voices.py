"""The library of voices: people whom jobs can name."""

import msgspec


class KnownVoice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a person sounds in one job."""

    name: str
    voice: bytes  # as in Speaker
    model: str  # that made it
    job: str
    speaker: str  # the label in that job
    by: str  # who added it, for people
