"""Data-parallel ranks: one server, several publishers, each a source of its own.

vLLM adds the rank to both ports; every rank counts its batches from 0, and the same block has the same hash
on each (recorded with two ranks). So each rank has its own numbers, its own index entries and its own
restarts. With ports as close as the usual 5557 and 5558, one rank's event port is another's replay port: vLLM
then fails to bind, and whoever dials by the rule reaches the wrong socket.
"""

import msgspec

from resync.kvsync.fleet import Source


def of_ranks(server: Source, size: int) -> tuple[Source, ...]:
    """The sources of a server with `size` ranks; rank 0 is `server` itself, r is called `<pod_key>#dp<r>`.

    Raises ValueError when the ports of the ranks overlap.
    """
    if 0 < abs(server.replay_port - server.event_port) < size:
        raise ValueError(
            f"{server.pod_key} has {size} ranks, but its event port {server.event_port} and its replay port"
            f" {server.replay_port} are closer than that: ranks would share ports. Move the replay port"
        )
    others = (
        msgspec.structs.replace(
            server,
            pod_key=f"{server.pod_key}#dp{rank}",
            event_port=server.event_port + rank,
            replay_port=server.replay_port + rank,
        )
        for rank in range(1, size)
    )
    return (server, *others)
