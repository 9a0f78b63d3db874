"""Options that help an engine rather than say what its work is: a service without one of them can do the job too."""

from schemas.options import Request

_HINTS = ("prompt", "hotwords", "beam_size", "temperature")


def hints(request: Request) -> dict[str, str]:
    """Those that the job gives, as text for a form."""
    given = {name: getattr(request, name) for name in _HINTS}
    return {
        name: f"{value:g}" if isinstance(value, float) else str(value)
        for name, value in given.items()
        if value is not None
    }
