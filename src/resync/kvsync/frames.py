"""The ZeroMQ frames around a batch: live, and asked for again.

Live: `[topic, seq, payload]`. Replay asks `[b"", start]` and is answered, as a DEALER sees it, by
`[b"", seq, payload]` up to vLLM 0.25 and `[b"", topic, seq, payload]` from 0.26 (vLLM PR 45177), then the
end marker, whose sequence is all ones. Sequences are 8 bytes, big-endian, unsigned.
"""

from collections.abc import Sequence
from typing import Final

from resync.kvsync.errors import WireError
from resync.kvsync.records import Message, ReplayEnd

SEQ_BYTES: Final = 8
END_SEQ: Final = b"\xff" * SEQ_BYTES
LIVE_FRAMES: Final = 3
REPLAY_FRAMES: Final = (3, 4)


def _seq_frame(seq: int) -> bytes:
    return seq.to_bytes(SEQ_BYTES, "big")


def _read_seq(frame: bytes, what: str) -> int:
    if len(frame) != SEQ_BYTES:
        raise WireError(f"the sequence frame of a {what} has {len(frame)} bytes, not {SEQ_BYTES}")
    return int.from_bytes(frame, "big")


def live_frames(message: Message) -> list[bytes]:
    """The three frames of a live batch."""
    return [message.topic, _seq_frame(message.seq), message.payload]


def parse_live(frames: Sequence[bytes]) -> Message:
    """The message in the frames that a SUB socket received. Raises WireError."""
    if len(frames) != LIVE_FRAMES:
        raise WireError(f"a live message has {len(frames)} frames, not {LIVE_FRAMES}")
    return Message(frames[0], _read_seq(frames[1], "live message"), frames[2])


def replay_request(start_seq: int) -> list[bytes]:
    """What a DEALER sends to ask for everything from `start_seq` on: the empty delimiter, then the number."""
    return [b"", _seq_frame(start_seq)]


def parse_replay_request(frames: Sequence[bytes]) -> tuple[bytes, int]:
    """The asking peer's identity and its start, from the frames that a ROUTER received.

    As lenient as vLLM: any delimiter, any length of number, an empty one means 0. Raises WireError where
    vLLM stays silent: not exactly `[identity, delimiter, start]`.
    """
    if len(frames) != LIVE_FRAMES:
        raise WireError(f"a replay request has {len(frames)} frames, not identity, delimiter and start")
    return frames[0], int.from_bytes(frames[2], "big")


def replay_frames(message: Message, *, topic_frame: bool = True) -> list[bytes]:
    """One replayed batch as a DEALER sees it; `topic_frame` from vLLM 0.26 on."""
    topic = [message.topic] if topic_frame else []
    return [b"", *topic, _seq_frame(message.seq), message.payload]


def end_frames(*, topic_frame: bool = True) -> list[bytes]:
    """The end marker as a DEALER sees it."""
    return [b"", *([b""] if topic_frame else []), END_SEQ, b""]


def parse_replay(frames: Sequence[bytes]) -> Message | ReplayEnd:
    """The replayed message, or the end marker, in the frames that a DEALER received. Raises WireError."""
    if len(frames) not in REPLAY_FRAMES or frames[0]:
        raise WireError(f"a replay answer is an empty delimiter and 2 or 3 frames, not {len(frames)} frames")
    *topic, seq, payload = frames[1:]
    if seq == END_SEQ:
        return ReplayEnd()
    return Message(topic[0] if topic else b"", _read_seq(seq, "replayed message"), payload)
