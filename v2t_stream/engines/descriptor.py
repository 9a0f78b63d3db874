"""What an engine or a service says about itself.

The entry point of an engine or a service names its descriptor. A module that holds one must import nothing heavy, as
every command and every stage reads it; the engine itself is imported in the process that computes.
"""

from collections.abc import Mapping
from datetime import date
from fnmatch import fnmatchcase
from typing import Final

import msgspec

from schemas.options import DEMO_MODEL, HINTS, Device
from v2t_stream.host.devices import ANY

# faster-whisper knows these two itself; other engines get them too, so that a job means the same on every node.
ALIASES: Final[Mapping[str, str]] = {"large": "large-v3", "turbo": "large-v3-turbo"}


class Abilities(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What can be asked of a model. By default everything can."""

    translates: bool = True  # into English
    word_times: bool = True
    languages: frozenset[str] | None = None  # None: all, or it is not known which
    hints: frozenset[str] = frozenset(HINTS)  # the options among schemas.options.HINTS that it makes use of

    def within(self, limits: "Abilities") -> "Abilities":
        """These abilities, limited to those of its engine."""
        return Abilities(
            translates=self.translates and limits.translates,
            word_times=self.word_times and limits.word_times,
            languages=limits.languages if self.languages is None else self.languages,
            hints=self.hints & limits.hints,
        )


class Weights(msgspec.Struct, frozen=True, kw_only=True):
    """The models that are fetched for an engine from the Hugging Face Hub, and which files each consists of."""

    repositories: Mapping[str, str]  # by the model's name
    file: str  # the largest file; {name} stands for the model's name
    beside: tuple[str, ...] = ()  # patterns of the other files
    is_folder: bool = False  # the engine gets the folder rather than the file
    any_repository: bool = False  # owner/name of the hub is a model too
    kept_by: str = ""  # another program that may have fetched them, into `models` in its data directory

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self.repositories) | ALIASES.keys()


class Descriptor(msgspec.Struct, frozen=True, kw_only=True):
    """What engines and services have in common."""

    abilities: Abilities = Abilities()
    exceptions: Mapping[
        str, Abilities
    ] = {}  # models that can do less, by a pattern of their names; the first that fits

    def able(self, model: str) -> Abilities:
        """What `model` can do."""
        for pattern, abilities in self.exceptions.items():
            if fnmatchcase(model, pattern):
                return abilities.within(self.abilities)
        return self.abilities


class EngineDescriptor(Descriptor, frozen=True, kw_only=True):
    """An engine that computes on this machine. The defaults apply to an engine without a descriptor."""

    transcriber: str  # "module:Class", see v2t_stream.transcription.transcriber.Transcriber
    devices: tuple[Device, ...] = ANY  # that it can use, the best first
    batch: Mapping[Device, int] = {}  # chunks in one call, where the engine gains by more than one
    calls: Mapping[Device, int] = {}  # calls at once, at most; the loaded engine says how many it does take
    weights: Weights | None = None  # None: it finds its models by itself

    def able(self, model: str) -> Abilities:
        """What `model` can do. For a path, or a repository on the hub, only the engine knows more."""
        return self.abilities if "/" in model else super().able(ALIASES.get(model, model))

    def knows(self, model: str) -> bool:
        """Whether `model` is the name of a model that can be fetched for it, or the demo."""
        return self.weights is not None and model in self.weights.names | {DEMO_MODEL}


class Withdrawal(msgspec.Struct, frozen=True):
    """The end of a model that a service has announced."""

    day: date  # the first day without the model
    instead: str  # the model that the service recommends

    def sentence(self, model: str, today: date) -> str:
        """For people, such as "withdraws the model 'm' on 1 May 2027: use 'n'"."""
        verb = "withdraws" if today < self.day else "has withdrawn"
        return f"{verb} the model {model!r} on {self.day.day} {self.day:%B %Y}: use {self.instead!r} instead"
