"""Were the sequence gaps closed, by replays that were complete, and is no batch unaccounted for?"""

from resync.run.activities import judged

__all__ = ["failed_replays", "unaccounted_batches", "unrepaired_gaps"]


def unrepaired_gaps(run_id: str) -> float:
    """Gaps seen since the fault was injected and never closed; the worst engine.

    A gap is closed by a complete replay, or by a purge that says so. Call it after
    `probes.recovery.converged_s`, which takes the samples. Raises RunError without a run or samples.
    """
    return judged(run_id, "gaps", "recovery")


def failed_replays(run_id: str) -> float:
    """Replays since the injection that did not bring what they were asked for; the worst targeted engine.

    Raises RunError without a run or samples, and where no replay was asked for: then nothing is shown.
    """
    return judged(run_id, "replays", "recovery")


def unaccounted_batches(run_id: str) -> float:
    """Batches of an engine's present life that are neither applied, superseded nor provably lost; the worst.

    From exact sequence numbers, per incarnation: a sum that closes is 0. Call it after
    `probes.recovery.converged_s`. Raises RunError without a run or samples.
    """
    return judged(run_id, "ledger", "recovery")
