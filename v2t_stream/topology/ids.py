"""The ids of jobs: each is derived from what made the job, so nobody has to be asked for one."""

import hashlib
from datetime import datetime

import msgspec

from schemas.notification import Upload
from v2t_stream.broker.connection import Connection
from v2t_stream.broker.lineage import epoch_of
from v2t_stream.topology.streams import INBOX


def folder(job: str, run: int) -> str:
    """Where what is made for a run of a job lies, below media/ and transcripts/."""
    return f"{job}/{run}" if run else job


async def inbox_epoch(connection: Connection) -> str:
    """What sets this inbox apart from one made before or elsewhere: the second it was created, in base 36.

    Of one that was rolled back, the second in which that was noticed: see v2t_stream.topology.epochs.
    """
    info = await connection.api(f"STREAM.INFO.{INBOX}")
    return epoch_of(info) or base36(int(datetime.fromisoformat(info["created"]).timestamp()))


def job_id(epoch: str, sequence: int) -> str:
    """The id of the job made by the inbox's message number `sequence`.

    Sender and intake both derive it, so an id is known the moment a submission is stored, the same submission
    sent twice has the same one, and a message delivered to intake twice makes one job.
    """
    return f"{epoch}-{base36(sequence)}"


def child_id(parent: str, n: int) -> str:
    """The id of the job of a list's entry `n`, from 1: however often the list is read, each has one job."""
    return f"{parent}_{n}"


def place_of(job: str) -> tuple[str, int]:
    """The job whose list `job` is an entry of, and its place there, from 1; `job` itself and 0 where it is none."""
    parent, _, n = job.rpartition("_")
    is_place = n.isdecimal() and int(n) > 0 and child_id(parent, int(n)) == job
    return (parent, int(n)) if parent and is_place else (job, 0)


def upload_job_id(upload: Upload, again: int = 0) -> str:
    """The id of the job made by one version of an uploaded object.

    However often and after whatever time it is announced or listed, it is the same job. `again`: how many times it had
    been replaced before its job could read it, and came back.
    """
    named = (upload.bucket, upload.key, upload.etag, upload.version, *((again,) if again else ()))
    digest = hashlib.sha256(msgspec.json.encode(named)).digest()
    return f"up-{base36(int.from_bytes(digest[:12], 'big'))}"


def base36(number: int) -> str:
    """A number from 0 in the digits and letters that make ids."""
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits or "0"
