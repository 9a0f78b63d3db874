"""Where engines made for release 0.1 import from; it goes with release 0.3. New ones: v2t_stream.transcription."""

from v2t_stream.transcription.transcriber import Samples, Transcriber, Transcription

__all__ = ["Samples", "Transcriber", "Transcription"]
