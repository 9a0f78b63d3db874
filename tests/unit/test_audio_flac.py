"""A chunk travels as FLAC: what the engine hears is what was cut, to the bit."""

import numpy as np
import pytest

from v2t_stream.audio import flac
from v2t_stream.errors import Reject


@pytest.mark.parametrize("count", [1, 15, 4_607, 4_608, 4_609, 480_000])
def test_round_trip(count: int) -> None:
    """A lost or an added sample would shift every time behind it; a changed one is noise."""
    samples = np.random.default_rng(count).integers(-32_768, 32_768, count, dtype=np.int16)
    heard = flac.decode(flac.encode(samples))
    assert heard.dtype == np.float32
    assert np.array_equal(heard * 32_768, samples)


def test_speech_takes_less_room() -> None:
    """The store and the network carry the chunks: a tone as big as the plain samples would mean no compression."""
    tone = (8_000 * np.sin(np.arange(160_000) / 20)).astype(np.int16)
    assert len(flac.encode(tone)) < tone.nbytes * 0.7


@pytest.mark.parametrize(
    "wrong", [np.zeros(0, np.int16), np.zeros((2, 8), np.int16), np.zeros(8, np.float32)], ids=["none", "rows", "float"]
)
def test_only_samples_are_encoded(wrong: np.ndarray) -> None:
    """FFmpeg would read past the end of an array of another shape."""
    with pytest.raises(ValueError, match="int16 samples"):
        flac.encode(wrong)


@pytest.mark.parametrize("damage", ["nothing", "text", "head", "half"])
def test_damaged_chunk(damage: str) -> None:
    """An object that was stored by halves is said to be damaged, in place of a crash, or of half the words."""
    whole = flac.encode(np.random.default_rng(0).integers(-99, 99, 32_000, dtype=np.int16))
    data = {"nothing": b"", "text": b"hello" * 100, "head": whole[:30], "half": whole[: len(whole) // 2]}[damage]
    with pytest.raises(Reject, match=r"a chunk's audio is .*: convert the media again"):
        flac.decode(data)
