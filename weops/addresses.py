"""Which addresses may be connected to on behalf of what people write (webhooks, HTTP tasks). Standard library only.

    with guarded(networks(["10.1.0.0/16"])):
        requests.post(url)      # raises Refused before anything is sent to a private address

The guard sees what the interpreter really connects to: no name that resolves anew, no redirect and no library gets
around it. It holds for the thread that entered it.
"""

import ipaddress
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_CONNECTS = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
_here = threading.local()
_installing = threading.Lock()
_installed = False


class Refused(OSError):
    """The address is private, and the deployment does not allow it. The message is for the person who wrote it."""


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Networks such as `10.1.0.0/16`; raises ValueError that names a wrong one."""
    return tuple(ipaddress.ip_network(text, strict=False) for text in texts)


def is_allowed(address: str, allowed: Sequence[Network] = ()) -> bool:
    """Whether `address` (an IP address in text) is public or lies in one of the `allowed` networks."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    inner = _inner(found)
    if any(found in network or inner in network for network in allowed):
        return True
    return all(one.is_global and not one.is_multicast for one in (found, inner))


def _inner(address: Address) -> Address:
    """The IPv4 address that an IPv6 address carries, if any: all of these reach it."""
    if not isinstance(address, ipaddress.IPv6Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


@contextmanager
def guarded(allowed: Sequence[Network] = ()) -> Iterator[None]:
    """Connections of this thread to private, loopback, link-local and other special addresses raise Refused."""
    _install()
    before = getattr(_here, "allowed", None)
    _here.allowed = tuple(allowed)
    try:
        yield
    finally:
        _here.allowed = before


def _install() -> None:
    """An audit hook cannot be taken away again, so there is one, and it asks what holds for its thread."""
    global _installed
    with _installing:
        if not _installed:
            sys.addaudithook(_on_event)
            _installed = True


def _on_event(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in _CONNECTS:
        return
    allowed = getattr(_here, "allowed", None)
    if allowed is None:
        return
    target = arguments[1]
    host = target[0] if isinstance(target, tuple) and target else None
    if not isinstance(host, str) or not is_allowed(host, allowed):
        raise Refused(
            f"{host if isinstance(host, str) else 'a local socket'} is no public address; "
            "the deployment allows others by WEOPS_ALLOWED_NETWORKS"
        )
