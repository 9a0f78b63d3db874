"""What a user can ask of a job."""

from typing import Literal

import msgspec

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


class Options(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a job is to be transcribed. None means: the node's own default, or detected."""

    language: str | None = None  # one of LANGUAGES
    model: str | None = None  # a known name, a path on the worker, or "demo"
    engine: str | None = None  # an entry-point name of the group v2t.transcribers, or the type of a remote provider
    accelerator: Accelerator = "any"
    task: Task = "transcribe"
    word_timestamps: bool = False
    multilingual: bool = False  # each chunk in its own language, instead of one that is decided for the job
    remote: bool = False  # providers that are paid, or on machines of others, may be used
