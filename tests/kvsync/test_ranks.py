"""Each data-parallel rank is a source of its own: ports and name."""

import pytest

from resync.kvsync import ranks
from resync.kvsync.fleet import Source

pytestmark = pytest.mark.unit

SERVER = Source("default/engine-0", "10.0.0.1", 15557, 15567, "uid", "llama2-7b")


def test_a_server_without_ranks_is_one_source() -> None:
    assert ranks.of_ranks(SERVER, 1) == (SERVER,)


def test_every_rank_has_both_ports_moved_by_its_number_and_a_name_of_its_own() -> None:
    sources = ranks.of_ranks(SERVER, 3)
    assert [(one.pod_key, one.event_port, one.replay_port) for one in sources] == [
        ("default/engine-0", 15557, 15567),
        ("default/engine-0#dp1", 15558, 15568),
        ("default/engine-0#dp2", 15559, 15569),
    ]
    assert {(one.host, one.uid, one.model) for one in sources} == {("10.0.0.1", "uid", "llama2-7b")}


@pytest.mark.parametrize(("event_port", "replay_port"), [(5557, 5558), (5558, 5557)])
def test_ports_that_the_ranks_would_share_are_refused(event_port: int, replay_port: int) -> None:
    server = Source("default/engine-0", "10.0.0.1", event_port, replay_port)
    assert ranks.of_ranks(server, 1) == (server,)
    with pytest.raises(ValueError, match=r"has 2 ranks.*Move the replay port"):
        ranks.of_ranks(server, 2)
