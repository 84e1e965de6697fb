"""How well does it work while much happens? Each judges the window in which the fault was proven."""

from resync.run.activities import judged

__all__ = ["applied_events_per_s", "apply_latency_p99_ms", "failed_request_share"]


def applied_events_per_s(run_id: str) -> float:
    """Events the gateway applied a second, of all engines. Raises RunError without a run or samples."""
    return judged(run_id, "throughput", "fault")


def apply_latency_p99_ms(run_id: str) -> float:
    """The 99th percentile of the time to apply a batch, milliseconds, an upper bound; the worst engine.

    Raises RunError without a run or samples.
    """
    return judged(run_id, "apply-latency", "fault")


def failed_request_share(run_id: str) -> float:
    """The share of requests that ended in anything but 200. Raises RunError without a run or requests."""
    return judged(run_id, "request-errors", "fault")
