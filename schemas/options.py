"""What a user can ask of a job."""

from typing import Annotated, Literal, Self

import msgspec
from msgspec import Meta

Task = Literal["transcribe", "translate"]
Accelerator = Literal["any", "cuda", "metal", "coreml", "cpu", "remote"]

DEFAULT_MODEL = "small"
DEMO_MODEL = "demo"

# The languages of Whisper's multilingual models, as ISO 639 codes in the order of its vocabulary
# (openai/whisper, whisper/tokenizer.py, LANGUAGES).
LANGUAGES = frozenset(
    """
    en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no th ur hr bg lt
    la mi ml cy sk te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr pa si km sn yo so af oc
    ka be tg sd gu am yi lo uz fo ht ps tk nn mt sa lb my bo tl mg as tt haw ln ha ba jw su yue
    """.split()  # noqa: SIM905  # a hundred quotes would hide them
)


class EngineOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The options that an engine needs; they travel to it unopened. None means the node's or the engine's default."""

    language: str | None = None  # one of LANGUAGES; None: detected
    model: str | None = None  # a known name, a path on the worker, or "demo"
    task: Task = "transcribe"
    word_timestamps: bool = False  # the stored transcript has the time of every word, as exact as the engine can
    prompt: str | None = None  # text that the engine takes for what was said before: names, spelling, style
    hotwords: str | None = None  # words that are likely to be said, separated by commas
    beam_size: Annotated[int, Meta(ge=1, le=20)] | None = None  # hypotheses followed at once; 1 is greedy
    temperature: Annotated[float, Meta(ge=0, le=1)] | None = None  # of the first try; 0 takes the likeliest word


class Options(EngineOptions, frozen=True, kw_only=True, omit_defaults=True):
    """How a job is to be transcribed. None means: the node's own default, or detected."""

    engine: str | None = None  # an entry-point name of the group v2t.transcribers, or the type of a remote provider
    accelerator: Accelerator = "any"
    multilingual: bool = False  # each chunk in its own language, instead of one that is decided for the job
    remote: bool = False  # providers that are paid, or on machines of others, may be used
    audio_track: str | None = None  # a track's number, from 1, or its language
    vad_threshold: Annotated[float, Meta(ge=0, lt=1)] | None = None  # speech from this probability on; 0: take it all


class Request(EngineOptions, frozen=True, kw_only=True, omit_defaults=True):
    """What an engine is asked to do with some chunks."""

    model: str = ""
    careful: bool = False  # hear what an ordinary call missed: window by window, at rising temperatures

    @classmethod
    def of(cls, options: EngineOptions, *, model: str, careful: bool = False) -> Self:
        """Those of `options` that an engine needs, with the model that is to be used."""
        wanted = {name: getattr(options, name) for name in EngineOptions.__struct_fields__}
        return cls(**wanted | {"model": model}, careful=careful)
