"""What differs between a broker's streams and consumers and what they should be, in words."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from v2t_stream.retention import DAY, HOUR

_NS: Final = 1_000_000_000
_DURATIONS: Final = ("max_age", "duplicate_window", "ack_wait")
_FILTERS: Final = ("filter_subject", "filter_subjects")  # two ways to say the same


class Drift(NamedTuple):
    """One field that is not as it should be, or something that is missing."""

    what: str  # such as: stream V2T_JOBS
    field: str = ""  # as NATS calls it; empty where all of it is missing
    found: Any = None
    wanted: Any = None

    def __str__(self) -> str:
        if not self.field:
            return f"{self.what} is missing"
        found, wanted = (_shown(self.field, value) for value in (self.found, self.wanted))
        return f"{self.what}: {self.field} is {found}, should be {wanted}"


def compare(what: str, found: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> list[Drift]:
    """The fields of `wanted` that differ in `found`, both as NATS writes them; what else there is, is its owner's.

    `found`: None where there is none. More replicas than wanted are as well.
    """
    if found is None:
        return [Drift(what)]
    drifts = []
    for field, value in wanted.items():
        if field in _FILTERS:
            field, value, there = "filters", filters(wanted), filters(found)  # noqa: PLW2901  of either name
        elif field == "metadata":
            drifts += [
                Drift(what, key, (found.get(field) or {}).get(key), text)
                for key, text in value.items()
                if (found.get(field) or {}).get(key) != text
            ]
            continue
        else:
            # The server leaves out what is nothing.
            there = found.get(field, type(value)())
        if isinstance(value, list):
            value, there = sorted(value), sorted(there)  # noqa: PLW2901  their order says nothing
        if value != there and not (field == "num_replicas" and there > value):
            drifts.append(Drift(what, field, there, value))
    return drifts


def filters(config: Mapping[str, Any]) -> list[str]:
    """The subjects that a consumer with this configuration takes."""
    single = config.get("filter_subject")
    return [single] if single else list(config.get("filter_subjects") or [])


def age(seconds: float) -> str:
    """A span of time for people; none at all means for ever."""
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
