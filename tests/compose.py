"""compose.yaml as the tests read it: with the variables of .env filled in, as Compose does."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "compose.yaml").read_text()
ROLES = ("operator", "worker", "viewer", "submitter", "server", "notifier")
# What .env.example leaves empty: passwords that the server's configuration would read as numbers.
FILLED_IN = {f"NATS_{role.upper()}_PASSWORD": f"{n}e5" for n, role in enumerate(ROLES, 1)} | {
    "MINIO_ROOT_PASSWORD": "12345678"
}

_VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


def variables(text: str = TEXT) -> set[str]:
    """The names in ${…}."""
    return {match[1] for match in _VARIABLE.finditer(text)}


def example() -> dict[str, str]:
    """What .env.example sets."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def services(environment: dict[str, str] | None = None) -> dict[str, dict[str, Any]]:
    """Every service, with the variables of `environment`; None: those of .env.example, filled in."""
    known = example() | FILLED_IN if environment is None else environment

    def value(match: re.Match[str]) -> str:
        name, kind, text = match.groups()
        if known.get(name) or kind is None:
            return known.get(name, "")
        if kind == "?":
            raise KeyError(f"{name}: {text}")
        return str(text)

    document = yaml.safe_load(TEXT)
    return {name: _each(service, value) for name, service in document["services"].items()}


def enabled(*profiles: str) -> set[str]:
    """The services that start with these profiles."""
    return {
        name
        for name, service in services().items()
        if not (wanted := service.get("profiles")) or {*wanted} & {*profiles}
    }


def _each(node: Any, value: Callable[[re.Match[str]], str]) -> Any:
    if isinstance(node, dict):
        return {key: _each(item, value) for key, item in node.items()}
    if isinstance(node, list):
        return [_each(item, value) for item in node]
    return _VARIABLE.sub(value, node) if isinstance(node, str) else node
