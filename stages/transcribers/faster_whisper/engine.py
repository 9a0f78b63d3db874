"""The engine faster-whisper: CTranslate2 on the processor or an NVIDIA GPU, several chunks in one call.

A window's text is decoded without timestamp tokens, and the times of its words come from the model's attention. With
timestamp tokens a real model often ends its window early. Sequential decoding can go on from there; a batch cannot.
"""

import logging
import sys
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final

import numpy as np

from schemas.chunks import CHUNK_SECONDS, SAMPLE_RATE
from schemas.options import Request
from schemas.transcript import Segment, Word
from stages.transcribers.faster_whisper.decoded import (
    NO_SPEECH,
    REPETITIVE,
    UNSURE,
    Window,
    as_one,
    is_guess,
    within,
    words_of,
)
from stages.transcribers.faster_whisper.files import find, has_alignment, workers_for
from v2t_stream.errors import Full, Reject, Retry
from v2t_stream.host.devices import cuda_problem, preload_cuda
from v2t_stream.transcription.transcriber import Samples, Transcription

_SHORTEST = 160  # samples: one frame of the spectrogram
_FEWEST_FRAMES = 16  # of a spectrogram, below which words cannot be aligned
_BEAM = 5  # Whisper's default

# The temperatures at which Whisper tries again (openai/whisper, transcribe.py).
_TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_SAMPLES = 5  # at a temperature above 0; the likeliest counts

# Punctuation that belongs to the word after it, and to the one before it (openai/whisper, timing.py).
_OPENING: Final = "\"'“¿([{-"
_CLOSING: Final = "\"'.。,，!！?？:：”)]}、"  # noqa: RUF001  of many scripts

_log = logging.getLogger(__name__)


class FasterWhisper:
    """One model of faster-whisper. See the protocol, v2t_stream.transcription.transcriber.Transcriber."""

    def __init__(self, *, model: str, device: str, threads: int) -> None:
        # CTranslate2 has no Metal and no Core ML, so on a Mac it computes on the processor.
        self._device = "cuda" if device == "cuda" else "cpu"
        if self._device == "cuda" and not preload_cuda():
            raise Retry(cuda_problem() or "this machine has no NVIDIA GPU: set V2T_DEVICE=cpu")
        folder = find(model)

        import ctranslate2  # noqa: PLC0415  heavy: only in the process that computes
        from faster_whisper import WhisperModel  # noqa: PLC0415  as above

        # Half the memory of float32, and no audible loss; a GPU too old for float16 takes what it can.
        wish = "float16" if self._device == "cuda" else "int8"
        able = ctranslate2.get_supported_compute_types(self._device)
        # Two workers with a thread each take 0.7 of the time of one worker with two threads, as a step of a beam is too
        # little work to share. On a GPU a second worker aligns words, which the library does on the processor.
        workers = 2 if self._device == "cuda" else workers_for(threads, folder)
        self.calls = workers
        try:
            self._model = WhisperModel(
                str(folder),
                device=self._device,
                compute_type=wish if wish in able else "default",
                cpu_threads=max(1, threads // workers),
                num_workers=workers,
            )
        except (RuntimeError, ValueError) as error:
            if _is_full(error):
                raise _full(model) from error
            raise Reject(f"{folder} is not a model that faster-whisper can load: {error}") from error
        self._name = folder.name
        self._most = sys.maxsize  # chunks that fitted into memory
        self._aligns = has_alignment(folder)
        if not self._aligns:
            _log.warning("the model %s cannot align words: words get the times of their phrases", self._name)

    def transcribe(self, chunks: Sequence[Samples], request: Request) -> list[Transcription]:
        """Transcribe all chunks in one call; if no language is given, it is detected for each chunk.

        If the GPU has no room for all, half as many are tried, down to one. Raises Reject for a language that the model
        does not know, and Full if there is no room for a single chunk.
        """
        language = request.language
        if language not in (None, *self._model.supported_languages):
            only = "only English, not" if not self._model.model.is_multilingual else "no language"
            raise Reject(f"the model {self._name!r} knows {only} {language!r}")
        if (longest := max((len(chunk) for chunk in chunks), default=0)) > CHUNK_SECONDS * SAMPLE_RATE:
            raise Reject(f"a chunk of {longest / SAMPLE_RATE:.1f} s: Whisper's window is {CHUNK_SECONDS} s")
        heard: list[Transcription] = []
        while len(heard) < len(chunks):
            those = chunks[len(heard) :][: self._most]
            try:
                heard += self._hear(those, request)
            except RuntimeError as error:
                if not _is_full(error):
                    raise
                if len(those) == 1:
                    raise _full(self._name) from error
                self._most = len(those) // 2
        return heard

    def _hear(self, chunks: Sequence[Samples], request: Request) -> list[Transcription]:
        encoded = self._model.encode(np.stack([self._features(chunk) for chunk in chunks]))
        spoken = [(request.language, 1.0)] * len(chunks) if request.language else self._detect(encoded, len(chunks))
        if request.careful or not self._aligns:
            found = [self._seek(chunk, language, request) for chunk, (language, _) in zip(chunks, spoken, strict=True)]
        else:
            found = self._decode(chunks, encoded, [language for language, _ in spoken], request)
        return [Transcription(segments, *language) for segments, language in zip(found, spoken, strict=True)]

    def _features(self, chunk: Samples) -> Any:
        """The spectrogram of one window."""
        from faster_whisper.audio import pad_or_trim  # noqa: PLC0415  heavy, as above

        sound = chunk if len(chunk) >= _SHORTEST else np.zeros(_SHORTEST, np.float32)
        return pad_or_trim(self._model.feature_extractor(sound)[..., :-1])

    def _detect(self, encoded: Any, count: int) -> list[tuple[str, float]]:
        """The language of each window with its probability; a window without speech gets one too."""
        if not self._model.model.is_multilingual:
            return [("en", 1.0)] * count
        found = self._model.model.detect_language(encoded)
        return [(str(ranking[0][0]).strip("<|>"), float(ranking[0][1])) for ranking in found]

    def _decode(
        self, chunks: Sequence[Samples], encoded: Any, languages: Sequence[str], request: Request
    ) -> list[tuple[Segment, ...]]:
        """First the text of all windows at once, then the times of the words."""
        heard = self._generate(encoded, [self._prompt(language, request) for language in languages], request)
        # An empty chunk is decoded too, so that all calls have one shape; text invented for it does not count.
        kept = [
            [] if len(chunk) < _SHORTEST or one.is_silence or one.is_doubtful else one.tokens
            for chunk, one in zip(chunks, heard, strict=True)
        ]
        # How tokens split into words depends on the language.
        words: list[tuple[Word, ...]] = [()] * len(chunks)
        for language in set(languages):
            mine = [tokens if spoken == language else [] for tokens, spoken in zip(kept, languages, strict=True)]
            for n, found in enumerate(self._align(encoded, chunks, mine, self._tokenizer(language, request.task))):
                words[n] = found or words[n]
        return [
            self._seek(chunk, language, request)
            if one.is_doubtful and len(chunk) >= _SHORTEST
            else as_one(one.text if tokens else "", found)
            for chunk, language, one, tokens, found in zip(chunks, languages, heard, kept, words, strict=True)
        ]

    def _generate(self, encoded: Any, prompts: list[list[int]], request: Request) -> list[Window]:
        results = self._model.model.generate(
            encoded,
            prompts,
            max_length=self._model.max_length,
            suppress_blank=True,
            suppress_tokens=self._suppressed,
            return_scores=True,
            return_no_speech_prob=True,
            **_sampling(request),
        )
        tokenizer = self._tokenizer("en", "transcribe")
        heard = []
        for result in results:
            tokens = result.sequences_ids[0]
            text = [token for token in tokens if token < tokenizer.eot]
            sureness = result.scores[0] * len(tokens) / (len(tokens) + 1)
            heard.append(Window(text, tokenizer.decode(text).strip(), sureness, result.no_speech_prob))
        return heard

    def _align(
        self, encoded: Any, chunks: Sequence[Samples], tokens: list[list[int]], tokenizer: Any
    ) -> list[tuple[Word, ...]]:
        """The words of each window, with their times in seconds."""
        from faster_whisper.transcribe import merge_punctuations  # noqa: PLC0415  heavy, as above

        if not any(tokens):
            return [()] * len(tokens)
        hop = self._model.feature_extractor.hop_length
        frames = [max(_FEWEST_FRAMES, -(-len(chunk) // hop)) for chunk in chunks]
        aligned = self._model.find_alignment(tokenizer, tokens, encoded, frames)
        for words in aligned:
            merge_punctuations(words, _OPENING, _CLOSING)
        return [words_of(words, 0.0, len(chunk) / SAMPLE_RATE) for words, chunk in zip(aligned, chunks, strict=True)]

    def _seek(self, chunk: Samples, language: str, request: Request) -> tuple[Segment, ...]:
        """One chunk with timestamps, phrase by phrase, at Whisper's rising temperatures."""
        if len(chunk) < _SHORTEST:
            return ()
        lowest = request.temperature or 0.0
        found, _ = self._model.transcribe(
            chunk,
            language=language,
            task=request.task,
            beam_size=request.beam_size or _BEAM,
            initial_prompt=request.prompt,
            hotwords=request.hotwords,
            word_timestamps=self._aligns,
            condition_on_previous_text=False,
            temperature=[lowest, *(step for step in _TEMPERATURES if step > lowest)],
            compression_ratio_threshold=REPETITIVE,
            log_prob_threshold=UNSURE,
            no_speech_threshold=NO_SPEECH,
        )
        duration = len(chunk) / SAMPLE_RATE
        return tuple(
            Segment(
                start=(start := within(segment.start, 0.0, duration)),
                end=(end := within(segment.end, start, duration)),
                text=text,
                words=words_of([vars(word) for word in segment.words or ()], start, end),
            )
            for segment in found
            if (text := segment.text.strip()) and not is_guess(segment, careful=request.careful)
        )

    def _prompt(self, language: str, request: Request) -> list[int]:
        tokenizer = self._tokenizer(language, request.task)
        before = tokenizer.encode(f" {request.prompt.strip()}") if request.prompt else []
        prompt: list[int] = self._model.get_prompt(
            tokenizer, before, without_timestamps=True, hotwords=request.hotwords
        )
        return prompt

    def _tokenizer(self, language: str, task: str) -> Any:
        from faster_whisper.tokenizer import Tokenizer  # noqa: PLC0415  heavy, as above

        return Tokenizer(self._model.hf_tokenizer, self._model.model.is_multilingual, task=task, language=language)

    @cached_property
    def _suppressed(self) -> Any:
        """The tokens of symbols and of remarks such as "(applause)", which nobody says."""
        from faster_whisper.transcribe import get_suppressed_tokens  # noqa: PLC0415  heavy, as above

        return get_suppressed_tokens(self._tokenizer("en", "transcribe"), [-1])


def _sampling(request: Request) -> dict[str, Any]:
    if request.temperature:
        return {
            "beam_size": 1,
            "num_hypotheses": _SAMPLES,
            "sampling_topk": 0,
            "sampling_temperature": request.temperature,
        }
    return {"beam_size": request.beam_size or _BEAM}


def _is_full(error: Exception) -> bool:
    """Whether the GPU ran out of memory: CTranslate2 passes on what CUDA or cuBLAS says."""
    return "out of memory" in str(error) or "ALLOC_FAILED" in str(error)


def _full(model: str) -> Full:
    return Full(
        f"the GPU has no room for the model {model!r} at present: stop what else uses it, or choose a smaller model"
    )
