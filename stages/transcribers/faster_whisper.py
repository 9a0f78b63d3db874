"""The engine faster-whisper: CTranslate2 on the processor or an NVIDIA GPU, several chunks in one call."""

import sys
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from schemas.chunks import CHUNK_SECONDS, SAMPLE_RATE
from schemas.options import DEMO_MODEL, Request
from schemas.transcript import Segment, Word
from v2t_stream.devices import cuda_problem, preload_cuda
from v2t_stream.errors import Full, Reject, Retry
from v2t_stream.models import is_path
from v2t_stream.transcriber import Samples, Transcription

# Seconds of nothing before each chunk of a call. The library shortens the first word after a pause, by the time since
# the chunk before: with more than 2.8 s between any two, a chunk's words do not depend on its neighbours.
_LEAD = 3
_SLOT = _LEAD + CHUNK_SECONDS
_SHORTEST = 160  # samples: one frame of the spectrogram

# Whisper's own guards against what it invents (openai/whisper, transcribe.py).
_NO_SPEECH = 0.6
_UNSURE = -1.0  # mean log probability of the tokens
_REPETITIVE = 2.4  # text size by compressed size
_TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


class FasterWhisper:
    """One model of faster-whisper. See the protocol, v2t_stream.transcriber.Transcriber."""

    def __init__(self, *, model: str, device: str, threads: int) -> None:
        # CTranslate2 has no Metal and no Core ML: on a Mac it computes on the processor.
        self._device = "cuda" if device == "cuda" else "cpu"
        if self._device == "cuda" and not preload_cuda():
            raise Retry(cuda_problem() or "this machine has no NVIDIA GPU: set V2T_DEVICE=cpu")
        folder = _find(model)

        import ctranslate2  # noqa: PLC0415  heavy: only in the process that computes
        from faster_whisper import BatchedInferencePipeline, WhisperModel  # noqa: PLC0415  as above

        # Half the memory of float32 for a loss nobody hears; a GPU too old for float16 takes what it can.
        wish = "float16" if self._device == "cuda" else "int8"
        able = ctranslate2.get_supported_compute_types(self._device)
        try:
            self._model = WhisperModel(
                str(folder),
                device=self._device,
                compute_type=wish if wish in able else "default",
                cpu_threads=threads,
                num_workers=1,
            )
        except (RuntimeError, ValueError) as error:
            if _is_full(error):
                raise _full(model) from error
            raise Reject(f"{folder} is not a model that faster-whisper can load: {error}") from error
        self._name = folder.name
        self._most = sys.maxsize  # chunks for which there was room
        self._pipeline = BatchedInferencePipeline(self._model)

    def transcribe(self, chunks: Sequence[Samples], request: Request) -> list[Transcription]:
        """Transcribe all chunks of one language in one call; a language that is not given is detected for each chunk.

        Detecting takes the encoder once more for each chunk. Where the GPU has no room for all, half as many are tried,
        down to one. Raises Reject for a language the model does not speak, Full where there is no room for one.
        """
        language = request.language
        if language not in (None, *self._model.supported_languages):
            only = "only English" if not self._model.model.is_multilingual else "no such language"
            raise Reject(f"the model {self._name!r} knows {only}: not {language!r}")
        if (longest := max((len(chunk) for chunk in chunks), default=0)) > CHUNK_SECONDS * SAMPLE_RATE:
            raise Reject(f"a chunk of {longest / SAMPLE_RATE:.1f} s: Whisper's window is {CHUNK_SECONDS} s")
        settings = {"task": request.task, "word_timestamps": request.word_timestamps}
        heard: list[Transcription] = []
        while len(heard) < len(chunks):
            those = chunks[len(heard) :][: self._most]
            try:
                heard += self._heard(those, language, settings)
            except RuntimeError as error:
                if not _is_full(error):
                    raise
                if len(those) == 1:
                    raise _full(self._name) from error
                self._most = len(those) // 2
        return heard

    def _heard(self, chunks: Sequence[Samples], language: str | None, settings: dict[str, Any]) -> list[Transcription]:
        detected = [(language, 1.0)] * len(chunks) if language else self._detect(chunks)
        languages = [spoken for spoken, _ in detected]
        heard: list[tuple[Segment, ...]] = [()] * len(chunks)
        for spoken in set(languages):
            batch = [n for n, chunk in enumerate(chunks) if languages[n] == spoken and len(chunk) >= _SHORTEST]
            if batch:
                those = self._hear([chunks[n] for n in batch], {"language": spoken, **settings})
                for n, segments in zip(batch, those, strict=True):
                    heard[n] = segments
        return [Transcription(segments, *spoken) for segments, spoken in zip(heard, detected, strict=True)]

    def _detect(self, chunks: Sequence[Samples]) -> list[tuple[str, float]]:
        """The language of each chunk with its probability; one without speech has some language too."""
        if not self._model.model.is_multilingual:
            return [("en", 1.0)] * len(chunks)
        from faster_whisper.audio import pad_or_trim  # noqa: PLC0415  heavy, as above

        extract = self._model.feature_extractor
        padded = [chunk if len(chunk) >= _SHORTEST else np.zeros(_SHORTEST, np.float32) for chunk in chunks]
        features = np.stack([pad_or_trim(extract(chunk)[..., :-1]) for chunk in padded])
        found = self._model.model.detect_language(self._model.encode(features))
        return [(str(ranking[0][0]).strip("<|>"), float(ranking[0][1])) for ranking in found]

    def _hear(self, chunks: Sequence[Samples], settings: dict[str, Any]) -> list[tuple[Segment, ...]]:
        # Each chunk lies in a slot of its own, so that times and `seek` tell whose a segment is.
        audio = np.zeros(len(chunks) * _SLOT * SAMPLE_RATE, np.float32)
        clips = []
        for n, chunk in enumerate(chunks):
            start = n * _SLOT + _LEAD
            audio[start * SAMPLE_RATE : start * SAMPLE_RATE + len(chunk)] = chunk
            # The library truncates seconds times rate to whole samples: the half sample keeps the last one.
            clips.append({"start": start, "end": start + (len(chunk) + 0.5) / SAMPLE_RATE})
        found, _ = self._pipeline.transcribe(
            audio,
            clip_timestamps=clips,
            batch_size=len(chunks),
            vad_filter=False,  # the chunks are speech already
            without_timestamps=False,  # its default here, True, costs words: 5 % against 1 of 20 s
            **settings,
        )
        answers: list[list[Any]] = [[] for _ in chunks]
        for segment in found:
            answers[segment.seek // (_SLOT * self._model.frames_per_second)].append(segment)
        return [
            self._hear_again(chunk, settings)
            if _doubtful(answer)
            else _segments(answer, n * _SLOT + _LEAD, len(chunk) / SAMPLE_RATE)
            for n, (chunk, answer) in enumerate(zip(chunks, answers, strict=True))
        ]

    def _hear_again(self, chunk: Samples, settings: dict[str, Any]) -> tuple[Segment, ...]:
        """One chunk with Whisper's ladder of temperatures, which the batched call does without."""
        found, _ = self._model.transcribe(
            chunk,
            condition_on_previous_text=False,
            temperature=_TEMPERATURES,
            compression_ratio_threshold=_REPETITIVE,
            log_prob_threshold=_UNSURE,
            no_speech_threshold=_NO_SPEECH,
            **settings,
        )
        return _segments(found, 0, len(chunk) / SAMPLE_RATE)


def _find(model: str) -> Path:
    """The folder of `model`. Raises Reject where it is none."""
    if model == DEMO_MODEL:
        from v2t_stream.demo import model_path  # noqa: PLC0415  needed by the demonstration alone

        return Path(model_path("faster-whisper"))
    folder = Path(model).expanduser()
    if folder.is_dir():
        if not (folder / "model.bin").is_file():
            raise Reject(f"{folder} is not a model of faster-whisper: it holds no model.bin")
        return folder
    if folder.exists():
        raise Reject(f"{folder} is a file: faster-whisper takes a folder with a model.bin in CTranslate2's format")
    what = "path" if is_path(model) else "model"
    raise Reject(f"there is no {what} {model!r} on this machine: `v2t models list` shows the names there are")


def _is_full(error: Exception) -> bool:
    """Whether the GPU's memory is what was short: CTranslate2 passes on CUDA's word for it, or cuBLAS's."""
    return "out of memory" in str(error) or "ALLOC_FAILED" in str(error)


def _full(model: str) -> Full:
    return Full(
        f"the GPU has no room for the model {model!r} at present: end what else is on it, or choose a smaller model"
    )


def _doubtful(answer: Sequence[Any]) -> bool:
    """Whether the engine's segments for one chunk look like one of its loops or guesses (not like silence)."""
    if not answer or _silent(answer[0]):
        return False
    text = "".join(segment.text for segment in answer).encode()
    return answer[0].avg_logprob < _UNSURE or len(text) > _REPETITIVE * len(zlib.compress(text))


def _silent(segment: Any) -> bool:
    return bool(segment.no_speech_prob > _NO_SPEECH and segment.avg_logprob < _UNSURE)


def _segments(answer: Iterable[Any], offset: float, duration: float) -> tuple[Segment, ...]:
    """The engine's segments as ours, in seconds from `offset`, held within 0 and `duration`."""
    found = []
    for segment in answer:
        if not (text := segment.text.strip()) or _silent(segment):
            continue
        start = _within(segment.start - offset, 0.0, duration)
        end = _within(segment.end - offset, start, duration)
        words = tuple(
            Word(
                start=(begin := _within(word.start - offset, start, end)),
                end=_within(word.end - offset, begin, end),
                text=word.word.strip(),
                probability=round(float(word.probability), 3),
            )
            for word in segment.words or ()
            if word.word.strip()
        )
        found.append(Segment(start=start, end=end, text=text, words=words))
    return tuple(found)


def _within(seconds: float, low: float, high: float) -> float:
    return round(min(max(float(seconds), low), high), 3)
