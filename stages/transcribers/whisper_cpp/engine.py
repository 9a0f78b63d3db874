"""The engine whisper.cpp: Metal on a Mac, the processor elsewhere.

A window's text is decoded without timestamp tokens, and the times of its words come from the model's attention, as with
faster-whisper. Decoding with timestamp tokens in one pass lost one word in ten.
"""

import logging
import math
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from schemas.chunks import SAMPLE_RATE
from schemas.options import DEMO_MODEL, Request
from schemas.transcript import Segment, Word
from v2t_stream.errors import Reject
from v2t_stream.host import whispercpp
from v2t_stream.models import is_path
from v2t_stream.transcription.transcriber import Samples, Transcription

# Samples; a shorter chunk is padded with silence. Below 0.1 s whisper.cpp repeats what it heard last, and below 0.16 s
# its alignment of words aborts the process.
_SHORTEST = 4_800
_INAUDIBLE = 1e-4  # of 1: -80 dBFS
_UNSURE = -1.0  # mean log probability of tokens (openai/whisper, transcribe.py)
_FEW = 4  # tokens; nobody says so little in
_LONG = 8.0  # seconds of speech
_BEAM = 5  # the default of whisper.cpp's own command line
_UNSPACED = frozenset({"zh", "ja", "th", "lo", "my", "yue"})  # languages written without spaces between words
_ENGLISH_ONLY = 51_864  # tokens in the vocabulary; the multilingual models have more
_LARGE_V3 = 51_866
_ALIGNMENT_MEMORY = 512 << 20  # bytes, which are taken only as needed; too few abort the process
_ERROR = 4  # of ggml's log levels

_log = logging.getLogger(__name__)


class WhisperCpp:
    """One model of whisper.cpp. See the protocol, v2t_stream.transcription.transcriber.Transcriber.

    It uses the binding of pywhispercpp, because the public class Model keeps the settings of one call for the next, and
    shows neither tokens nor languages.
    """

    def __init__(self, *, model: str, device: str, threads: int) -> None:
        self._engine = whispercpp.binding()
        self._file = _find(model)
        self._name = self._file.name
        self._header = _Header.read(self._file)
        self._gpu = device != "cpu"
        self._threads = threads
        self._context = self._load()

    def transcribe(self, chunks: Sequence[Samples], request: Request) -> list[Transcription]:
        """Transcribe one chunk after the other, as whisper.cpp has no batches.

        Raises Reject for a language that the model does not know.
        """
        language = request.language
        if self._header.vocabulary <= _ENGLISH_ONLY:
            if language not in (None, "en"):
                raise Reject(f"the model {self._name!r} knows only English, not {language!r}")
            language = "en"
        if language is not None and self._engine.whisper_lang_id(language) < 0:
            raise Reject(f"the model {self._name!r} knows no language {language!r}")
        return [self._hear(chunk, language, request) for chunk in chunks]

    def _load(self) -> Any:
        """Load the model, ready to give the times of words."""
        settings = self._engine.whisper_context_default_params()
        settings.use_gpu = self._gpu
        settings.flash_attn = False  # it never stores the attention by which words are aligned
        settings.dtw_token_timestamps = True
        preset, top_layers = self._header.alignment(self._file.name)
        settings.dtw_aheads_preset = getattr(self._engine.whisper_alignment_heads_preset, f"WHISPER_AHEADS_{preset}")
        settings.dtw_n_top = top_layers
        settings.dtw_mem_size = _ALIGNMENT_MEMORY
        errors: list[str] = []

        def note(level: int, text: str) -> None:
            _log.debug("%s", text.rstrip())
            if level == _ERROR or "no tensors" in text:
                errors.append(text.strip())

        self._engine.whisper_log_set(note)  # otherwise it writes to the terminal
        context = self._engine.whisper_init_from_file_with_params(str(self._file), settings)
        if errors:  # the binding returns an empty context then, and the first call would crash the process
            raise Reject(f"{self._file} is not a model that whisper.cpp can load: {errors[-1]}")
        return context

    def _hear(self, chunk: Samples, language: str | None, request: Request) -> Transcription:
        duration = chunk.size / SAMPLE_RATE
        if chunk.size < _SHORTEST:
            chunk = np.pad(chunk, (0, _SHORTEST - chunk.size))
        engine = self._engine
        # Compute the spectrogram once: without samples, whisper.cpp uses the one it has.
        spoken, confidence, given = (language, 1.0, chunk.size) if language else (*self._detect(chunk), 0)
        settings = self._settings(request)
        settings.language = spoken
        if code := engine.whisper_full(self._context, settings, chunk, given):
            raise RuntimeError(f"whisper.cpp failed with code {code}")
        pieces = list(self._pieces())
        text = b"".join(piece.text for piece in pieces).decode(errors="replace").strip()
        if not text or not _has_sound(chunk) or _is_guess(pieces, duration):
            return Transcription((), spoken, confidence)
        words = tuple(_words(pieces, duration, spaced=spoken not in _UNSPACED))
        return Transcription((Segment(start=0.0, end=duration, text=text, words=words),), spoken, confidence)

    def _settings(self, request: Request) -> Any:
        strategies = self._engine.whisper_sampling_strategy
        # A beam looks for the likeliest text, which only a temperature of 0 asks for.
        beam = 1 if request.temperature else request.beam_size or _BEAM
        strategy = strategies.WHISPER_SAMPLING_BEAM_SEARCH if beam > 1 else strategies.WHISPER_SAMPLING_GREEDY
        settings = self._engine.whisper_full_default_params(strategy)
        if beam > 1:
            settings.beam_search = {"beam_size": beam, "patience": -1.0}
        settings.n_threads = self._threads
        settings.translate = request.task == "translate"
        settings.temperature = request.temperature or 0.0
        settings.no_timestamps = True
        settings.no_context = True  # between calls; a call has one window
        settings.suppress_nst = True  # no "[music]", no "(applause)"
        settings.print_progress = False
        if said := " ".join(filter(None, (request.hotwords, request.prompt))):
            settings.initial_prompt = said
        else:
            settings.n_max_text_ctx = 0
        return settings

    def _detect(self, chunk: Samples) -> tuple[str, float]:
        """The language of a chunk with its probability.

        This runs the encoder once more, as does whisper.cpp's own "auto", which does not return the probability.
        """
        engine, context = self._engine, self._context
        if code := engine.whisper_pcm_to_mel(context, chunk, chunk.size, self._threads):
            raise RuntimeError(f"whisper.cpp made no spectrogram: code {code}")
        chances = np.zeros(engine.whisper_lang_max_id() + 1, np.float32)  # filled in place
        found = engine.whisper_lang_auto_detect(context, 0, self._threads, chances)
        if found < 0:
            raise RuntimeError(f"whisper.cpp detected no language: code {found}")
        return str(engine.whisper_lang_str(found)), float(chances[found])

    def _pieces(self) -> Iterator["_Piece"]:
        """The text tokens of the last call."""
        engine, context = self._engine, self._context
        first_special = engine.whisper_token_eot(context)
        for n in range(engine.whisper_full_n_segments(context)):
            for token in range(engine.whisper_full_n_tokens(context, n)):
                data = engine.whisper_full_get_token_data(context, n, token)
                if data.id < first_special:
                    yield _Piece(engine.whisper_token_to_bytes(context, data.id), data.t_dtw / 100, data.p)


class _Header(NamedTuple):
    """What the first bytes of a ggml file say about the model."""

    vocabulary: int
    audio_layers: int
    text_layers: int

    @classmethod
    def read(cls, file: Path) -> Self:
        """Raises Reject if it is not a ggml file."""
        with file.open("rb") as stream:
            start = stream.read(48)
        if len(start) < 48 or start[:4] != b"lmgg":
            raise Reject(f"{file} is not a model of whisper.cpp: it does not begin as a ggml file does")
        fields = struct.unpack("<4x11i", start)
        return cls(vocabulary=fields[0], audio_layers=fields[4], text_layers=fields[8])

    def alignment(self, name: str) -> tuple[str, int]:
        """Which attention heads follow the speech: whisper.cpp's name for the set, and how many of the last layers."""
        sizes = {(4, 4): "TINY", (6, 6): "BASE", (12, 12): "SMALL", (24, 24): "MEDIUM"}
        if size := sizes.get((self.audio_layers, self.text_layers)):
            return size + ("_EN" if self.vocabulary <= _ENGLISH_ONLY else ""), -1
        if (self.audio_layers, self.text_layers) == (32, 32):
            return f"LARGE_V{3 if self.vocabulary >= _LARGE_V3 else 1 if 'large-v1' in name else 2}", -1
        return "N_TOP_MOST", max(1, self.text_layers // 3)  # distilled, turbo and unknown models


class _Piece(NamedTuple):
    """One token of text."""

    text: bytes  # may be only part of a character
    end: float  # seconds; negative if it is not known
    probability: float


def _has_sound(chunk: Samples) -> bool:
    """Whether there is anything to hear: without sound, whisper.cpp makes up a word."""
    return chunk.size > _SHORTEST and bool(np.abs(chunk).max() > _INAUDIBLE)


def _is_guess(pieces: Sequence[_Piece], duration: float) -> bool:
    """Whether it is just a few words guessed in noise; the binding does not return the probability of silence."""
    sureness = sum(math.log(max(piece.probability, 1e-9)) for piece in pieces) / len(pieces)
    return len(pieces) <= _FEW and (sureness < _UNSURE or duration > _LONG)


def _words(pieces: Iterable[_Piece], duration: float, *, spaced: bool) -> Iterator[Word]:
    """The words of a chunk. A word starts where the previous word and its punctuation ended."""
    start = 0.0
    for word in _grouped(pieces, spaced=spaced):
        # The end of a punctuation mark is the end of the pause after it.
        spoken = [piece for piece in word if any(map(str.isalnum, piece.text.decode(errors="replace")))] or word
        stop = _within(max(piece.end for piece in spoken), start, duration)
        text = b"".join(piece.text for piece in word).decode(errors="replace").strip()
        chance = sum(piece.probability for piece in word) / len(word)
        yield Word(start=start, end=stop, text=text, probability=round(chance, 3))
        start = _within(word[-1].end, stop, duration)


def _grouped(pieces: Iterable[_Piece], *, spaced: bool) -> list[list[_Piece]]:
    """Tokens by word. Punctuation stays with the word before it, or with the word after it if a space precedes it."""
    words: list[list[_Piece]] = []
    for piece in pieces:
        before = b"".join(part.text for part in words[-1]) if words else b""
        if spaced:
            new = piece.text.startswith(b" ") and _speaks(before)
        else:
            new = _whole(before) and _speaks(before) and _speaks(piece.text)
        if new or not words:
            words.append([])
        words[-1].append(piece)
    return words


def _speaks(text: bytes) -> bool:
    """Whether it has a letter or a digit, or part of one."""
    return any(letter.isalnum() or letter == "�" for letter in text.decode(errors="replace"))


def _whole(text: bytes) -> bool:
    return "�" not in text.decode(errors="replace")


def _find(model: str) -> Path:
    """The file of `model`. Raises Reject if there is none."""
    if model == DEMO_MODEL:
        from v2t_stream.demo import model_path  # noqa: PLC0415  needed by the demonstration alone

        return Path(model_path("whisper-cpp"))
    path = Path(model).expanduser()
    if path.is_file():
        return path
    if path.exists():
        raise Reject(f"{path} is a folder: whisper-cpp takes a file in ggml's format")
    what = "file" if is_path(model) else "model"
    raise Reject(
        f"there is no {what} {model!r} on this machine: whisper-cpp takes a ggml file or a name of `v2t models list`"
    )


def _within(seconds: float, low: float, high: float) -> float:
    return round(min(max(seconds, low), high), 3)
