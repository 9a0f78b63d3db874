"""What a provider offers to jobs, and what stops it from doing one: the same for a node's chain and for the fleet.

Pure logic, based on what descriptors and nodes say.
"""

from enum import IntEnum
from typing import NamedTuple

import msgspec

from schemas.options import Options
from v2t_stream.engines import registry
from v2t_stream.engines.descriptor import Abilities


class Offer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One provider of a node, as the node announces it."""

    engine: str  # as a job names it
    model: str = ""  # for jobs that name none
    is_service: bool = False  # it has models of its own, so a job's model is for it only if the job names it
    remote: bool = False  # a job must allow it
    listed: bool = True  # False: an installed engine that works only for jobs that name it
    abilities: Abilities = Abilities()  # of its model

    def model_for(self, options: Options) -> str:
        """The job's model if it is meant for this provider; otherwise its own."""
        if options.model and (not self.is_service or options.engine == self.engine):
            return options.model
        return self.model

    def able(self, model: str) -> Abilities:
        """What `model` can do here. For a model that is not its own, this machine's descriptors know best."""
        if model == self.model:
            return self.abilities
        found = registry.descriptor(self.engine)
        return found.able(model) if found else Abilities()


class Step(IntEnum):
    """How near a provider came to being chosen."""

    ENGINE = 1  # the job names a different engine
    HARDWARE = 2
    PERMISSION = 3
    ABILITY = 4


class Obstacle(NamedTuple):
    """Why a provider does not do a job."""

    step: Step
    reason: str  # what follows the provider's name in a sentence


def obstacle(offer: Offer, options: Options) -> Obstacle | None:
    """The first thing that stops this provider from doing the job; None if nothing does."""
    if options.engine not in (None, offer.engine) or not (offer.listed or options.engine):
        return Obstacle(Step.ENGINE, "is not the engine that the job names")
    if options.accelerator != "any" and offer.remote != (options.accelerator == "remote"):
        return Obstacle(Step.HARDWARE, f"is {'a remote provider' if offer.remote else 'not a remote provider'}")
    if offer.remote and not options.remote:
        return Obstacle(Step.PERMISSION, "is a remote provider, and the job does not allow remote providers (--remote)")
    model = offer.model_for(options)
    if reason := _inability(offer, model, options):
        return Obstacle(Step.ABILITY, reason)
    return None


def _inability(offer: Offer, model: str, options: Options) -> str:
    abilities = offer.able(model)
    by = f"with the model {model!r}" if model else "as it is set up"
    if not offer.is_service and _is_anothers(model, offer.engine):
        return f"has no model {model!r}"
    if options.task == "translate" and not abilities.translates:
        return f"does not translate {by}"
    if options.word_timestamps and not abilities.word_times:
        return f"gives no word times {by}"
    if options.language and abilities.languages is not None and options.language not in abilities.languages:
        known = ", ".join(sorted(abilities.languages)) if len(abilities.languages) < 4 else "other languages"
        return f"knows only {known} {by}, not {options.language!r}"
    return ""


def _is_anothers(model: str, engine: str) -> bool:
    """Whether `model` is a name that another engine knows and this one does not; anything else may be a path."""
    mine = registry.engine(engine)
    if mine.weights is None or mine.knows(model):
        return False
    return any(each.knows(model) for each in registry.engines().values())
