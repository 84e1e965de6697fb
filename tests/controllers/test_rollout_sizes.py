"""The sizes of a rolling update: pods come up in every order that hypothesis finds."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resync.lab.controllers.rollouts import Leeway, Share, leeway, next_sizes

COUNTS = st.integers(0, 6)
LEEWAYS = st.builds(Leeway, COUNTS, COUNTS).filter(lambda one: one.surge or one.unavailable)


@pytest.mark.parametrize(
    ("wanted", "surge", "unavailable", "expected"),
    [
        (1, "25%", "25%", Leeway(1, 0)),
        (10, "25%", "25%", Leeway(3, 2)),
        (4, 0, 0, Leeway(0, 1)),
        (3, 2, "50%", Leeway(2, 1)),
    ],
)
def test_percentages_of_surge_round_up_and_of_unavailable_down(
    wanted: int, surge: int | str, unavailable: int | str, expected: Leeway
) -> None:
    assert leeway(wanted, surge, unavailable) == expected


def test_what_is_not_available_goes_before_what_is() -> None:
    old = [Share("sick", 2, 0), Share("well", 2, 2)]
    assert next_sizes(3, Share("new", 1, 1), old, Leeway(2, 0)) == {"sick": 0}


@given(wanted=COUNTS, allowed=LEEWAYS, old=st.lists(COUNTS, max_size=3), data=st.data())
def test_any_rollout_ends_within_its_limits(
    wanted: int, allowed: Leeway, old: list[int], data: st.DataObject
) -> None:
    shares = {name: Share(name, size, size) for name, size in zip("abc", old, strict=False)}
    shares["new"] = Share("new", 0, 0)
    most = max(wanted + allowed.surge, sum(old))
    for _ in range(200):
        before = sum(one.available for one in shares.values())
        olds = [one for name, one in shares.items() if name != "new"]
        sizes = next_sizes(wanted, shares["new"], olds, allowed)
        for name, size in sizes.items():
            shares[name] = Share(name, size, min(size, shares[name].available))
        available = sum(one.available for one in shares.values())
        assert sum(one.replicas for one in shares.values()) <= most
        assert available >= min(before, wanted - allowed.unavailable)
        waking = [name for name, one in shares.items() if one.available < one.replicas]
        if not sizes and not waking:
            break
        if waking:
            name = data.draw(st.sampled_from(waking))
            shares[name] = replace(shares[name], available=shares[name].available + 1)
    assert {name: one.available for name, one in shares.items() if one.replicas} == (
        {"new": wanted} if wanted else {}
    )
