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
    """One loaded model. It lives in a process of its own.

    An engine with an attribute `calls` takes so many calls of `transcribe` at once, from as many threads; others are
    called from one thread.
    """

    def __init__(self, *, model: str, device: str, threads: int) -> None:
        """Load `model` on `device` ("cuda", "metal", "coreml" or "cpu").

        `model` is "demo" or a path; names that v2t_stream.models knows are fetched before, and others passed on as they
        are. Raises Reject where there is no such model and Retry where it cannot be loaded now, Full for want of room.
        """

    def transcribe(self, chunks: Sequence[Samples], request: Request) -> list[Transcription]:
        """Transcribe chunks of at most 30 s each, in one call where the engine can; one result for each.

        An engine that knows the times of words gives them; what it does not know, such as a beam, it leaves alone.
        """
        ...
