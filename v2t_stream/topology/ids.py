"""The ids of jobs: each is derived from the job's origin, so nobody has to hand out ids."""

import hashlib
from datetime import datetime

import msgspec

from schemas.notification import Upload
from v2t_stream.broker.connection import Connection
from v2t_stream.broker.lineage import epoch_of
from v2t_stream.topology.streams import INBOX


def folder(job: str, run: int) -> str:
    """The folder for a run of a job, below media/ and transcripts/."""
    return f"{job}/{run}" if run else job


def job_of_file(key: str) -> str:
    """The job whose folder below media/ or transcripts/ holds this file."""
    return key.split("/")[1]


async def inbox_epoch(connection: Connection) -> str:
    """Distinguishes this inbox from earlier and other ones: the second of its creation, in base 36.

    After a rollback it is the second in which a machine noticed that: see v2t_stream.topology.epochs.
    """
    info = await connection.api(f"STREAM.INFO.{INBOX}")
    return epoch_of(info) or base36(int(datetime.fromisoformat(info["created"]).timestamp()))


def job_id(epoch: str, sequence: int) -> str:
    """The id of the job from the inbox's message number `sequence`.

    Sender and intake both derive it, so an id is known the moment a submission is stored, a submission sent twice
    keeps its id, and a message delivered to intake twice makes one job.
    """
    return f"{epoch}-{base36(sequence)}"


def child_id(parent: str, n: int) -> str:
    """The id of the job for entry `n` of a list, from 1: each entry has one job, however often the list is read."""
    return f"{parent}_{n}"


def place_of(job: str) -> tuple[str, int]:
    """The list job that `job` is an entry of, and its place, from 1; `job` itself and 0 if it is not an entry."""
    parent, _, n = job.rpartition("_")
    is_place = n.isdecimal() and int(n) > 0 and child_id(parent, int(n)) == job
    return (parent, int(n)) if parent and is_place else (job, 0)


def upload_job_id(upload: Upload, again: int = 0) -> str:
    """The id of the job for one version of an uploaded object.

    It is the same job, however often and however late the upload is announced or listed. `again`: how many times it was
    replaced before its job could read it, and came back.
    """
    named = (upload.bucket, upload.key, upload.etag, upload.version, *((again,) if again else ()))
    digest = hashlib.sha256(msgspec.json.encode(named)).digest()
    return f"up-{base36(int.from_bytes(digest[:12], 'big'))}"


def base36(number: int) -> str:
    """A number from 0 in base 36."""
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits or "0"
