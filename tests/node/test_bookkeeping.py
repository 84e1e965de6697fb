"""Addresses, pauses, and what the daemon makes of a request: the pure parts of the node."""

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resync.lab.link import Peer
from resync.lab.node.allocation import Addresses, Pair
from resync.lab.node.backoff import RestartPause
from resync.lab.node.daemon import rules_of
from resync.lab.node.errors import DaemonError, NoAddressError
from resync.lab.node.vocabulary import Chain, CidrAndPort, IPSet, Netem, Tc


def test_addresses_are_the_wanted_or_the_lowest_free_and_stay_the_pods_own() -> None:
    addresses = Addresses("127.9.0.0/16")
    assert addresses.take("a") == Pair("127.9.0.1", "127.9.1.1")
    assert addresses.take("b", "127.9.0.7") == Pair("127.9.0.7", "127.9.1.7")
    assert addresses.take("c").pod_ip == "127.9.0.2"
    assert addresses.take("b").pod_ip == "127.9.0.7"
    addresses.release("a")
    assert addresses.take("d").pod_ip == "127.9.0.1"


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        *(("127.9.0.7", "belongs to another pod"), ("127.8.0.7", "not of this lab")),
        *(("127.9.1.7", "not of this lab"), ("here", "not an IPv4 address")),
    ],
)
def test_an_address_that_cannot_be_had_is_refused(wanted: str, why: str) -> None:
    addresses = Addresses("127.9.0.0/16")
    addresses.take("other", "127.9.0.7")
    with pytest.raises(NoAddressError, match=why):
        addresses.take("a", wanted)


def test_a_pod_of_a_set_has_the_address_its_number_after_the_first_one_s() -> None:
    addresses = Addresses("127.9.0.0/16")
    assert [addresses.take(f"web-{n}", "127.9.0.7", n).pod_ip for n in (2, 0, 1)] == [
        "127.9.0.9",
        "127.9.0.7",
        "127.9.0.8",
    ]
    with pytest.raises(NoAddressError, match=r"127\.9\.0\.7 \+ 1 belongs to another pod"):
        addresses.take("another", "127.9.0.7", 1)
    with pytest.raises(NoAddressError, match=r"127\.9\.0\.7 \+ 250 is not of this lab"):
        addresses.take("another", "127.9.0.7", 250)


def test_a_full_block_says_so() -> None:
    addresses = Addresses("127.9.0.0/16")
    for number in range(254):
        addresses.take(str(number))
    with pytest.raises(NoAddressError, match="all 254"):
        addresses.take("one more")


def test_pauses_start_at_once_double_and_are_forgiven() -> None:
    pause = RestartPause()
    assert [pause.after(1.0) for _ in range(9)] == [0, 0.5, 1, 2, 4, 8, 16, 30, 30]
    assert pause.after(60.0) == 0
    assert pause.after(1.0) == 0.5


@given(st.lists(st.floats(0, 100), max_size=40))
def test_a_pause_is_never_longer_than_the_limit(runs: list[float]) -> None:
    pause = RestartPause()
    assert all(0 <= pause.after(ran_s) <= 30 for ran_s in runs)


def test_a_rule_reaches_exactly_the_members_of_its_set() -> None:
    sets = [
        IPSet("net", "hash:net", cidrs=("10.0.0.1/32",)),
        IPSet("ported", "hash:net,port", cidr_and_ports=(CidrAndPort("10.0.0.2/32", 80),)),
        IPSet("both", "list:set", set_names=("net", "ported")),
    ]
    (rule,) = rules_of(sets, [], [Tc(netem=Netem(time="50ms"), ipset="both")])
    assert rule.settings == {"time": "50ms"}
    reached = [
        rule.touches(Peer(IPv4Address(address), port))
        for address, port in (("10.0.0.1", 1), ("10.0.0.2", 80), ("10.0.0.2", 81), ("10.0.0.3", 80))
    ]
    assert reached == [True, True, False, False]


def test_a_rule_with_an_empty_set_reaches_nobody_and_one_without_reaches_all() -> None:
    (empty,) = rules_of([IPSet("none", "hash:net")], [], [Tc(netem=Netem(time="1ms"), ipset="none")])
    (everybody,) = rules_of([], [], [Tc(netem=Netem(time="1ms"))])
    peer = Peer(IPv4Address("10.0.0.1"), 1)
    assert (empty.touches(peer), everybody.touches(peer)) == (False, True)


def test_a_chain_is_a_rule_on_its_side_of_the_pod() -> None:
    sets = [IPSet("peers", "hash:net", cidrs=("10.0.0.1/32",))]
    chains = [
        Chain("OUTPUT/x", "OUTPUT", ("peers",), "DROP"),
        Chain("INPUT/x", target="DROP"),
        Chain("INPUT/y", ipsets=("peers",), target="RESET"),
    ]
    out, everybody, reset = rules_of(sets, chains, [])
    one, other = Peer(IPv4Address("10.0.0.1"), 1), Peer(IPv4Address("10.0.0.2"), 1)
    assert [(rule.kind, rule.ingress) for rule in (out, everybody, reset)] == [
        ("drop", False),
        ("drop", True),
        ("reset", True),
    ]
    assert [rule.touches(one) for rule in (out, everybody, reset)] == [True, True, True]
    assert [rule.touches(other) for rule in (out, everybody, reset)] == [False, True, False]


@pytest.mark.parametrize(
    ("chains", "tcs", "why"),
    [
        ([], [Tc(type="BANDWIDTH")], "type BANDWIDTH"),
        ([], [Tc(netem=Netem(time="1ms"), device="eth7")], "no network device 'eth7'"),
        ([], [Tc(netem=Netem(time="1ms"), ipset="gone")], "does not define it"),
        ([Chain("c", ipsets=("gone",), target="DROP")], [], "does not define it"),
        ([Chain("c", target="DROP", device="eth7")], [], "no network device 'eth7'"),
        ([Chain("c", target="REJECT")], [], "not INPUT with REJECT"),
        ([Chain("c", "FORWARD", target="DROP")], [], "not FORWARD with DROP"),
    ],
)
def test_what_cannot_be_done_is_refused(chains: list[Chain], tcs: list[Tc], why: str) -> None:
    with pytest.raises(DaemonError, match=why):
        rules_of([], chains, tcs)
