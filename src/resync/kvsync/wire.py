"""The wire of KV events: published payloads and frames <-> typed records. Everything the peers may use.

`dialects`: what has been published, release by release - `decoding`: payload -> batch, fast - `salvaging`:
the same for what is new, foreign or broken - `encoding`: batch -> payload - `frames`: the ZeroMQ frames
around them.
"""

from resync.kvsync.decoding import decode_batch
from resync.kvsync.dialects import DIALECTS, Dialect, HashForm, WireForm
from resync.kvsync.encoding import BYTES_HASH_LENGTH, encode_batch
from resync.kvsync.frames import (
    END_SEQ,
    LIVE_FRAMES,
    REPLAY_FRAMES,
    SEQ_BYTES,
    end_frames,
    live_frames,
    parse_live,
    parse_replay,
    parse_replay_request,
    replay_frames,
    replay_request,
)

__all__ = [
    "BYTES_HASH_LENGTH",
    "DIALECTS",
    "END_SEQ",
    "LIVE_FRAMES",
    "REPLAY_FRAMES",
    "SEQ_BYTES",
    "Dialect",
    "HashForm",
    "WireForm",
    "decode_batch",
    "encode_batch",
    "end_frames",
    "live_frames",
    "parse_live",
    "parse_replay",
    "parse_replay_request",
    "replay_frames",
    "replay_request",
]
