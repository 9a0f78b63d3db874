"""Intake: from what people send to `v2t.submit` to a job."""

from collections.abc import AsyncGenerator

from schemas.events import Submitted
from schemas.message import Message
from schemas.options import Options
from v2t_stream.stage import Resources, Submission
from v2t_stream.submission import check, parse
from v2t_stream.topology import stage_row


class Intake:
    def __init__(self, _: Resources) -> None:
        self.row = stage_row("intake")

    async def process(self, message: Submission) -> AsyncGenerator[Message]:
        """Raises Reject with the sentence the user reads in the job's status."""
        request = parse(message.data)
        check(request)
        yield Submitted(
            job=message.job,
            title=request.title or request.url or request.media or "",
            url=request.url,
            media=request.media,
            limit=request.limit,
            force=request.force,
            options=Options(**{name: getattr(request, name) for name in Options.__struct_fields__}),
        )

    async def close(self) -> None:
        """Nothing is held."""
