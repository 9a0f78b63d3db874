"""The options of a job."""

from typing import Annotated, Any, Final, Literal, Self, get_args, get_origin

import msgspec
from msgspec import Meta

Task = Literal["transcribe", "translate"]
Device = Literal["cuda", "metal", "coreml", "cpu"]  # what an engine can compute on
Accelerator = Literal[Device, "remote", "any"]

DEFAULT_MODEL = "small"
DEMO_MODEL = "demo"

# Marks an option that only helps an engine: an engine that has no use for it can still do the job. The other options
# define the job.
_HINT: Final = {"hint": True}

# What an option means on the command line that is given without a value.
_ALONE: Final = {"alone": "auto"}

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
    """The options that an engine needs, passed on to it unchanged. None means the node's or the engine's default.

    Each option is declared only here: its limits, its default, and its meaning in a few words.
    """

    language: Annotated[str, Meta(description="ISO 639 code such as en; detected if not given")] | None = None
    model: Annotated[str, Meta(description="a known name, a path, or demo; default: the node's")] | None = None
    task: Annotated[Task, Meta(description="write down what is said, or translate it into English")] = "transcribe"
    word_timestamps: Annotated[bool, Meta(description="keep the time of every word in the JSON transcript")] = False
    prompt: (
        Annotated[str, Meta(max_length=1000, description="text as if just spoken: names, spelling, style", extra=_HINT)]
        | None
    ) = None  # Whisper keeps its last 223 tokens
    hotwords: (
        Annotated[str, Meta(max_length=1000, description="words to expect, such as Ishmael, Queequeg", extra=_HINT)]
        | None
    ) = None
    beam_size: (
        Annotated[int, Meta(ge=1, le=20, description="hypotheses followed at once; 1 is greedy", extra=_HINT)] | None
    ) = None
    temperature: (
        Annotated[float, Meta(ge=0, le=1, description="for the first try; 0 takes the likeliest word", extra=_HINT)]
        | None
    ) = None


def declared(hint: Any) -> tuple[Any, Meta]:
    """The type of an option, without None, and its declaration, from its annotation."""
    kind, meta = get_args(hint if get_origin(hint) is Annotated else get_args(hint)[0])  # the other half is None
    return kind, meta


HINTS: Final = tuple(
    field.name for field in msgspec.structs.fields(EngineOptions) if declared(field.type)[1].extra == _HINT
)


class Options(EngineOptions, frozen=True, kw_only=True, omit_defaults=True):
    """How to transcribe a job. None means the node's own default, or detected."""

    # An entry-point name of the group v2t.transcribers, or the type of a remote provider.
    engine: Annotated[str, Meta(description="faster-whisper, openai, …; default: the node's order")] | None = None
    accelerator: Annotated[Accelerator, Meta(description="hardware to run on, or remote for services")] = "any"
    multilingual: Annotated[bool, Meta(description="detect the language of each chunk, not once for the job")] = False
    remote: Annotated[bool, Meta(description="allow paid providers and those on other people's machines")] = False
    audio_track: (
        Annotated[str, Meta(max_length=32, description="the track's number, from 1, or language: 2 or de")] | None
    ) = None
    speakers: (
        Annotated[
            str,
            Meta(
                pattern=r"^(auto|[1-9][0-9]?(-[1-9][0-9]?)?)$",
                description="who speaks: auto, a number, or a range such as 2-5",
                extra=_ALONE,
            ),
        ]
        | None
    ) = None
    voices: Annotated[bool, Meta(description="name the speakers whose voices are known: v2t voices list")] = False
    vad_threshold: (
        Annotated[float, Meta(ge=0, lt=1, description="minimum probability of speech; 0 takes everything")] | None
    ) = None


class Request(EngineOptions, frozen=True, kw_only=True, omit_defaults=True):
    """What an engine must do with some chunks."""

    model: str = ""
    careful: bool = False  # to hear what an ordinary call missed: window by window, at rising temperatures

    @classmethod
    def of(cls, options: EngineOptions, *, model: str, careful: bool = False) -> Self:
        """The part of `options` that an engine needs, with the model to use."""
        wanted = {name: getattr(options, name) for name in EngineOptions.__struct_fields__}
        return cls(**wanted | {"model": model}, careful=careful)
