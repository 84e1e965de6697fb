"""Which of the lab's addresses belong to which pod. Pure bookkeeping.

A pod has two: 127.A.0.n, which it advertises and the link listens on, and 127.A.1.n, where its process
really is. One number n per pod, kept over container restarts.
"""

from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from typing import Final

from resync.lab.metadata import ADDRESS
from resync.lab.node.errors import NoAddressError

NUMBERS: Final = range(1, 255)


@dataclass(frozen=True, slots=True)
class Pair:
    """Both addresses of one pod."""

    pod_ip: str
    bind_ip: str


class Addresses:
    """The numbers of one lab's block, by pod uid. `cidr` is 127.A.0.0/16."""

    def __init__(self, cidr: str) -> None:
        self._network = IPv4Network(cidr)
        self._owners: dict[int, str] = {}

    def take(self, uid: str, wanted: str = "", index: int = 0) -> Pair:
        """The pod's addresses: the one `index` after the wanted, else the lowest free. Once held, the same.

        Raises NoAddressError when the wanted one is not of this lab or taken, or none is free.
        """
        held = next((number for number, owner in self._owners.items() if owner == uid), None)
        number = held if held is not None else self._number(uid, wanted, index)
        self._owners[number] = uid
        base = self._network.network_address
        return Pair(str(base + number), str(base + 256 + number))

    def release(self, uid: str) -> None:
        """The pod is gone."""
        self._owners = {number: owner for number, owner in self._owners.items() if owner != uid}

    def _number(self, uid: str, wanted: str, index: int) -> int:
        if wanted:
            return self._wanted(uid, wanted, index)
        free = next((number for number in NUMBERS if number not in self._owners), None)
        if free is None:
            raise NoAddressError(f"all {len(NUMBERS)} pod addresses of {self._network} are taken")
        return free

    def _wanted(self, uid: str, wanted: str, index: int) -> int:
        try:
            number = int(IPv4Address(wanted)) + index - int(self._network.network_address)
        except AddressValueError as error:
            raise NoAddressError(f"{ADDRESS} {wanted!r} is not an IPv4 address") from error
        after = f" + {index}" if index else ""
        if number not in NUMBERS:
            first, last = (
                self._network.network_address + NUMBERS[0],
                self._network.network_address + NUMBERS[-1],
            )
            raise NoAddressError(f"{ADDRESS} {wanted}{after} is not of this lab: {first} to {last}")
        if self._owners.get(number, uid) != uid:
            raise NoAddressError(f"{ADDRESS} {wanted}{after} belongs to another pod")
        return number
