"""Who is let in: keys, and the web pages that browsers may send audio from. Pure."""

import hmac
from collections.abc import Mapping
from urllib.parse import urlsplit

from app.api.errors import ApiError
from app.api.settings import ApiSettings


def check_origin(headers: Mapping[str, str], settings: ApiSettings) -> None:
    """Refuse what a browser sends on behalf of a page that is neither ours nor allowed.

    A browser lets any page send a form to, or open a WebSocket with, any server: a page from anywhere could use one
    on its reader's own machine. Programs that are no browsers send no Origin.

    Raises:
        ApiError: the page may not.
    """
    origin = headers.get("origin")
    if origin is None or "*" in settings.origins or origin in settings.origins:
        return
    if _host(origin) != headers.get("host", ""):
        raise ApiError(
            "origin", f"Origin: {origin[:200]!r} may not; start the server with --allow-origin, or open its own page"
        )


def _host(origin: str) -> str | None:
    """Of what a client sent: perhaps of no address at all."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def check_key(shown: str | None, settings: ApiSettings) -> None:
    """Refuse who shows none of the keys. Takes as long for a wrong key as for a right one.

    Args:
        shown: a key, or None.
    Raises:
        ApiError: no key, or a wrong one.
    """
    if not settings.keys:
        return
    given = (shown or "").encode()
    # All are compared, whichever fits: the time says nothing of which.
    if not sum([hmac.compare_digest(given, key.encode()) for key in settings.keys]):
        what = "is needed" if shown is None else "is not one of ours"
        raise ApiError("unauthorized", f"key: {what}; send `Authorization: Bearer KEY`", {"WWW-Authenticate": "Bearer"})


def bearer(headers: Mapping[str, str]) -> str | None:
    """The key in the Authorization header, or None when there is no such header."""
    value = headers.get("authorization")
    if value is None:
        return None
    scheme, _, key = value.partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""
