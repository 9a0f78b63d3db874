"""What the state of a job does not allow."""

import contextlib
from collections.abc import Iterator

from v2t_stream.errors import V2TError
from v2t_stream.serve.problems import Problem


@contextlib.contextmanager
def conflicts() -> Iterator[None]:
    """Answer 409 if the state of the job does not allow what the block does."""
    try:
        yield
    except V2TError as error:
        if type(error) is V2TError:  # the others have a status of their own
            raise Problem(409, str(error)) from error
        raise
