"""The network interface that gloo's sockets take: the one that leads to rank 0.

Gloo listens where this machine's own name resolves to. Debian and its kin let that be 127.0.1.1, and ranks of
other nodes then wait for minutes and are refused.
"""

from __future__ import annotations

import fcntl
import ipaddress
import logging
import os
import socket
import struct

log = logging.getLogger(__name__)

VARIABLE = "GLOO_SOCKET_IFNAME"
SIOCGIFADDR = 0x8915
"""Linux: the IPv4 address of an interface (netdevice(7))."""


def choose_gloo_interface(main_address: str) -> None:
    """Set ``GLOO_SOCKET_IFNAME`` where gloo would listen on loopback and rank 0 is elsewhere.

    Args:
        main_address: where rank 0 listens. What the variable says already is left alone.
    """
    if VARIABLE in os.environ or not is_loopback(socket.gethostname()):
        return
    own = address_towards(main_address)
    if own is None or ipaddress.ip_address(own).is_loopback:
        return
    name = interface_of(own)
    if name is None:
        log.warning(
            "The name of this machine is its loopback address: ranks of other nodes may not reach it. Set "
            "%s to the interface of %s.",
            VARIABLE,
            own,
        )
        return
    os.environ[VARIABLE] = name


def is_loopback(host: str) -> bool:
    """Whether a name leads to this machine's loopback alone; so does one that leads nowhere."""
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None)}
    except OSError:
        return True
    return all(ipaddress.ip_address(address.split("%")[0]).is_loopback for address in found)


def address_towards(host: str) -> str | None:
    """This machine's own IPv4 address on the way to another, None where there is no way; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, 9))
            return str(probe.getsockname()[0])
        except OSError:
            return None


def interface_of(address: str) -> str | None:
    """Name of the interface that has an IPv4 address; None where none has."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            try:
                answer = fcntl.ioctl(probe.fileno(), SIOCGIFADDR, request)
            except OSError:  # an interface without an address
                continue
            if socket.inet_ntoa(answer[20:24]) == address:
                return name
    return None
