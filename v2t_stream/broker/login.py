"""How this machine proves its identity to NATS and verifies the server: user, nkey or credentials, and TLS."""

import ssl
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import nats.errors

from v2t_stream.errors import SettingsError
from v2t_stream.settings import Settings, variable

_SEED: Final = "BEGIN USER NKEY SEED"  # marks a credentials file


class Login(NamedTuple):
    """Paths of files; each may be empty. The user and password or token are in the URL instead."""

    creds: str = ""
    nkey: str = ""
    ca: str = ""
    cert: str = ""
    key: str = ""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The login of `settings`; empty if they name no broker, because the embedded one needs none."""
        if not settings.nats_url:
            return cls()
        paths: list[str] = [getattr(settings, f"nats_{name}") for name in cls._fields]
        return cls(*(str(Path(path).expanduser()) if path else "" for path in paths))

    def __repr__(self) -> str:
        """Show which files are set, but not their paths."""
        return f"Login({', '.join(name for name in self._fields if getattr(self, name))})"

    def needs_tls(self, urls: list[str]) -> bool:
        return bool(self.ca or self.cert) or any(url.startswith("tls://") for url in urls)

    def options(self, urls: list[str]) -> dict[str, Any]:
        """Options for nats-py. Raises SettingsError if a file is unusable."""
        options: dict[str, Any] = {}
        if self.creds:
            if _SEED not in _text("nats_creds", self.creds):
                raise SettingsError(f"NATS_CREDS={self.creds} is not a credentials file: use one that nsc wrote")
            options["user_credentials"] = self.creds
        elif self.nkey:
            _check_seed(self.nkey)
            options["nkeys_seed"] = self.nkey
        else:
            options |= of_url(urls)
        if self.needs_tls(urls):
            options["tls"] = self._context()
        return options

    def _context(self) -> ssl.SSLContext:
        if self.ca:
            _text("nats_ca", self.ca)
        try:
            context = ssl.create_default_context(cafile=self.ca or None)
        except (ssl.SSLError, OSError) as error:
            raise SettingsError(f"NATS_CA={self.ca} holds no PEM certificate: use the authority's") from error
        if bool(self.cert) != bool(self.key):
            there, missing = ("NATS_CERT", "NATS_KEY") if self.cert else ("NATS_KEY", "NATS_CERT")
            raise SettingsError(f"{there} is set, but {missing} is not: a client certificate needs both")
        if self.cert:
            _text("nats_cert", self.cert)
            _text("nats_key", self.key)
            try:
                context.load_cert_chain(self.cert, self.key)
            except (ssl.SSLError, OSError) as error:
                raise SettingsError(
                    f"NATS_CERT={self.cert} and NATS_KEY={self.key} are not a PEM certificate and its key: set both to "
                    "files that belong together"
                ) from error
        return context

    def refusal(self, error: BaseException, where: str) -> str:
        """The sentence for an error that a retry cannot fix; empty for any other."""
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"the certificate of the NATS server at {where} {self._mistrust(error)}"
        if isinstance(error, nats.errors.SecureConnWantedError):
            return (
                f"the NATS server at {where} does not offer TLS, so nothing was sent to it: set up TLS there, or use "
                "nats:// and unset NATS_CA"
            )
        said = str(error).lower()
        if "certificate required" in said or "bad certificate" in said:  # from an SSLError or the server
            return f"the NATS server at {where} requires a client certificate: set NATS_CERT and NATS_KEY"
        if "maximum" in said and "connections exceeded" in said:  # the server's limit, or the account's
            whose = " for this user's role" if "account" in said else ""
            return f"the NATS server at {where} takes no more connections{whose}: close some, or raise max_connections"
        if "authorization violation" in said:
            what = "NATS_CREDS" if self.creds else "NATS_NKEY" if self.nkey else ""
            advice = (
                f"is {what} the right one?"
                if what
                else "put the right user and password, or token, into NATS_URL, such as nats://user:password@host:4222"
            )
            return f"the NATS server at {where} rejects the user (authorization violation): {advice}"
        return ""

    def _mistrust(self, error: ssl.SSLCertVerificationError) -> str:
        if error.verify_code in _EXPIRED:
            return f"is not valid now ({error.verify_message}): renew it there"
        if error.verify_code in _OTHER_NAME:
            return f"is for other host names ({error.verify_message}): use one of those in NATS_URL"
        advice = f"is NATS_CA={self.ca} its authority's?" if self.ca else "set NATS_CA to its authority's certificate"
        return f"is not trusted ({error.verify_message}): {advice}"


NONE: Final = Login()
_EXPIRED: Final = (9, 10)  # X509_V_ERR_CERT_NOT_YET_VALID, _HAS_EXPIRED
_OTHER_NAME: Final = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, _IP_ADDRESS_MISMATCH


def of_url(urls: list[str]) -> dict[str, Any]:
    """The first URL's user, as options: nats-py has no user for a server that it discovers from the cluster."""
    for url in urls:
        login, at, _ = url.rpartition("://")[2].rpartition("@")
        user, colon, password = login.partition(":")
        if at:
            return {"user": user, "password": password} if colon else {"token": user}
    return {}


def without_secret(url: str) -> str:
    """`url` without user and password, for messages."""
    scheme, separator, rest = url.rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


def _text(field: str, path: str) -> str:
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise SettingsError(f"{variable(field)}={path} cannot be read ({why}): use a readable file") from error


def _check_seed(path: str) -> None:
    seed = bytearray(_text("nats_nkey", path).strip().encode())
    import nkeys  # type: ignore[import-untyped]  # noqa: PLC0415  # few people use nkeys

    try:
        nkeys.from_seed(seed).wipe()
    except Exception as error:
        raise SettingsError(f"NATS_NKEY={path} holds no nkey seed: use a file that starts with SU") from error
