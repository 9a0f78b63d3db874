"""What an engine must offer: one class with a constructor and one method, which its descriptor names."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.options import Request
from v2t_stream.transcription.result import Transcription

__all__ = ["Samples", "Transcriber", "Transcription"]

Samples = NDArray[np.float32]  # mono, 16 kHz, within ±1, shape (samples,)


class Transcriber(Protocol):
    """One loaded model, in its own process.

    An engine with an attribute `calls` takes that many calls of `transcribe` at once, from as many threads. Others are
    called from one thread.
    """

    def __init__(self, *, model: str, device: str, threads: int) -> None:
        """Load `model` on `device` ("cuda", "metal", "coreml" or "cpu").

        `model` is "demo" or a path. A name that the engine's descriptor lists has been fetched, and this is the path of
        its files; any other name is passed on. Raises Reject if there is no such model, Retry if it cannot be loaded
        now, and Full if there is no room for it.
        """

    def transcribe(self, chunks: Sequence[Samples], request: Request) -> list[Transcription]:
        """Transcribe chunks of at most 30 s each, in one call if the engine can; one result for each.

        An engine that knows the times of words returns them. It ignores options that it has no use for, such as a beam.
        """
        ...
