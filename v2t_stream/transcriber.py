"""Engines for release 0.1 import from here; release 0.3 removes it. New engines use v2t_stream.transcription."""

from v2t_stream.transcription.transcriber import Samples, Transcriber, Transcription

__all__ = ["Samples", "Transcriber", "Transcription"]
