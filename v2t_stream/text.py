"""Text from outside, made fit for one line of a terminal, a log or a message."""

import os
import re
from typing import Final
from urllib.parse import parse_qsl

# What moves the cursor, ends a line somewhere, or has what follows it shown backwards; and halves of characters, which
# cannot be written. What joins and parts letters in Persian and Hindi is invisible too, and stays.
HARMFUL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")

# Parameters by which S3, Google, Azure and others sign a link.
_SIGNED: Final = {"x-amz-signature", "x-amz-security-token", "x-goog-signature", "signature", "sig", "token"}

_URL: Final = re.compile(r"\w[\w+.-]{0,20}://(?:(?!,\w{1,20}://)[^\s'\"<>])+")

_QUOTED: Final = 200  # characters of the same in a sentence


def one_line(text: str, longest: int = 500) -> str:
    """`text` without line ends, characters that do harm, and runs of blanks, cut off after `longest` characters."""
    plain = " ".join(printable(text).split())
    return plain if len(plain) <= longest else f"{plain[: longest - 1]}…"


def path_text(path: str | os.PathLike[str]) -> str:
    """A path, or a part of one, that can be written as text: what is not UTF-8 in it becomes U+FFFD."""
    return os.fsencode(path).decode(errors="replace")


def quoted(text: str) -> str:
    """`text` in quotes, for a sentence: so much of it that one sees which it is."""
    quoted = repr(text)
    return quoted if len(quoted) <= _QUOTED else f"{quoted[: _QUOTED - 2]}…{quoted[-1]}"


def printable(text: str) -> str:
    """`text` with a blank in place of each line end and each character that does harm."""
    return HARMFUL.sub(" ", text)


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
    plain, _, query = url.partition("?")
    names = {name.lower() for name, _ in parse_qsl(query.partition("#")[0], keep_blank_values=True)}
    return plain if names & _SIGNED else url
