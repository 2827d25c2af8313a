"""Which addresses may be connected to on behalf of what people write (webhooks, HTTP tasks). Standard library only.

    with guarded(networks(["10.1.0.0/16"]), seconds=30) as guard:
        requests.post(url)      # raises Refused before anything is sent to a private address
    guard.refused               # the reason, for libraries that swallow it

The guard sees what the interpreter really connects to: no name that resolves anew, no redirect and no library gets
around it. It holds for the thread that entered it.
"""

import ipaddress
import os
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Of local use, whatever the interpreter's own registry says of them: site-local, translators within a network (RFC 8215, RFC
# 7915), IPv4 in the old form ::a.b.c.d, segment routing, and what IANA keeps for protocols.
_LOCAL = tuple(
    map(
        ipaddress.ip_network,
        ("fec0::/10", "64:ff9b:1::/48", "::ffff:0:0:0/96", "::/96", "5f00::/16", "3fff::/20", "192.0.0.0/24"),
    )
)
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
    if any(found in network or inner in network for network in _LOCAL):
        return False
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


class Guard:
    """What a guarded block saw. `refused`: why a connection was refused, or empty, and `refused_host`: to which address, or
    empty for a local socket; `cut`: it took too long."""

    def __init__(self, allowed: Sequence[Network]) -> None:
        self.allowed = tuple(allowed)
        self.refused = self.refused_host = ""
        self.cut = False
        # Second handles of the sockets that were connected: libraries wrap, detach and hide their own.
        self._sockets: list[socket.socket] = []
        self._changing = threading.Lock()

    def connecting(self, sock: object, target: object) -> None:
        """Raises Refused unless `sock` may connect to `target`."""
        host = target[0] if isinstance(target, tuple) and target else None
        if not isinstance(host, str) or not is_allowed(host, self.allowed):
            self.refused_host = host if isinstance(host, str) else ""
            self.refused = (
                f"{self.refused_host or 'a local socket'} is no public address; "
                "the deployment allows others by WEOPS_ALLOWED_NETWORKS"
            )
            raise Refused(self.refused)
        if isinstance(sock, socket.socket):
            with self._changing:
                if self.cut:
                    raise Refused("it took too long")
                self._sockets.append(socket.socket(fileno=os.dup(sock.fileno())))

    def cut_off(self) -> None:
        """Ends the connections that are open: who reads from them gets an error."""
        with self._changing:
            self.cut = True
            for sock in self._sockets:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with self._changing:
            for sock in self._sockets:
                sock.close()
            self._sockets.clear()


@contextmanager
def guarded(allowed: Sequence[Network] = (), seconds: float | None = None) -> Iterator[Guard]:
    """Connections of this thread to private, loopback, link-local and other special addresses raise Refused.

    After `seconds` the connections made inside are cut, however slowly the other side goes on answering.
    """
    _install()
    guard, before = Guard(allowed), getattr(_here, "guard", None)
    timer = threading.Timer(seconds, guard.cut_off) if seconds is not None else None
    if timer is not None:
        timer.daemon = True
        timer.start()
    _here.guard = guard
    try:
        yield guard
    finally:
        _here.guard = before
        if timer is not None:
            timer.cancel()
        guard.close()


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
    guard: Guard | None = getattr(_here, "guard", None)
    if guard is not None:
        guard.connecting(arguments[0], arguments[1])
