"""The states of all jobs, from only the names of their facts: few requests for ten thousand jobs."""

from collections import defaultdict
from typing import Final

from schemas.events import Completed, Converted, Downloaded, Failed, Listed, Progress, Rerun
from v2t_stream.broker.connection import Connection
from v2t_stream.topology.streams import JOBS
from v2t_stream.topology.subjects import first_run_of, job_of, message_type, run_of

# These decide the state of a job; each run has its own.
_BY_RUN: Final = (Completed, Failed, Listed, Converted, Downloaded, Progress)
_OF_ALL_RUNS: Final = "downloaded"  # a retry does not download the media again


async def latest_runs(connection: Connection) -> dict[str, int]:
    """The number of the latest run, for each job that was retried. Raises BrokerError."""
    runs: defaultdict[str, int] = defaultdict(int)
    for subject in await connection.subjects(JOBS, Rerun.subject_of(job="*", run="*")):
        runs[job_of(subject)] = max(runs[job_of(subject)], run_of(subject))
    return runs


async def fact_names(connection: Connection, runs: dict[str, int]) -> dict[str, set[str]]:
    """The names of each job's facts in its latest run, such as `converted` or `progress.convert`, without chunks.

    `runs`: see `latest_runs`. Raises BrokerError.
    """
    patterns = [first_run_of("*"), Progress.subject_of(job="*", stage="*")]
    if any(runs.values()):
        patterns += [kind.subject_of(job="*", run="*", stage="*") for kind in _BY_RUN]
    names: defaultdict[str, set[str]] = defaultdict(set)
    for pattern in patterns:
        for subject in await connection.subjects(JOBS, pattern):
            kind, run, job = message_type(subject), run_of(subject), job_of(subject)
            name = subject.split(".", 3)[3].removesuffix(f".{run}" if run else "")
            if run == runs.get(job, 0) or name == _OF_ALL_RUNS or (kind and not kind.BY_RUN):
                names[job].add(name)
    return names
