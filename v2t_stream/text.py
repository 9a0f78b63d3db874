"""Makes outside text safe for one line of a terminal, a log or a message."""

import os
import re
from typing import Final
from urllib.parse import unquote

# Characters that move the cursor, end a line, or reverse the following text; and surrogates, which cannot be encoded.
# Invisible characters that join and separate letters in Persian and Hindi stay.
HARMFUL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")

# A URL in a text; quotes end it, except in a password.
_URL: Final = re.compile(r"\w[\w+.-]{0,20}://(?:[^\s/?#@]*@)?(?:(?!,\w{1,20}://)[^\s'\"<>])+")
# Its parts: RFC 3986, section 3.
_AUTHORITY: Final = re.compile(r"[^/?#]*")
_PORT: Final = re.compile(r"(?:\[.*\]|[^:]*)(?::\d*)?")
_PARAMETER: Final = re.compile(r"[?&;#]([^=&;#?]+)=")
_LOGIN: Final = re.compile(r"//[^/?#\s]*@")  # in a link inside a link
# Endings of secret parameters' names, including the signatures of S3, Google, Azure, Akamai and others.
_SECRET: Final = re.compile(
    r"(?:token|key|passw(?:or)?d|pwd|secret|signature|credentials?|session(?:id)?|authorization)$"
    r"|^(?:auth|sig|sign|hmac|md5|pass|pw|jwt|bearer|ticket|otp|tok|sid|st|hdnea|hdnts|hdntl)$"
)

TITLE: Final = 200  # characters of a job's title: some sites put a whole description there
_QUOTED: Final = 200  # characters of quoted text in a sentence


def one_line(text: str, longest: int = 500) -> str:
    """`text` without line ends, harmful characters, and runs of blanks, cut off after `longest` characters."""
    plain = " ".join(printable(text).split())
    return plain if len(plain) <= longest else f"{plain[: longest - 1]}…"


def path_text(path: str | os.PathLike[str]) -> str:
    """A path, or a part of one, as valid text: bytes that are not UTF-8 become U+FFFD."""
    return os.fsencode(path).decode(errors="replace")


def quoted(text: str) -> str:
    """`text` in quotes, for a sentence, shortened but recognizable."""
    quoted = repr(text)
    return quoted if len(quoted) <= _QUOTED else f"{quoted[: _QUOTED - 2]}…{quoted[-1]}"


def printable(text: str) -> str:
    """`text` with a blank in place of each line end and harmful character."""
    return HARMFUL.sub(" ", text)


def without_secrets(text: str) -> str:
    """`text` for people and logs, without the secrets in its URLs.

    This removes each user and password, and all parameters if one of them is secret.
    """
    return _URL.sub(lambda url: _shown(url[0]), text) if "://" in text else text


def _shown(url: str) -> str:
    scheme, _, rest = url.partition("://")
    if scheme == "s3":  # any key is harmless without a user of that server
        return url
    authority = _AUTHORITY.match(rest)[0]  # type: ignore[index]  # it matches anything
    if "@" in rest and "@" not in authority and not _PORT.fullmatch(authority):
        authority, path = rest.rpartition("@")[0] + "@", rest.rpartition("@")[2]  # a password with a slash in it
    else:
        path = rest[len(authority) :]
    if _lets_in(path):
        path = re.split("[?;#]", path, maxsplit=1)[0]
    return f"{scheme}://{authority.rpartition('@')[2]}{path}"


def _lets_in(path: str) -> bool:
    """Whether the part after a URL's host holds a secret, also inside a nested link."""
    plain = unquote(unquote(path))
    words = (word for name in _PARAMETER.findall(plain) for word in re.split(r"[\W_]+", name.lower()))
    return any(map(_SECRET.search, words)) or bool(_LOGIN.search(plain))
