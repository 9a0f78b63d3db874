"""Whether the model of jobs that name none is on this machine, or could be fetched."""

import asyncio
from pathlib import Path
from typing import Final, Literal, NamedTuple

from schemas.options import DEMO_MODEL
from v2t_stream.doctor import Finding
from v2t_stream.errors import Reject
from v2t_stream.models import Origin, hub, is_path, origin, problem
from v2t_stream.models.folder import ModelFolder
from v2t_stream.models.source import SourceFailed
from v2t_stream.settings import Settings
from v2t_stream.transcription.provider import Local
from v2t_stream.transcription.providers import load, with_model
from v2t_stream.units import size

NAME: Final = "model"


class Model(NamedTuple):
    """The model that a job without one gets here."""

    name: str
    engine: str
    # here: ready; hub: would be fetched; away: neither here nor on the hub now; wrong: cannot work; service: not ours
    state: Literal["here", "hub", "away", "wrong", "service"]
    reason: str = ""  # for away and wrong
    size: int = 0  # bytes to fetch
    others: tuple[str, ...] = ()  # which models are here
    remote: bool = False  # a service that needs a job's permission


async def look(settings: Settings) -> Model:
    """Look here first, and ask the hub only then. Raises SettingsError if providers.yaml is wrong."""
    first = next(each for each in load(settings) if each.enabled)
    if not isinstance(first, Local):
        return Model(first.model, first.name, "service", remote=first.is_remote)
    name, engine = with_model(first, settings.model).model, first.engine
    kept = await asyncio.to_thread(ModelFolder(settings.home / "models").kept)
    others = tuple(each.name for each in kept if each.whole and each.key.startswith(f"{engine}/"))
    found = Model(name, engine, "here", others=others)
    if reason := problem(name, engine):
        return found._replace(state="wrong", reason=reason)
    wanted = origin(name, engine)
    if wanted is None:
        gone = name != DEMO_MODEL and is_path(name) and not Path(name).expanduser().exists()
        return found._replace(state="wrong", reason=f"{name} does not exist") if gone else found
    if wanted.name in others or (await asyncio.to_thread(hub.cached, wanted)) is not None:
        return found
    return await _on_the_hub(wanted, found)


async def _on_the_hub(wanted: Origin, found: Model) -> Model:
    try:
        there = await hub.HubModel.find(wanted)
    except Reject as error:
        return found._replace(state="wrong", reason=str(error))
    except SourceFailed as error:
        return found._replace(state="away", reason=str(error))
    return found._replace(state="hub", size=sum(file.size for file in there.files))


async def judge(looking: asyncio.Task[Model]) -> Finding:
    found = await looking
    which = f"{found.name} of {found.engine}"
    here = f"; on this machine: {', '.join((*found.others, DEMO_MODEL))}"
    match found.state:
        case "service":
            return Finding(NAME, "ok", f"the first provider, {found.engine}, is a service with models of its own")
        case "here":
            return Finding(NAME, "ok", f"{which} is here" + (here if found.name != DEMO_MODEL else ""))
        case "hub":
            pull = f"v2t models pull {found.name} --engine {found.engine} fetches it now"
            text = f"{which} is not here yet: the first job fetches it from the hub ({size(found.size)}){here}"
            return Finding(NAME, "ok", text, pull)
        case "away":
            text = f"{which} is not here, and the hub cannot be reached ({found.reason}){here}"
            other = found.others[0] if found.others else DEMO_MODEL
            pull = f"with internet, v2t models pull {found.name}; without, use --model {other}"
            return Finding(NAME, "warn", text, pull)
        case "wrong":
            return Finding(NAME, "fail", f"{which} cannot be used: {found.reason}", "set V2T_MODEL to another")
