"""Text from outside, made fit for one line of a terminal, a log or a message."""

from typing import Final
from urllib.parse import parse_qsl, urlsplit

# Parameters by which S3, Google, Azure and others sign a link.
_SIGNED: Final = {"x-amz-signature", "x-amz-security-token", "x-goog-signature", "signature", "sig", "token"}


def one_line(text: str, longest: int = 500) -> str:
    """`text` without line ends, control characters and runs of blanks, cut off after `longest` characters."""
    plain = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return plain if len(plain) <= longest else f"{plain[: longest - 1]}…"


def without_signature(url: str) -> str:
    """`url` for people and logs: one that is signed opens what it names to whoever reads it."""
    if not url.startswith(("http://", "https://")):
        return url
    names = {name.lower() for name, _ in parse_qsl(urlsplit(url).query, keep_blank_values=True)}
    return url.partition("?")[0] if names & _SIGNED else url
