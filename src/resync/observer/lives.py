"""Which life of an engine an index describes.

An index view names the last applied sequence, not the incarnation it belongs to, and a new life of an
engine counts from 0 again. Comparing an index of the old life with the new life's truth at the same number
would compare two unrelated things, and could even come out equal. So the observer remembers, per gateway
and pod, the incarnation whose truth the index was last compared with, and decides anew when the incarnation
changes:

    the number fell back, or there is none    the gateway has noticed: the index is of the new life
    anything else                             it has not: every entry describes blocks that died before

A number that is ahead of everything published can only be of an old life, even where no earlier cut is
remembered. When a very short old life was overtaken between two cuts the second row would be wrong; an
index that equals the new truth exactly is therefore taken as of the new life (`adopt`).

Restart without any sign in the stream: vLLM `v1/core/kv_cache_utils.py` and `distributed/kv_events.py`
(sequence from 0, no epoch).
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class _Remembered:
    incarnation: str
    applied_seq: int


class Lives:
    """The memory for one gateway: incarnation and applied sequence per pod, as of the last cut."""

    def __init__(self) -> None:
        self._pods: dict[str, _Remembered] = {}

    def is_old_life(self, pod_key: str, *, incarnation: str, applied_seq: int, published_seq: int) -> bool:
        """True when the index for this pod cannot describe `incarnation`. Changes nothing."""
        before = self._pods.get(pod_key)
        if before is not None and before.incarnation == incarnation:
            return False
        if applied_seq > published_seq:
            return True
        return before is not None and applied_seq >= max(before.applied_seq, 0)

    def adopt(self, pod_key: str, *, incarnation: str, applied_seq: int) -> None:
        """Remember that the index for this pod describes `incarnation`."""
        self._pods[pod_key] = _Remembered(incarnation, applied_seq)

    def forget_all_but(self, pod_keys: AbstractSet[str]) -> None:
        """Drop the memory of pods that are gone, so that it stays as small as the fleet."""
        for gone in self._pods.keys() - pod_keys:
            del self._pods[gone]
