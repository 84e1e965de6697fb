"""When a TCP sender tries again: the schedule of a segment nobody acknowledges. Pure.

Linux's rule (RFC 6298 with the kernel's figures: TCP_RTO_MIN 200 ms, TCP_RTO_MAX 120 s,
`net/ipv4/tcp_timer.c`): the first retransmission after 0.2 s, then the pause doubles up to 120 s. So after
a cut of 5 s data flows again up to 1.4 s late, after one of a minute up to 51 s late. The kernel adds the
round-trip time to each pause; on the lab's network that is nothing.
"""

from itertools import accumulate, count
from typing import Final

RTO_FIRST_S: Final = 0.2
RTO_MAX_S: Final = 120.0


def pause_s(number: int) -> float:
    """The pause before the retransmission of this number, counted from 0."""
    return float(min(RTO_FIRST_S * 2.0 ** min(number, 16), RTO_MAX_S))


def after_losses_s(losses: int) -> float:
    """How long after it was first sent a segment gets through that was lost this often."""
    return sum(pause_s(number) for number in range(losses))


def next_try_s(sent_s: float, now_s: float) -> float:
    """The first retransmission after now of what was first sent at `sent_s`."""
    tries = accumulate(map(pause_s, count()), initial=sent_s)
    return next(at_s for at_s in tries if at_s > now_s)
