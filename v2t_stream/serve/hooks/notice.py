"""What a receiver is told."""

import hashlib
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from schemas.events import Cancelled, Completed, Failed
from schemas.transcript import Transcript
from v2t_stream.jobs.caveats import caveats
from v2t_stream.jobs.state import Job
from v2t_stream.jobs.summary import brief

End = Completed | Failed | Cancelled


class Notice(NamedTuple):
    """One message to a receiver, the same with every try."""

    id: str
    body: bytes

    @classmethod
    def of(cls, end: End, job: Job, record: Transcript | None, *, sequence: int, at: float) -> "Notice":
        """`record`: the transcript of a completed job, if it is there. `sequence`, `at`: of the fact, as stored."""
        told: dict[str, Any] = brief(job) | {"run": end.run}
        match end:
            case Completed():
                told |= {"state": "completed", "transcript": end.transcript}
                # A receiver must not take an incomplete transcript for a whole one.
                told["caveats"] = caveats(record) if record else []
                told["whole"] = not (end.gaps or end.unheard or end.truncated)
            case Failed():
                told |= {"state": "failed", "reason": end.reason, "moved": end.moved or None}
            case Cancelled():
                told |= {"state": "cancelled"}
        when = datetime.fromtimestamp(at, UTC).isoformat()
        body = {"type": f"job.{told['state']}", "timestamp": when, "data": told}
        name = hashlib.sha256(f"{end.subject} {sequence}".encode()).hexdigest()[:24]
        return cls(f"msg_{name}", msgspec.json.encode(body))
