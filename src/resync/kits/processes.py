"""Whether a process that wrote its number down is still that process: numbers are given again.

So it is told apart by when it was started, in the kernel's own ticks (proc(5), field 22 of stat).
"""

from pathlib import Path

import msgspec

_START_TICKS_FIELD = 22
_FIELDS_BEFORE_STATE = 2


class Holder(msgspec.Struct, frozen=True):
    """A process, told apart from a later one with the same number."""

    pid: int
    pid_start_ticks: int

    def is_alive(self) -> bool:
        """Whether that very process still runs."""
        return start_ticks(self.pid) == self.pid_start_ticks


def start_ticks(pid: int) -> int:
    """When that process was started, in clock ticks since boot; -1 when it does not run (zombies do not)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return -1
    return -1 if fields[0] == "Z" else int(fields[_START_TICKS_FIELD - _FIELDS_BEFORE_STATE - 1])
