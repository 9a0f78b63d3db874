"""Chooses the audio track to transcribe."""

import re
from typing import Final, cast

from av.audio.stream import AudioStream
from av.codec import CodecContext
from av.container import InputContainer
from av.stream import Disposition, Stream

from schemas.transcript import Track
from v2t_stream.errors import Reject
from v2t_stream.languages import code_of
from v2t_stream.text import one_line, quoted

# Companion tracks: for the blind, for the hard of hearing, film-makers' commentary, karaoke.
_ASIDE: Final = (
    Disposition.comment
    | Disposition.visual_impaired
    | Disposition.hearing_impaired
    | Disposition.descriptions
    | Disposition.karaoke
    | Disposition.lyrics
    | Disposition.clean_effects
    | Disposition.non_diegetic
)
_ASIDE_TITLE: Final = re.compile(
    r"comment|kommentar|комментар|descripti|descripci|deskription|audiodescr|descrizione|descrição|hörfilm|\bAD\b"
    r"|visually|impaired|karaoke|instrumental|isolated|music (only|and effects)|\bM&E\b|解説|评论|評論",
    re.IGNORECASE,
)


def describe(container: InputContainer) -> tuple[Track, ...]:
    """All audio tracks, in the order of the file."""
    return tuple(
        Track(
            number=number,
            language=_language(stream),
            title=one_line(stream.metadata.get("title", "")),
            channels=getattr(stream, "channels", 0) if is_decodable(stream) else 0,
        )
        for number, stream in enumerate(_audio(container), 1)
    )


def eligible(
    container: InputContainer, name: str, *, track: str | None = None, language: str | None = None
) -> list[AudioStream]:
    """Return the candidate tracks, the likeliest first; at least one.

    `track`: a number, from 1, or a language, which must exist; `language`: decides if a track has that tag.
    Raises Reject, with `name`, if the file has no such track, or none that can be decoded.
    """
    everything = _audio(container)
    if not everything:
        raise Reject(f"{name} has no audio track, so there is nothing to transcribe")
    wanted = everything if track is None else _asked_for(track, everything)
    if not wanted:
        raise Reject(
            f"{name} has no audio track {quoted(track or '')}: choose {_listed(describe(container))}, by its number "
            "or its language"
        )
    decodable = [stream for stream in wanted if isinstance(stream, AudioStream) and is_decodable(stream)]
    if not decodable:
        raise Reject(f"{name} has audio that v2t cannot decode: convert it to AAC, MP3 or FLAC first")
    return _likeliest(decodable, container.streams.best("audio"), language)


def _likeliest(tracks: list[AudioStream], best: Stream | None, language: str | None) -> list[AudioStream]:
    """The tracks in the language, if any, without commentaries; `best`, FFmpeg's choice, first."""
    spoken = [stream for stream in tracks if language and _code(stream) == language]
    main = [stream for stream in spoken or tracks if not _is_aside(stream)]
    return sorted(main or spoken or tracks, key=lambda stream: best is None or stream.index != best.index)


def _audio(container: InputContainer) -> list[Stream]:
    return [stream for stream in container.streams if stream.type == "audio"]


def is_decodable(stream: Stream) -> bool:
    return cast("CodecContext | None", stream.codec_context) is not None  # the stubs promise that it is set


def _asked_for(track: str, streams: list[Stream]) -> list[Stream]:
    if track.strip().isdecimal():
        number = int(track)
        return streams[number - 1 : number] if number else []
    code = code_of(track)
    return [stream for stream in streams if code and _code(stream) == code]


def _language(stream: Stream) -> str:
    tag = one_line(stream.language or stream.metadata.get("language", ""))
    return "" if tag == "und" else tag


def _code(stream: Stream) -> str:
    return code_of(_language(stream))


def _is_aside(stream: Stream) -> bool:
    titles = (stream.metadata.get(key, "") for key in ("title", "handler_name", "name"))
    return bool(stream.disposition & _ASIDE) or any(map(_ASIDE_TITLE.search, titles))


def _listed(tracks: tuple[Track, ...]) -> str:
    """The tracks, for a sentence: 1 (eng, "Commentary", 2 channels) or 2 (deu, 6 channels)."""
    names = []
    for track in tracks:
        channels = f"{track.channels} channel{'s' * (track.channels != 1)}" if track.channels else ""
        about = (track.language, quoted(track.title) if track.title else "", channels)
        known = ", ".join(filter(None, about))
        names.append(f"{track.number} ({known})" if known else f"{track.number}")
    return " or ".join(names)
