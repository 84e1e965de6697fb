"""Which hooks of the control Chaos Toolkit has called, and how many activities each of our two witnesses saw.

Chaos Toolkit drops a hook that is misspelt, replaced or of another signature without a word. So every hook
leaves a mark, activities are counted by the hooks and by the event handler (`resync.run.watching`), and a run
that lacks a mark, or whose witnesses disagree, was not guarded all along.
"""

from collections import Counter

HOOKS = (
    "configure_control",
    "before_experiment_control",
    "before_hypothesis_control",
    "after_hypothesis_control",
    "before_method_control",
    "after_method_control",
    "before_rollback_control",
    "after_rollback_control",
    "before_activity_control",
    "after_activity_control",
    "after_experiment_control",
    "cleanup_control",
)
"""Every hook a healthy run calls; one that left no mark did not do its work."""

ACTIVITIES = ("begun", "ended", "completed")
"""An activity began and ended, by the hooks; it was completed, by the event handler."""

_marks: Counter[str] = Counter()
_counts: Counter[str] = Counter()


def mark(hook: str) -> None:
    """A hook was called."""
    _marks[hook] += 1


def count(what: str) -> None:
    """One more of ACTIVITIES."""
    _counts[what] += 1


def missed() -> str:
    """What Chaos Toolkit did not tell us in a run that reached its end; empty when nothing."""
    silent = [hook for hook in HOOKS if not _marks[hook]]
    if silent:
        return f"the control's hook {silent[0]} did not run"
    counts = {name: _counts[name] for name in ACTIVITIES}
    return f"the control's hooks missed activities: {counts}" if len(set(counts.values())) > 1 else ""
