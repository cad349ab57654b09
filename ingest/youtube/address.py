"""Who asks: an address is what YouTube sees, counts and blocks. Pure."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import count
from urllib.parse import urlsplit

from ingest.errors import UsageError


@dataclass(frozen=True, slots=True)
class Address:
    """One of those that a run asks from.

    name: for people and reports: no two of a run share one, and it holds no password.
    proxy: its URL; "" for none at all, None for what the system is set to.
    source_address: of this machine's, to ask from. host: the machine of a cluster that must ask; None for any.
    """

    name: str
    proxy: str | None = None
    source_address: str | None = None
    host: str | None = None


HERE = Address("this machine")
PROXY_SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")


def choose_addresses(proxies: Sequence[str] = (), source_addresses: Sequence[str] = ()) -> tuple[Address, ...]:
    """One for each proxy, else one for each of this machine's own, else `HERE`.

    Args:
        proxies: `host:port` with a scheme of PROXY_SCHEMES before it or none, and `user:password@` where it asks for
            them; "" for no proxy.
        source_addresses: IP addresses.
    Raises:
        UsageError: one is no address; one is named twice, which would be asked from at twice the rate; or several of
            both kinds are named. No message holds a password.
    """
    for proxy in filter(None, proxies):
        if problem := _wrong_with(proxy):
            raise UsageError(
                f"--proxy must be [scheme://][user:password@]host:port, got {_shown(proxy)}, {problem}; write it like "
                "http://host:8080, and in user and password %40 for @, %3A for : and %2F for /"
            )
    for own in source_addresses:
        if not _is_ip(own):
            raise UsageError(f"--source-address must be an IP address of this machine, got {own!r}; see `ip address`")
    for option, values in (("--proxy", proxies), ("--source-address", source_addresses)):
        if twice := [value for value, times in Counter(values).items() if times > 1]:
            raise UsageError(f"{option} must name each address once, got {without_password(twice[0])} again; drop it")
    if proxies and len(source_addresses) > 1:
        raise UsageError(
            f"--source-address must be given once at most beside --proxy, got {len(source_addresses)}: YouTube sees "
            "the proxies alone; drop it, or the proxies"
        )
    if not proxies:
        return tuple(Address(own, source_address=own) for own in source_addresses) or (HERE,)
    own_address = source_addresses[0] if source_addresses else None
    names = _told_apart([without_password(proxy) or "no proxy" for proxy in proxies])
    return tuple(
        Address(name, proxy=proxy, source_address=own_address) for name, proxy in zip(names, proxies, strict=True)
    )


def without_password(url: str) -> str:
    """`http://me:secret@host:1` -> `http://host:1`."""
    scheme, _, rest = _with_scheme(url).partition("://")
    host = rest.rpartition("@")[2]
    return f"{scheme}://{host}" if "://" in url else host


def _wrong_with(proxy: str) -> str | None:
    """What keeps it from being the address of a proxy."""
    if _with_scheme(proxy).partition("://")[0].lower() not in PROXY_SCHEMES:
        return f"whose scheme is none of {', '.join(PROXY_SCHEMES)}"
    if any(letter.isspace() or not letter.isprintable() for letter in proxy):
        return "which holds a space or a letter that cannot be seen"
    try:
        parts = urlsplit(_with_scheme(proxy))
    except ValueError:
        return "whose host is in odd brackets"
    try:
        port = parts.port
    except ValueError:
        return "whose port is no number from 1 to 65535"
    if not parts.hostname or not port:
        return f"which has no {'port' if parts.hostname else 'host'}"
    return "which goes on after the port" if parts.path.strip("/") or parts.query or parts.fragment else None


def _shown(proxy: str) -> str:
    """What there is of scheme, host and port, with dots for all that may be a password: one that holds `@` or `/`, or
    whose host was forgotten."""
    before, colon, rest = proxy.rpartition("://")
    scheme = before + colon if before.isalnum() else "…://" if colon else ""
    _, at, place = rest.rpartition("@")
    found = re.match(r"(\[[0-9a-fA-F:.]*\]?|[^:/?#\[]*)(:\d+)?", place)
    host = found[0] if found else ""
    return repr(f"{scheme}{'…@' if at else ''}{host}{'…' if host != place else ''}")


def _with_scheme(proxy: str) -> str:
    return proxy if "://" in proxy else f"http://{proxy}"


def _is_ip(text: str) -> bool:
    try:
        return bool(ip_address(text))
    except ValueError:
        return False


def _told_apart(names: Sequence[str]) -> list[str]:
    """Names that occur more than once get a number: proxies may differ in the user's name alone."""
    often = {name for name, times in Counter(names).items() if times > 1}
    numbers = {name: count(1) for name in often}
    return [f"{name} #{next(numbers[name])}" if name in often else name for name in names]
