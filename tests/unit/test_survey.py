"""The fleet in numbers: how often slow counts are repeated."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from v2t_stream.broker.connection import Connection
from v2t_stream.monitoring import survey
from v2t_stream.monitoring.survey import Surveyor


class Broker:
    """One that knows of nothing, and the clock by which it takes its time."""

    now = 1000.0
    takes = 0.0  # seconds to count the jobs
    counts = 0

    async def api(self, _: str) -> dict[str, Any]:
        return {
            "ts": "2026-01-01T00:00:00Z",
            "state": {"messages": 0, "last_seq": 0},
            "storage": 0,
            "limits": {"max_storage": -1},
        }

    async def jobs(self, _: Connection) -> dict[str, int]:
        self.now += self.takes
        self.counts += 1
        return {}

    async def nothing(self, _: Connection) -> list[Any]:
        return []


@pytest.mark.parametrize(("takes", "first", "next_"), [(0.1, 9.0, 11.0), (20.0, 59.0, 61.0)])
async def test_jobs_are_counted_again_in_time(
    takes: float, first: float, next_: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else counting keeps the broker busy, or one slow answer keeps old numbers on the screen for an hour."""
    broker = Broker()
    monkeypatch.setattr(survey, "jobs_by_state", broker.jobs)
    monkeypatch.setattr(survey, "fleet", broker.nothing)
    monkeypatch.setattr(survey, "queues", broker.nothing)
    monkeypatch.setattr("v2t_stream.monitoring.survey.time", SimpleNamespace(monotonic=lambda: broker.now))
    surveyor = Surveyor(cast(Connection, broker))
    broker.takes = takes
    await surveyor.look()
    counted = broker.now
    for after, counts in ((first, 1), (next_, 2)):
        broker.now = counted + after
        await surveyor.look()
        assert broker.counts == counts
