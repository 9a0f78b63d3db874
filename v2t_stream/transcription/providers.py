"""The provider chain of one machine: its engines and services in order, from providers.yaml.

Keys are in the environment, never in the file.
"""

import errno
import re
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, get_args

import msgspec

from schemas.message import fault
from schemas.options import DEFAULT_MODEL, Options
from v2t_stream.engines.offer import Offer
from v2t_stream.engines.refusal import HARDWARE, NodeOffers
from v2t_stream.engines.refusal import refusal as refusal_of
from v2t_stream.engines.registry import descriptor, engines, names
from v2t_stream.errors import SettingsError
from v2t_stream.settings import Settings
from v2t_stream.text import one_line
from v2t_stream.transcription.provider import Local, Provider, ServiceDescriptor

_NOWHERE: Final = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
_SECRETS: Final = {"api_key", "apikey", "key", "token", "secret", "password"}


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    providers: list[dict[str, Any]]


def load(settings: Settings) -> list[Provider]:
    """The providers of this machine, in order; without a file the one of V2T_ENGINE and V2T_MODEL.

    Raises SettingsError naming the file, the provider, the setting, and what is wrong with it.
    """
    path = file_of(settings)
    try:
        data = path.read_bytes()
    except OSError as error:
        if error.errno not in _NOWHERE:
            raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
        if settings.providers:
            raise SettingsError(f"V2T_PROVIDERS names {path}, which does not exist") from None
        return [Local(type=settings.engine, name=settings.engine, model=settings.model)]
    return parse(data, str(path))


def file_of(settings: Settings) -> Path:
    """Where the providers' file is, or would be."""
    return Path(settings.providers).expanduser() if settings.providers else settings.home / "providers.yaml"


def parse(data: bytes, path: str) -> list[Provider]:
    """Read the text of a providers.yaml; see `load`."""
    try:
        entries = msgspec.yaml.decode(data, type=_File).providers
    except msgspec.ValidationError as error:
        if is_former(msgspec.yaml.decode(data)):
            raise SettingsError(
                f"{path} is from the former v2t on Temporal: v2t providers migrate {path} writes it in today's form"
            ) from None
        raise SettingsError(
            f"{path} is not valid ({error}): it must hold a list called providers, as docs/providers.md shows"
        ) from None
    except msgspec.DecodeError as error:
        # Only the line: the parser's own text may quote the file, and with it a key that somebody put there.
        line = re.findall(r"line (\d+)", str(error))
        raise SettingsError(f"{path} is not valid YAML{f': look at line {line[-1]}' if line else ''}") from None
    providers = [_provider(entry, f"{path}: provider {n}", n) for n, entry in enumerate(entries, 1)]
    given = [provider.name for provider in providers]
    for name in given:
        if given.count(name) > 1:
            raise SettingsError(f"{path}: two providers are called {name!r}: give each a name of its own")
    if not any(provider.enabled for provider in providers):
        raise SettingsError(f"{path} enables no provider: without one this machine cannot transcribe")
    return providers


def is_former(data: object) -> bool:
    """Whether a decoded providers.yaml is one of the former v2t, which transcription/former.py reads."""
    return isinstance(data, dict) and (isinstance(data.get("providers"), dict) or "default_provider" in data)


def offers(providers: Iterable[Provider], model: str) -> tuple[Offer, ...]:
    """What a machine with these providers offers, and the installed engines that it runs for jobs that name them.

    `model`: of engines that have none of their own, V2T_MODEL.
    """
    listed = list(providers)
    known = {provider.engine for provider in listed}
    others = [Local(type=name) for name in engines() if name not in known]
    return tuple(with_model(provider, model).offer(listed=provider in listed) for provider in (*listed, *others))


def with_model(provider: Provider, model: str) -> Provider:
    """The provider, with `model` if it is an engine without one of its own."""
    if provider.model or not isinstance(provider, Local):
        return provider
    return msgspec.structs.replace(provider, model=model)


def refusal(providers: Iterable[Provider], options: Options, model: str = DEFAULT_MODEL) -> str | None:
    """Why a machine with only these providers can never do such a job; None if it can. `model`: see `offers`."""
    enabled = [provider for provider in providers if provider.enabled]
    kinds = {provider.is_remote for provider in enabled}
    takes = ({"remote"} if True in kinds else set()) | ({"any", *HARDWARE} if False in kinds else set())
    node = NodeOffers("", frozenset(takes), offers(enabled, model))
    return refusal_of([node], options, alone=True)


def _provider(entry: dict[str, Any], place: str, number: int) -> Provider:
    kind = entry.get("type")
    if not isinstance(kind, str):
        raise SettingsError(f"{place} has no type: set it to one of {', '.join(_types())}")
    name = entry.get("name") or kind
    place = place.replace(f"provider {number}", f"provider {number} ({one_line(str(name))})")
    registered = descriptor(kind.replace("_", "-"))
    if registered is None:
        raise SettingsError(f"{place}: unknown type {kind!r}: {_advice(kind, _types())}")
    struct = registered.settings if isinstance(registered, ServiceDescriptor) else Local
    known = struct.__struct_fields__
    for field in entry:
        if field not in known:
            raise SettingsError(f"{place}: unknown setting {field!r}: {_advice(field, known)}")
    try:
        provider = msgspec.convert({**entry, "name": name}, struct)
    except msgspec.ValidationError as error:
        reason, where = fault(error)
        if not where:  # then something is missing
            raise SettingsError(f"{place}: {_lower(reason)}") from None
        field = where.split(".")[0].split("[")[0]
        kind_of = next((each.type for each in msgspec.structs.fields(struct) if each.name == field), None)
        choices = f": it must be one of {', '.join(get_args(kind_of))}" if "enum value" in reason else ""
        raise SettingsError(f"{place}: the setting {field} is wrong: {_lower(reason)}{choices}") from None
    try:
        provider.check()
    except SettingsError as error:
        raise SettingsError(f"{place}: {error}") from None
    return provider


def _types() -> list[str]:
    return [name.replace("-", "_") for name in names()]


def _advice(name: str, known: Iterable[str]) -> str:
    if name.lower() in _SECRETS:
        return "put keys into the environment; key_env names the variable if it is not the usual one"
    near = get_close_matches(name, list(known), n=1)
    return f"did you mean {near[0]}?" if near else f"use one of {', '.join(known)}"


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
