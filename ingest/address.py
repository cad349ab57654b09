"""Who asks: an address is what YouTube sees, counts and blocks. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
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


def choose_addresses(proxies: Sequence[str] = (), source_addresses: Sequence[str] = ()) -> tuple[Address, ...]:
    """One for each proxy, else one for each of this machine's own, else `HERE`.

    Raises:
        UsageError: one is named twice, which would be asked from at twice the rate; or several of both kinds are named.
    """
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
    """`http://me:secret@host:1` -> `http://host:1`; whatever is no such URL stays as it is, up to its last `@`."""
    address = urlsplit(url)
    return (
        address._replace(netloc=address.netloc.rpartition("@")[2]).geturl()
        if address.netloc
        else url.rpartition("@")[2]
    )


def _told_apart(names: Sequence[str]) -> list[str]:
    """Names that occur more than once get a number: proxies may differ in the user's name alone."""
    often = {name for name, times in Counter(names).items() if times > 1}
    numbers = {name: count(1) for name in often}
    return [f"{name} #{next(numbers[name])}" if name in often else name for name in names]
