"""Data-parallel ranks: one server, several publishers, each a source of its own.

vLLM adds the rank to both ports; every rank counts its batches from 0, and the same block has the same hash
on each (recorded with two ranks). So each rank has its own numbers, its own index entries and its own
restarts. With ports as close as the usual 5557 and 5558, one rank's event port is another's replay port: vLLM
then fails to bind, and whoever dials by the rule reaches the wrong socket.

A prefix is of use only on the rank that holds it, so a request has to name its rank: vLLM reads the header
`X-data-parallel-rank` (vLLM, `vllm/entrypoints/openai/engine/serving.py`, `_get_data_parallel_rank`).
"""

from typing import Final

import msgspec

from resync.kvsync.source import Source

RANK_HEADER: Final = "X-data-parallel-rank"
RANKS_MAX: Final = 128
"""No one server has more; each costs its follower two connections."""
PORT_MAX: Final = 65535


def of_ranks(server: Source, size: int) -> tuple[Source, ...]:
    """The sources of a server with `size` ranks: `server` itself where that is 1.

    Of several, rank 0 keeps the server's name, and r is called `<pod_key>#dp<r>`. Raises ValueError when the
    ports of the ranks overlap, when there are no such ports, and for more than `RANKS_MAX` ranks.
    """
    if size == 1:
        return (server,)
    if size > RANKS_MAX:
        raise ValueError(f"{server.pod_key} has {size} ranks, more than {RANKS_MAX}. Count them")
    if max(server.event_port, server.replay_port) + size - 1 > PORT_MAX:
        raise ValueError(f"{server.pod_key} has {size} ranks, with ports beyond {PORT_MAX}. Move the ports")
    if 0 < abs(server.replay_port - server.event_port) < size:
        raise ValueError(
            f"{server.pod_key} has {size} ranks, but its event port {server.event_port} and its replay port"
            f" {server.replay_port} are closer than that: ranks would share ports. Move the replay port"
        )
    return tuple(
        msgspec.structs.replace(
            server,
            pod_key=f"{server.pod_key}#dp{rank}" if rank else server.pod_key,
            event_port=server.event_port + rank,
            replay_port=server.replay_port + rank,
            rank=rank,
        )
        for rank in range(size)
    )
