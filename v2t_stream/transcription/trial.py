"""Sends a spoken clip through one provider of this machine, to see whether it works."""

from typing import Any, Final

import msgspec

from schemas.chunks import SAMPLE_RATE
from schemas.options import DEMO_MODEL, Options
from v2t_stream import demo as assets
from v2t_stream.models.fetching import Models
from v2t_stream.settings import Settings
from v2t_stream.transcription.provider import Provider

_SECONDS: Final = 9  # of the clip: three sentences


def clip() -> tuple[Any, bytes]:
    """The first seconds of the demonstration's clip, as samples and as FLAC."""
    import numpy as np  # noqa: PLC0415  # this and the next are too heavy for commands that only list

    from v2t_stream.audio import flac  # noqa: PLC0415  # as above
    from v2t_stream.audio.decode import MediaReader  # noqa: PLC0415  # as above

    blocks, length = [], 0
    with MediaReader(assets.CLIP) as reader:
        for block in reader.blocks():
            blocks.append(block)
            length += block.size
            if length >= _SECONDS * SAMPLE_RATE:
                break
    audio = flac.encode(np.concatenate(blocks)[: _SECONDS * SAMPLE_RATE])
    return flac.decode(audio), audio


async def heard(provider: Provider, settings: Settings, samples: Any, audio: bytes, *, demo: bool = False) -> str:
    """What `provider` makes of the clip, with its own model or (`demo`) with the one that comes with the package.

    Raises Reject or Retry.
    """
    from v2t_stream.transcription.chain import Chain  # noqa: PLC0415  # as above

    if demo:
        provider = msgspec.structs.replace(provider, model=DEMO_MODEL)
    chain = Chain([msgspec.structs.replace(provider, enabled=True)], settings, Models(settings))
    # The demo model knows a hundred English words, and no other language.
    language = "en" if (provider.model or settings.model) == DEMO_MODEL else None
    try:
        heard = await chain.transcribe(samples, audio, Options(language=language, remote=True))
    finally:
        await chain.close()
    return " ".join(segment.text for segment in heard.transcription.segments)
