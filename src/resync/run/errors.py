"""What can go wrong around an experiment, by whose turn it is to act.

    RunError
    |- NotArmedError      the activity was called outside a run that our control surrounds
    |- SettingsError      a setting has no meaning; nothing was touched
    |- RefusedError       the run must not start (or go on): nothing proven, with the next step
    |- UnmeasuredError    something had to be measured and could not be: nothing proven, with the next step
    `- EvidenceError      the evidence file cannot be written or read

Every one of them makes a run void, never passed. `RunInterrupted` is not among them: it is a signal on its
way out and derives from KeyboardInterrupt, because that is what Chaos Toolkit lets through every activity and
still runs rollbacks for (lib 1.44 swallows its own InterruptExecution inside a Python activity).
"""


class RunError(Exception):
    """Base of what this package raises; `next_step` is one sentence telling the reader what to do."""

    def __init__(self, message: str, *, next_step: str = "") -> None:
        super().__init__(message)
        self.next_step = next_step


class NotArmedError(RunError):
    """The activity was called without the control that gives a run its id, lease, evidence and verdict."""


class SettingsError(RunError):
    """A setting cannot be understood; the message names the variable that sets it."""


class RefusedError(RunError):
    """The run may not start or go on; nothing is proven."""


class UnmeasuredError(RunError):
    """Something that decides the verdict could not be measured; nothing is proven."""


class EvidenceError(RunError):
    """The evidence file cannot be written, found or read."""


class RunInterrupted(KeyboardInterrupt):
    """SIGINT, SIGTERM or SIGHUP arrived: unwind, heal, judge."""
