"""Every lab has loopback addresses of its own, and a taken port is named."""

import socket

import pytest

from resync.lab import addresses
from resync.lab.addresses import claimed
from resync.lab.errors import LabStartError

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def own_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    """Claims on a port of these tests' own: labs of other tests come and go meanwhile."""
    monkeypatch.setattr(addresses, "_CLAIM_PORT", free_port())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_two_labs_get_two_blocks_and_a_block_is_free_again_at_the_end() -> None:
    with claimed([]) as first:
        with claimed([]) as second:
            assert first != second
        with claimed([]) as again:
            assert again == second


def test_a_port_held_on_every_address_is_named() -> None:
    with socket.socket() as everywhere:
        everywhere.bind(("0.0.0.0", 0))
        everywhere.listen()
        port = everywhere.getsockname()[1]
        with (
            pytest.raises(LabStartError, match=f"need port {port}, which another program holds"),
            claimed([port]),
        ):
            pytest.fail("a block was given out in which the port is taken")


def test_a_port_held_in_one_block_only_leads_to_the_next() -> None:
    port = free_port()
    with claimed([]) as first:
        pass
    with socket.socket() as stranger:
        stranger.bind((first.pod_ip(1), port))
        stranger.listen()
        with claimed([port]) as other:
            assert other.second_octet > first.second_octet


def test_a_pod_of_the_block_has_an_address_in_its_network() -> None:
    with claimed([]) as block:
        assert block.cidr == f"127.{block.second_octet}.0.0/16"
        assert block.pod_ip(7) == f"127.{block.second_octet}.0.7"
