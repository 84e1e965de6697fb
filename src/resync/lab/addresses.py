"""Which loopback addresses a lab uses, so that several labs stand side by side and none meets a stranger.

A lab owns one block 127.A.0.0/16. It is claimed by binding a socket that nobody connects to: the kernel gives
an address and port to one process only, whoever its user is, and takes the claim back when the process ends,
however it ends. Within the block a pod has 127.A.0.n (advertised, the link listens there) and 127.A.1.n (its
own process).
"""

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from resync.lab.errors import LabStartError

_BLOCKS = range(20, 250)
_CLAIM_PORT = 5557


@dataclass(frozen=True, slots=True)
class Block:
    """The addresses 127.A.*.* of one lab."""

    second_octet: int

    @property
    def cidr(self) -> str:
        """The block as a network."""
        return f"127.{self.second_octet}.0.0/16"

    def pod_ip(self, number: int) -> str:
        """The address a pod advertises."""
        return f"127.{self.second_octet}.0.{number}"

    def bind_ip(self, number: int) -> str:
        """The address where that pod's process really is."""
        return f"127.{self.second_octet}.1.{number}"


@contextmanager
def claimed(ports: Sequence[int]) -> Iterator[Block]:
    """A block no other lab uses, in which each of `ports` is free, until the end of the `with`.

    Raises:
        LabStartError: there is none; a port taken on every address is named.
    """
    taken: list[int] = []
    for block in map(Block, _BLOCKS):
        with _claim(block) as ours:
            if not ours:
                continue
            taken = [port for port in ports if not _is_free(block.pod_ip(1), port)]
            if not taken:
                yield block
                return
    raise LabStartError(_why_none(taken))


def _why_none(taken: Sequence[int]) -> str:
    if not taken:
        return f"all {len(_BLOCKS)} address blocks of the lab are in use: end a lab with `resync lab down`"
    listed = ", ".join(map(str, taken))
    return (
        f"the lab's pods need port {listed}, which another program holds on every address: "
        f"end that program (`ss -ltnp` names it), or have it listen on 127.0.0.1 only"
    )


@contextmanager
def _claim(block: Block) -> Iterator[bool]:
    with socket.socket() as mark:
        try:
            mark.bind((f"127.{block.second_octet}.255.254", _CLAIM_PORT))
        except OSError:
            yield False
        else:
            yield True


def _is_free(address: str, port: int) -> bool:
    with socket.socket() as probe:
        # As the link binds: connections that are still winding down do not count as a holder.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True
