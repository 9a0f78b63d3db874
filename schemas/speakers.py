"""Who speaks in a chunk: voices that are not yet matched to those of other chunks."""

import msgspec


class Voice(msgspec.Struct, frozen=True, array_like=True):
    """Some of what one person says in one window. The person is known only there."""

    person: int  # of the window, from 0; the same person may have several voices, and two people never have one
    turns: tuple[tuple[int, int], ...]  # first sample in the source and length, of each stretch of speech
    seconds: float  # of the speech that the embedding was made of
    embedding: bytes  # one signed byte for each dimension, of a vector of length 127; empty if there was too little


class Window(msgspec.Struct, frozen=True, array_like=True):
    """Up to ten seconds of the source that were heard at once."""

    start: int  # first sample in the source
    length: int  # samples
    voices: tuple[Voice, ...] = ()
