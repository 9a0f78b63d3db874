"""A message on `v2t.submit`: the plain text of a URL, or this as JSON."""

from typing import Annotated, Final

from msgspec import Meta

from schemas.options import Options

SUBMIT_SUBJECT: Final = "v2t.submit"


class SubmitRequest(Options, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A request for a transcript. Unknown fields are errors, so that a misspelt option is not silently ignored."""

    url: str | None = None
    media: str | None = None  # object store key of an uploaded file
    title: str | None = None
    limit: Annotated[int, Meta(ge=1)] | None = None  # for a list: at most this many entries
    force: Annotated[bool, Meta(description="transcribe again even if a transcript exists")] = False
    callback_url: str | None = None  # told when the job has ended
    owner: str | None = None  # whose job it is: a key of the HTTP API
