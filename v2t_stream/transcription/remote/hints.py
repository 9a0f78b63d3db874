"""The options that only help, as text for a form."""

from schemas.options import HINTS, Request


def hints(request: Request) -> dict[str, str]:
    """The hints that the job gives, by name."""
    given = {name: getattr(request, name) for name in HINTS}
    return {
        name: f"{value:g}" if isinstance(value, float) else str(value)
        for name, value in given.items()
        if value is not None
    }
