"""What the first command of a new user would do, in one sentence."""

from collections.abc import Iterable
from typing import Final

from schemas.options import DEMO_MODEL
from v2t_stream.doctor import Finding
from v2t_stream.doctor.broker import LACKING
from v2t_stream.doctor.model import Model
from v2t_stream.settings import Settings
from v2t_stream.units import size

NAME: Final = "next"
_OF_THE_BROKER: Final = ("broker", "topology", "store", "limits")
_OF_THIS_MACHINE: Final = ("data", "disk", "providers", "model", "engine")


def command(settings: Settings, findings: Iterable[Finding], model: Model | None, *, kept: bool) -> Finding:
    """`kept`: a `v2t up` runs here."""
    found = {finding.name: finding for finding in findings}
    # With a fleet, its nodes have the model and do the work.
    needed = _OF_THE_BROKER if settings.nats_url else (*_OF_THIS_MACHINE, *_OF_THE_BROKER)
    for name in needed:
        if name in found and found[name].status == "fail":
            return Finding(NAME, "fail", f"v2t convert FILE would fail: {found[name].found}", found[name].advice)
    if model and model.state == "away" and not settings.nats_url:
        without = (
            f"the model {model.name} is not here and cannot be fetched now; --model {DEMO_MODEL} needs no download"
        )
        return Finding(NAME, "warn", f"v2t convert FILE would not get far: {without}")
    return Finding(NAME, "ok", f"v2t convert FILE would {_work(settings, found, model, kept=kept)}")


def _work(settings: Settings, found: dict[str, Finding], model: Model | None, *, kept: bool) -> str:
    nodes = found.get("nodes")
    if settings.nats_url:
        where = f"send FILE to the broker at {settings.shown('nats_url')}"
        if nodes and any(sign in nodes.found for sign in LACKING):
            return f"{where} and wait there, because not every stage runs on a node"
        return f"{where}, whose nodes transcribe it, and write FILE's subtitles beside it"
    start = "hand FILE to the v2t up that runs here" if kept else "start a broker and all stages on this machine"
    end = "" if kept else ", and stop them again"
    return f"{start}, {_transcribe(found, model)}, write FILE's subtitles beside it{end}"


def _transcribe(found: dict[str, Finding], model: Model | None) -> str:
    device = found["accelerator"].found.partition(":")[0] if "accelerator" in found else ""
    if model is None:
        return "transcribe it"
    match model.state:
        case "service":
            permission = ", which needs --remote" if model.remote else ""
            return f"have the service {model.engine} transcribe it{permission}"
        case "hub":
            return f"fetch the model {model.name} ({size(model.size)}), transcribe with {device}"
        case _:
            return f"transcribe it by the model {model.name}, {device}"
