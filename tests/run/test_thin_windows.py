"""How many samples of a window may be missing before nothing is judged by the rest."""

import pytest

from resync.run.observations import Series
from resync.run.records import SamplesTaken
from resync.run.samples import Samples

pytestmark = pytest.mark.unit

INTERVAL_S = 0.25


def covered(scrapes: int, missed: int, *, since_s: float = 100.0) -> Samples:
    """A window of so many scrapes, of which the ones in the middle are not there."""
    times = [since_s + (n + 0.5) * INTERVAL_S for n in range(scrapes)]
    middle = scrapes // 2
    kept = [t for n, t in enumerate(times) if not middle <= n < middle + missed]
    series = Series(metric="up", labels={"pod_key": "default/engine-0"}, points=[(t, 1.0) for t in kept])
    window = (since_s, since_s + scrapes * INTERVAL_S)
    return Samples(
        SamplesTaken(
            at=window[1], phase="fault", window=window, interval_s=INTERVAL_S, series=[series], instrument=[]
        )
    )


@pytest.mark.parametrize(
    ("scrapes", "missed", "thin"),
    [
        (10, 0, False),
        (10, 1, False),
        (10, 2, True),
        (40, 2, False),
        (40, 3, True),
        (400, 20, False),
        (400, 21, True),
    ],
)
def test_one_missed_scrape_spoils_no_window_and_a_twentieth_of_them_none_either(
    scrapes: int, missed: int, *, thin: bool
) -> None:
    cover = covered(scrapes, missed).coverage("up")
    assert (cover.missed, cover.thin) == (missed, thin)


def test_where_nothing_is_there_all_of_it_is_missed() -> None:
    cover = covered(10, 0).coverage("down")
    assert (cover.share, cover.missed, cover.thin) == (0.0, 10, True)
