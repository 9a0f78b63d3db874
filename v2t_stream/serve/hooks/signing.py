"""Signatures as the Standard Webhooks specification has them (standardwebhooks.com, 1.0.0)."""

import base64
import hashlib
import hmac

from v2t_stream.settings import secret_of


def headers(id_: str, at: int, body: bytes, secret: str) -> dict[str, str]:
    """The headers of a notice. `at`: Unix seconds of this try. `secret`: as in the settings; empty: no signature."""
    named = {"webhook-id": id_, "webhook-timestamp": str(at), "Content-Type": "application/json"}
    key = secret_of(secret)
    if key:
        signature = hmac.digest(key, f"{id_}.{at}.".encode() + body, hashlib.sha256)
        named["webhook-signature"] = f"v1,{base64.b64encode(signature).decode()}"
    return named
