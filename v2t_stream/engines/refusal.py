"""Why no node can do a job, and who could: from what all running nodes offer.

A job is refused only if the set-up of every node that takes jobs of its kind rules it out. If there is no such node,
for example because none has a graphics card, the job waits: one may start in a minute.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, get_args

from msgspec.structs import replace

from schemas.options import DEFAULT_MODEL, Device, Options
from v2t_stream.engines import registry
from v2t_stream.engines.descriptor import EngineDescriptor
from v2t_stream.engines.offer import Obstacle, Offer, Step, obstacle

HARDWARE: Final = frozenset(get_args(Device))
_SUGGESTED: Final = (DEFAULT_MODEL, "large-v3")  # models that every Whisper engine has, and that can do anything
_SHOWN: Final = 3  # reasons


class NodeOffers(NamedTuple):
    """What one node can do."""

    node: str
    takes: frozenset[str]  # the accelerators of schemas.options whose chunks it takes
    offers: tuple[Offer, ...]


def refusal(nodes: Sequence[NodeOffers], options: Options, *, alone: bool = False) -> str | None:
    """Why none of `nodes` can do such a job, and what to do; None if one can, or may be able to.

    `alone`: there will never be another node, as for a command without a broker.
    """
    takers = [node for node in nodes if options.accelerator in node.takes]
    may_come = not (alone or takers or _names_service(options))
    if not nodes or may_come or _who(nodes, options):
        return None
    nobody = "this machine cannot" if alone else "no node that is up can"
    return f"{nobody} do this job: {_reasons(takers or nodes, options)}; {_advice(nodes, options)}"


def _names_service(options: Options) -> bool:
    """Whether the job names a service, which does not depend on hardware."""
    is_engine = options.engine is None or isinstance(registry.descriptor(options.engine), EngineDescriptor | None)
    return not is_engine and options.accelerator not in HARDWARE


def _who(nodes: Iterable[NodeOffers], options: Options, suggested: str = "") -> str:
    """The first that can, such as "faster-whisper on studio"; empty if none can.

    `suggested`: a model that we suggest to the user, so only an engine that certainly has it counts.
    """
    for node in nodes:
        for offer in node.offers if options.accelerator in node.takes else ():
            has_it = not suggested or registry.engine(offer.engine).knows(suggested)
            if has_it and obstacle(offer, options) is None:
                return f"{offer.engine} on {node.node}" if node.node else offer.engine
    return ""


def _reasons(nodes: Iterable[NodeOffers], options: Options) -> str:
    """What stops the nodes that come nearest."""
    found: list[tuple[Offer, Obstacle]] = [
        (offer, reason) for node in nodes for offer in node.offers if (reason := obstacle(offer, options))
    ]
    nearest = max((reason.step for _, reason in found), default=Step.ENGINE)
    if nearest == Step.ENGINE:
        listed = dict.fromkeys(offer.engine for offer, _ in found if offer.listed)
        return f"none has {options.engine}, only {' and '.join(listed)}"
    reasons = dict.fromkeys(f"{offer.engine} {reason.reason}" for offer, reason in found if reason.step == nearest)
    return ", ".join(list(reasons)[:_SHOWN])


def _advice(nodes: Sequence[NodeOffers], options: Options) -> str:
    """Who could do it, and what to set for that."""
    for change in _changes(nodes, options):
        if who := _who(nodes, replace(options, **change), change.get("model") or ""):
            return f"submit it {_flags(change)}, which {who} can do"
    able = [name for name, each in registry.engines().items() if _could(name, each, options)]
    if able:
        return f"{' or '.join(able)} could, if a node's providers.yaml has a model for it"
    return "no installed engine could either"


def _changes(nodes: Iterable[NodeOffers], options: Options) -> Iterator[dict[str, Any]]:
    """What the user could ask for instead, the smallest change first."""
    remote: dict[str, Any] = {"remote": True, "accelerator": "remote"}
    engines = list(dict.fromkeys(offer.engine for node in nodes for offer in node.offers))
    changes: list[dict[str, Any]] = [{"remote": True}, remote, {"model": None}]
    changes += [{"model": model} for model in _SUGGESTED]
    changes += [{"engine": engine} for engine in engines]
    changes += [{"engine": engine, "model": model} for engine in engines for model in (None, *_SUGGESTED)]
    changes += [{"engine": engine, "accelerator": "any"} for engine in engines]
    changes += [{"engine": engine, "model": None, **remote} for engine in engines]
    for change in changes:
        news = {name: value for name, value in change.items() if getattr(options, name) != value}
        if news:
            yield news


def _flags(change: dict[str, Any]) -> str:
    """Such as "with --remote and --model small" or "without --model"."""
    flags = [
        f"--{name}" if value is True else f"--{name} {value}" for name, value in change.items() if value is not None
    ]
    without = [f"without --{name}" for name, value in change.items() if value is None]
    return " and ".join([*([f"with {' and '.join(flags)}"] if flags else []), *without])


def _could(name: str, engine: EngineDescriptor, options: Options) -> bool:
    """Whether an installed engine could do it with some model."""
    free = replace(options, engine=None, accelerator="any")
    models = [options.model] if options.model else _SUGGESTED
    offers = [Offer(engine=name, model=model, abilities=engine.able(model)) for model in models]
    return any(obstacle(offer, free) is None for offer in offers)
