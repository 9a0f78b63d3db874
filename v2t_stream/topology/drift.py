"""Compares a broker's streams and consumers with the expected ones, and says the differences in words."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from v2t_stream.retention import DAY, HOUR

_NS: Final = 1_000_000_000
_DURATIONS: Final = ("max_age", "duplicate_window", "ack_wait")
_FILTERS: Final = ("filter_subject", "filter_subjects")  # two ways to say the same


class Drift(NamedTuple):
    """One field that differs from the expected set-up, or a missing stream or consumer."""

    what: str  # such as: stream V2T_JOBS
    field: str = ""  # NATS' name for it; empty if the whole is missing
    found: Any = None
    wanted: Any = None

    def __str__(self) -> str:
        if not self.field:
            return f"{self.what} is missing"
        found, wanted = (_shown(self.field, value) for value in (self.found, self.wanted))
        return f"{self.what}: {self.field} is {found}, should be {wanted}"


def compare(what: str, found: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> list[Drift]:
    """The fields of `wanted` that differ in `found`, both in NATS' format; other fields belong to the owner.

    `found`: None if it does not exist. More replicas than wanted are fine, and so is another description.
    """
    if found is None:
        return [Drift(what)]
    drifts = []
    for field, value in wanted.items():
        if field in _FILTERS:
            field, value, there = "filters", filters(wanted), filters(found)  # noqa: PLW2901  either name
        elif field == "metadata":
            drifts += [
                Drift(what, key, (found.get(field) or {}).get(key), text)
                for key, text in value.items()
                if (found.get(field) or {}).get(key) != text
            ]
            continue
        else:
            # The server omits empty fields.
            there = found.get(field, type(value)())
        if field == "description" and there:
            continue
        if isinstance(value, list):
            value, there = sorted(value), sorted(there)  # noqa: PLW2901  order does not matter
        if value != there and not (field == "num_replicas" and there > value):
            drifts.append(Drift(what, field, there, value))
    return drifts


def filters(config: Mapping[str, Any]) -> list[str]:
    """The filter subjects of a consumer with this configuration."""
    single = config.get("filter_subject")
    return [single] if single else list(config.get("filter_subjects") or [])


def age(seconds: float) -> str:
    """A span of time for people; 0 means for ever."""
    if not seconds:
        return "for ever"
    for unit, length in (("d", DAY), ("h", HOUR), ("min", 60.0)):
        if seconds >= length:
            return f"{seconds / length:.4g} {unit}"
    return f"{seconds:.4g} s"


def _shown(field: str, value: Any) -> str:
    if field in _DURATIONS and not (field != "max_age" and not value):
        return age(value / _NS)
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list):
        return " ".join(value) or "nothing"
    return "not set" if value in (None, "") else str(value)
