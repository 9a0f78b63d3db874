"""`/v1/jobs`: submitting jobs, looking at them, changing them, and reading what they made."""

from typing import Final

from v2t_stream.serve.jobs import change, submit, transcript, view

ROUTES: Final = (submit.routes, view.routes, change.routes, transcript.routes)
