"""The job that a request is about."""

import re
from typing import Final

import msgspec
from aiohttp import web

from schemas.requests import SUBMIT_SUBJECT, SubmitRequest
from schemas.transcript import Transcript
from v2t_stream.broker.connection import Connection
from v2t_stream.errors import ObjectMissing, Reject
from v2t_stream.jobs.assembly import stored
from v2t_stream.jobs.lists import read
from v2t_stream.jobs.state import Job
from v2t_stream.jobs.submission import parse, submitted
from v2t_stream.serve.board import BOARD
from v2t_stream.serve.context import PIPELINE
from v2t_stream.serve.gate import caller
from v2t_stream.serve.problems import Problem
from v2t_stream.text import without_secrets
from v2t_stream.topology.ids import child_id, inbox_epoch
from v2t_stream.topology.streams import INBOX

ID: Final = re.compile("[A-Za-z0-9_-]{1,100}")
_NUMBER: Final = re.compile("[0-9a-z]{1,12}")


def check_known(request: web.Request, job: Job | None, id_: str) -> Job:
    """The job. Raises Problem if there is none that the caller may know of."""
    if job is None or job.removed or not caller(request).sees(job):
        raise Problem(404, f"there is no job {id_!r}: GET /v1/jobs lists all jobs", code="not_found")
    return job


async def job_of(request: web.Request) -> Job:
    """The job that the path names, as the broker has it now. Raises Problem and BrokerError."""
    id_, connection = request.match_info["job"], request.app[PIPELINE].connection
    if not ID.fullmatch(id_):  # it may be a pattern that names all jobs
        return check_known(request, None, id_)
    job = await read(connection, id_)
    if not job.submitted and (sent := await _waiting(connection, id_)):
        job.submitted = submitted(id_, sent)
    elif not job.sequences:
        job = await read(connection, id_)  # intake may have taken it just now
    return check_known(request, job if job.sequences or job.submitted else None, id_)


async def job_on_board(request: web.Request) -> Job:
    """The same without its words, and without asking the broker if all jobs are known here. Raises Problem."""
    id_, board = request.match_info["job"], request.app[BOARD]
    await board.ready()
    found: Job | None = board.find(id_)
    if found and found.sequences and (found.submitted or caller(request).sees(found)):
        return check_known(request, found, id_)
    return await job_of(request)  # the board may be a moment behind what this client has just done


async def _waiting(connection: Connection, id_: str) -> SubmitRequest | None:
    """The submission whose job will have this id, if it still waits for intake."""
    epoch, _, number = id_.partition("-")
    if not _NUMBER.fullmatch(number) or epoch != await inbox_epoch(connection):
        return None
    waiting = await connection.message(INBOX, seq=int(number, 36))
    if waiting is None or waiting.subject != SUBMIT_SUBJECT:
        return None
    try:
        request = parse(waiting.data)
    except Reject:  # it will fail, with the reason
        return SubmitRequest()
    return msgspec.structs.replace(request, url=without_secrets(request.url) if request.url else None)


def check_single(job: Job) -> None:
    """Raises Problem for a list, whose entries have what is asked for."""
    if job.listed:
        first, last = child_id(job.id, 1), child_id(job.id, job.listed.children)
        raise Problem(409, f"job {job.id} is a list: name one of its entries, {first} to {last}")


async def transcribed(request: web.Request) -> tuple[Job, Transcript]:
    """The job that the path names, which has completed, and its transcript. Raises Problem and V2TError."""
    job = await job_of(request)
    check_single(job)
    if not job.completed or job.state != "completed":
        raise Problem(409, f"job {job.id} has no transcript yet: it is {job.state}")
    try:
        return job, await stored(request.app[PIPELINE].store, job.transcript)
    except ObjectMissing:
        raise Problem(410, f"the transcript of job {job.id} has expired: retry the job to make a new one") from None
