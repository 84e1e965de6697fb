"""Dropping SYNs: what a relay cannot do by itself, because the kernel answers them before it hears of them.

A socket filter on a listening socket sees each SYN before the handshake, and needs no privilege (socket(7),
SO_ATTACH_FILTER; classic BPF). A SYN it drops was never there: the caller's `connect` hangs, and completes at
the first retransmission of the *kernel's own* schedule once the filter is gone. Connections that exist are
not touched: what was accepted under a filter inherits it, and was let through by it.

Linux only; elsewhere `connect` returns at once and the connection is held instead.
"""

import ctypes
import logging
import socket
import struct
import sys
from collections.abc import Iterable
from ipaddress import IPv4Network
from typing import Final

log = logging.getLogger(__name__)

_ATTACH: Final = 26
_DETACH: Final = 27
_SOURCE_ADDRESS: Final = 0xFFF00000 + 12  # SKF_NET_OFF: offsets from the IP header
_LOAD: Final = 0x20
_AND: Final = 0x54
_JUMP_IF_EQUAL: Final = 0x15
_RETURN: Final = 0x06
_DROP: Final = (_RETURN, 0, 0, 0)
_PASS: Final = (_RETURN, 0, 0, 0xFFFFFFFF)


def program(sources: Iterable[IPv4Network]) -> list[tuple[int, int, int, int]]:
    """BPF instructions (code, jump if true, jump if false, operand) that drop what comes from these."""
    found = []
    for network in sources:
        found += [
            (_LOAD, 0, 0, _SOURCE_ADDRESS),
            (_AND, 0, 0, int(network.netmask)),
            (_JUMP_IF_EQUAL, 0, 1, int(network.network_address)),
            _DROP,
        ]
    return [*found, _PASS]


def drop_syns(listening: socket.socket, sources: Iterable[IPv4Network]) -> None:
    """From now on drop SYNs from these addresses, and from no others.

    A kernel that has no such filter is only warned about: connections are held then.
    """
    if sys.platform != "linux":
        return
    steps = program(sources)
    packed = b"".join(struct.pack("HBBI", *step) for step in steps)
    code = ctypes.create_string_buffer(packed, len(packed))
    attached = struct.pack("HP", len(steps), ctypes.addressof(code))
    try:
        if len(steps) > 1:
            listening.setsockopt(socket.SOL_SOCKET, _ATTACH, attached)
        else:
            listening.setsockopt(socket.SOL_SOCKET, _DETACH, 0)
    except OSError as error:
        log.warning("SYNs are answered inside a partition, this kernel has no socket filters: %s", error)
