"""Raw samples from Prometheus, in the runner's time.

Windows are given and samples returned by the runner's clock: the difference to the server's is measured once
and taken out when it is more than the measurement's own noise. Credentials come from the environment only and
are never evidence.
"""

import contextlib
import itertools
import os
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from resync.kits.clocks import SystemClock
from resync.kits.shields import Shield
from resync.kits.waits import WaitTimeoutError, wait_until
from resync.metrics.access import PrometheusAccess
from resync.metrics.errors import CouldNotMeasureError, MetricsError
from resync.metrics.prometheus import Prometheus
from resync.run.errors import RefusedError, UnmeasuredError
from resync.run.observations import Series
from resync.run.samples import Window
from resync.run.settings import Settings

if TYPE_CHECKING:
    from resync.metrics.series import Series as Stored

HEARTBEAT = "resync_cuts_total"
"""The series by which the scrape interval is measured: every claim rests on the observer it comes from."""

INTERVAL_LOOKBACK_S = 120.0
INTERVAL_SAMPLES_MIN = 3
FIRST_SAMPLE_LIMIT_S = 15.0
OFFSET_NOISE_S = 0.05
NAME = "__name__"

_NEXT = "see that Prometheus runs and scrapes observer, gateway and load, then run again"


def access_of(url: str) -> PrometheusAccess:
    """How to reach Prometheus: the URL, and credentials from the environment. Raises RefusedError."""
    said = {
        key: os.environ.get(f"RESYNC_PROMETHEUS_{key}") or None for key in ("TOKEN", "USERNAME", "PASSWORD")
    }
    ca_file = os.environ.get("RESYNC_PROMETHEUS_CA")
    try:
        return PrometheusAccess(
            url=url,
            bearer_token=said["TOKEN"],
            username=said["USERNAME"],
            password=said["PASSWORD"],
            tenant=os.environ.get("RESYNC_PROMETHEUS_TENANT") or None,
            ca_file=Path(ca_file) if ca_file else None,
        )
    except MetricsError as error:
        raise RefusedError(
            str(error), next_step="correct RESYNC_PROMETHEUS_URL and what goes with it"
        ) from error


@contextlib.contextmanager
def _ours() -> Iterator[None]:
    try:
        yield
    except CouldNotMeasureError as error:
        raise UnmeasuredError(str(error), next_step=_NEXT) from error


class Scrapes:
    """One Prometheus, as a run asks it, each time inside `shield`."""

    def __init__(self, settings: Settings, shield: Shield) -> None:
        """Nothing is asked yet. Raises RefusedError for an address that cannot be one."""
        self._prometheus = Prometheus(access_of(settings.prometheus_url), shield=shield)
        self._clock = SystemClock()
        self._interval_s: float | None = None
        self._offset_s: float | None = None

    def interval_s(self) -> float:
        """The measured distance of samples; waits for the first ones after a start."""
        if self._interval_s is None:
            try:
                self._interval_s = wait_until(
                    self._measured_interval_s,
                    what="the first samples",
                    timeout_s=FIRST_SAMPLE_LIMIT_S,
                    every_s=0.25,
                )
            except WaitTimeoutError as error:
                raise UnmeasuredError(
                    f"Prometheus answers, but has no samples of {HEARTBEAT}", next_step=_NEXT
                ) from error
        return self._interval_s or 0.0

    def _measured_interval_s(self) -> float | None:
        now_s = self._clock.wall_s()
        found = self.series((HEARTBEAT,), (now_s - INTERVAL_LOOKBACK_S, now_s))
        times = max(([t for t, _ in s.points] for s in found), key=len, default=[])
        gaps = [b - a for a, b in itertools.pairwise(times)]
        return round(statistics.median(gaps), 3) if len(times) >= INTERVAL_SAMPLES_MIN else None

    def series(self, metrics: Sequence[str], window: Window) -> list[Series]:
        """Every stored sample of those metrics in `window`.

        Nothing at all is no error here: claims say what they lack.

        Raises UnmeasuredError when Prometheus does not answer, or not in full.
        """
        selector = f'{{{NAME}=~"{"|".join(metrics)}"}}'
        with _ours():
            offset_s = self._offset()
            found = self._prometheus.raw(selector, window[0] + offset_s, window[1] + offset_s, expect=0)
        return [_ours_of(one, offset_s) for one in found]

    def _offset(self) -> float:
        if self._offset_s is None:
            measured_s = self._prometheus.clock_offset().offset_s
            self._offset_s = measured_s if abs(measured_s) > OFFSET_NOISE_S else 0.0
        return self._offset_s

    def close(self) -> None:
        """Give connections back."""
        self._prometheus.close()


def _ours_of(stored: "Stored", offset_s: float) -> Series:
    labels = {key: value for key, value in stored.labels.items() if key != NAME}
    points = [(round(sample.ts_s - offset_s, 3), sample.value) for sample in stored.samples]
    return Series(metric=stored.labels.get(NAME, ""), labels=labels, points=points)
