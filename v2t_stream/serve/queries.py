"""The parameters in a request's address."""

from collections.abc import Mapping

from aiohttp import web

from v2t_stream.serve.problems import Problem

_YES, _NO = ("true", "1", "yes", ""), ("false", "0", "no")


def checked(request: web.Request, *known: str) -> dict[str, str]:
    """The parameters, the last value of each. Raises Problem for an unknown one."""
    if unknown := [name for name in request.query if name not in known]:
        has = f"it takes {', '.join(known)}" if known else "it takes none"
        raise Problem(400, f"unknown parameter {unknown[0]!r}: {has}", param=unknown[0])
    return dict(request.query)


def number(query: Mapping[str, str], name: str, *, least: float = 0, most: float | None = None) -> float | None:
    """The number that a parameter gives; None if it is not there. Raises Problem if it is none, or out of bounds."""
    text = query.get(name)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        raise Problem(400, f"{name}={text!r} is not a number", param=name) from None
    if not least <= value or (most is not None and value > most):
        bounds = f"at least {least:g}" if most is None else f"from {least:g} to {most:g}"
        raise Problem(400, f"{name}={text!r} is out of bounds: it must be {bounds}", param=name)
    return value


def flag(query: Mapping[str, str], name: str) -> bool:
    """Whether a parameter says yes; it need not have a value. Raises Problem if it says neither yes nor no."""
    text = query.get(name, "false").lower()
    if text in _YES or text in _NO:
        return text in _YES
    raise Problem(400, f"{name}={text!r} is neither true nor false", param=name)
