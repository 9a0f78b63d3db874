"""Text from outside, made fit for one line of a terminal, a log or a message."""

import re
from typing import Final
from urllib.parse import parse_qsl, urlsplit

# Parameters by which S3, Google, Azure and others sign a link.
_SIGNED: Final = {"x-amz-signature", "x-amz-security-token", "x-goog-signature", "signature", "sig", "token"}

_URL: Final = re.compile(r"\w[\w+.-]{0,20}://(?:(?!,\w{1,20}://)[^\s'\"<>])+")


def one_line(text: str, longest: int = 500) -> str:
    """`text` without line ends, control characters and runs of blanks, cut off after `longest` characters."""
    plain = " ".join(printable(text).split())
    return plain if len(plain) <= longest else f"{plain[: longest - 1]}…"


def printable(text: str) -> str:
    """`text` with a blank in place of each line end and control character."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else " " for character in text)


def without_secrets(text: str) -> str:
    """`text` whose URLs have no password and no signature."""
    return _URL.sub(_without_secret, text) if "://" in text else text


def _without_secret(url: re.Match[str]) -> str:
    scheme, _, rest = url[0].partition("://")
    host, slash, path = rest.partition("/")
    return without_signature(f"{scheme}://{host.rpartition('@')[2]}{slash}{path}")


def without_signature(url: str) -> str:
    """`url` for people and logs: one that is signed opens what it names to whoever reads it."""
    if not url.startswith(("http://", "https://")):
        return url
    names = {name.lower() for name, _ in parse_qsl(urlsplit(url).query, keep_blank_values=True)}
    return url.partition("?")[0] if names & _SIGNED else url
