"""The metrics of a process and of the fleet, for Prometheus.

v2t imports this only with `--metrics-port`, and computes only on request: a stage's counters are those that its worker
keeps anyway, and the fleet's are looked up.
"""

import asyncio
import contextlib
import json
import mmap
import shutil
import urllib.request
from collections.abc import Callable, Coroutine, Iterator, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any, Final, get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from v2t_stream.fleet.presence import Presence, version
from v2t_stream.fleet.tally import FACTORS, Outcome
from v2t_stream.monitoring.survey import Survey

_PATIENCE: Final = 10.0  # seconds; Prometheus' default


class StageCollector(Collector):
    """What one stage has done, from its Presence."""

    def __init__(self, presence: Presence, home: Path) -> None:
        self._presence, self._home = presence, home

    def collect(self) -> Iterator[Metric]:
        here, tally = self._presence, self._presence.tally
        outcomes = dict(tally.outcomes)  # a copy, because the loop goes on
        stage = {"node": here.node, "stage": here.stage}
        known = stage | {"version": version(), "accelerator": here.accelerator, "engine": here.engine}
        yield _gauge("v2t_stage_info", "Always 1; the labels describe this process.", known | {"model": here.model}, 1)
        yield _gauge("v2t_slots", "Messages that it takes at once.", stage, here.slots)
        yield _gauge("v2t_slots_used", "Messages in progress.", stage, len(here.since))
        yield _outcomes("v2t_messages", "Messages by outcome.", stage, outcomes)
        yield _counter("v2t_retries", "Failed tries that are repeated.", stage, outcomes.get("retried", 0))
        if here.stage == "download":
            yield _counter("v2t_download_bytes", "Bytes downloaded.", stage, tally.downloaded)
        if here.stage == "transcribe":
            engine = {"node": here.node, "accelerator": here.accelerator}
            yield _outcomes("v2t_chunks", "Chunks by outcome.", engine, outcomes)
            yield _counter("v2t_audio_seconds", "Seconds of media transcribed by an engine.", engine, tally.audio)
            yield _counter("v2t_engine_busy_seconds", "Seconds that an engine was busy.", engine, tally.busy)
            factor = HistogramMetricFamily(
                "v2t_real_time_factor", "Engine seconds per second of media, by chunk.", labels=[*engine]
            )
            edges = zip((*map(str, FACTORS), "+Inf"), accumulate(tally.factors), strict=True)
            factor.add_metric([*engine.values()], list(edges), tally.factor_sum)
            yield factor
        if memory := _children_memory():
            yield _gauge("v2t_children_memory_bytes", "Memory of its child processes: the engine.", stage, memory)
        with contextlib.suppress(OSError):
            disk = shutil.disk_usage(self._home)
            yield _gauge("v2t_disk_size_bytes", "Size of the disk with the data directory.", stage, disk.total)
            yield _gauge("v2t_disk_free_bytes", "Free space on that disk.", stage, disk.free)


class FleetCollector(Collector):
    """What the broker knows of queues, jobs and nodes; each request runs `look` in `loop`.

    `monitor`: the URL of nats-server's own monitoring, which knows the storage limit; empty if unknown. `patience`: how
    many seconds each may take to answer.
    """

    def __init__(
        self,
        look: Callable[[], Coroutine[Any, Any, Survey]],
        loop: asyncio.AbstractEventLoop,
        monitor: str,
        *,
        patience: float = _PATIENCE,
    ) -> None:
        self._look, self._loop, self._monitor, self._patience = look, loop, monitor, patience

    def collect(self) -> Iterator[Metric]:
        """Raises BrokerError, and TimeoutError if the loop or the broker hangs."""
        found = asyncio.run_coroutine_threadsafe(self._look(), self._loop).result(self._patience)
        yield from _of_queues(found)
        yield from _of_nodes(found)
        jobs = GaugeMetricFamily("v2t_jobs", "Jobs that the broker remembers, by state.", labels=["state"])
        for state, count in found.jobs.items():
            jobs.add_metric([state], count)
        yield jobs
        yield _gauge("v2t_dead_letters", "Dead letters now.", {}, found.dead)
        yield _counter("v2t_dead_lettered", "Dead letters ever written.", {}, found.dead_ever)
        yield _gauge("v2t_broker_storage_bytes", "Bytes that the broker stores.", {}, found.storage)
        if limit := found.storage_limit or self._limit():
            yield _gauge("v2t_broker_storage_limit_bytes", "Bytes that the broker may store.", {}, limit)

    def _limit(self) -> int:
        """Bytes; 0 if unknown."""
        if not self._monitor:
            return 0
        with urllib.request.urlopen(f"{self._monitor}/jsz", timeout=self._patience) as answer:  # noqa: S310  # the owner's URL
            limit: int = json.load(answer)["config"]["max_storage"]
        return limit


def _of_queues(found: Survey) -> Iterator[Metric]:
    messages = GaugeMetricFamily("v2t_queue_messages", "Messages in a queue.", labels=["queue", "state"])
    oldest = GaugeMetricFamily("v2t_queue_oldest_seconds", "Age of its oldest message.", labels=["queue"])
    redelivered = GaugeMetricFamily("v2t_queue_redelivered", "Messages in progress again.", labels=["queue"])
    paused = GaugeMetricFamily("v2t_queue_paused", "1 while the queue is paused.", labels=["queue"])
    workers = GaugeMetricFamily("v2t_queue_workers", "Live processes that take from the queue.", labels=["queue"])
    for queue in found.queues:
        messages.add_metric([queue.name, "waiting"], queue.waiting)
        messages.add_metric([queue.name, "in_work"], queue.in_work)
        oldest.add_metric([queue.name], max(0.0, found.at - queue.oldest) if queue.oldest else 0.0)
        redelivered.add_metric([queue.name], queue.redelivered)
        paused.add_metric([queue.name], queue.paused)
        workers.add_metric([queue.name], found.workers[queue.name])
    yield from (messages, oldest, redelivered, paused, workers)


def _of_nodes(found: Survey) -> Iterator[Metric]:
    labels = ["node", "stage"]
    processes = GaugeMetricFamily("v2t_node_processes", "Live processes.", labels=labels)
    restarting = GaugeMetricFamily("v2t_node_restarting", "Stages that died and are about to restart.", labels=labels)
    slots = GaugeMetricFamily("v2t_node_slots", "Messages that the live processes take at once.", labels=labels)
    used = GaugeMetricFamily("v2t_node_slots_used", "Messages in progress.", labels=labels)
    done = CounterMetricFamily("v2t_node_messages", "Messages done.", labels=labels)
    speed = GaugeMetricFamily("v2t_node_speed", "Seconds of media per second of work.", labels=["node"])
    for (node, stage), infos in found.nodes.items():
        alive = [info for info in infos if info.is_alive]
        processes.add_metric([node, stage], len(alive))
        restarting.add_metric([node, stage], len(infos) - len(alive))
        slots.add_metric([node, stage], sum(info.slots for info in alive))
        used.add_metric([node, stage], sum(len(info.working) for info in alive))
        done.add_metric([node, stage], sum(info.done for info in alive))
        if stage == "transcribe":
            speed.add_metric([node], sum(info.speed or 0.0 for info in alive))
    yield from (processes, restarting, slots, used, done, speed)


def _gauge(name: str, text: str, labels: Mapping[str, str], value: float) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[*labels])
    family.add_metric([*labels.values()], value)
    return family


def _counter(name: str, text: str, labels: Mapping[str, str], value: float) -> Metric:
    family = CounterMetricFamily(name, text, labels=[*labels])
    family.add_metric([*labels.values()], value)
    return family


def _outcomes(name: str, text: str, labels: Mapping[str, str], counts: Mapping[Outcome, int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=[*labels, "outcome"])
    for outcome in get_args(Outcome):
        family.add_metric([*labels.values(), outcome], counts.get(outcome, 0))
    return family


def _children_memory() -> int:
    """Bytes; 0 without child processes or /proc."""
    pages = 0
    for children in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError, ValueError, IndexError):  # one has just ended
            for child in children.read_text().split():
                pages += int(Path(f"/proc/{child}/statm").read_text().split()[1])
    return pages * mmap.PAGESIZE
