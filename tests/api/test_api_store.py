"""Versions, the bounded log and the bounded queue of a watcher."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resync.lab.api.errors import ApiError
from resync.lab.api.objects import JsonObject
from resync.lab.api.resources import from_definition
from resync.lab.api.store import Change, Store
from resync.lab.api.watching import Subscription, WatchOptions, subscribed

KIND = ("", "things")
RESOURCE = from_definition(
    {
        "spec": {
            "group": "",
            "scope": "Namespaced",
            "names": {"plural": "things", "kind": "Thing"},
            "versions": [{"name": "v1"}],
        }
    },
    custom=False,
)[0]


def _thing(name: str, app: str = "a") -> JsonObject:
    return {"metadata": {"name": name, "labels": {"app": app}}}


def _is_a(obj: JsonObject) -> bool:
    return bool(obj["metadata"]["labels"]["app"] == "a")


def test_one_counter_numbers_every_write_of_every_kind() -> None:
    store = Store()
    first = store.put(KIND, ("", "x"), _thing("x"))
    second = store.put(("", "others"), ("", "y"), _thing("y"))
    gone = store.remove(KIND, ("", "x"), _thing("x"))
    assert [first.version, second.version, gone.version] == [1, 2, 3]
    assert gone.body["metadata"]["resourceVersion"] == "3"


def test_the_log_reaches_back_a_bounded_way_and_says_so_beyond() -> None:
    store = Store(log_length_max=3)
    for number in range(5):
        store.put(KIND, ("", "x"), _thing(f"x{number}"))
    assert [change.item.version for change in store.shelf(KIND).since(2)] == [3, 4, 5]
    with pytest.raises(ApiError) as caught:
        store.shelf(KIND).since(1)
    assert (caught.value.code, caught.value.reason) == (410, "Expired")


def test_a_busy_kind_does_not_expire_the_watchers_of_a_quiet_one() -> None:
    store = Store(log_length_max=3)
    store.put(("", "quiet"), ("", "q"), _thing("q"))
    for _ in range(50):
        store.put(KIND, ("", "x"), _thing("x"))
    assert list(store.shelf(("", "quiet")).since(1)) == []


def test_a_version_that_never_was_is_gone_for_a_watcher() -> None:
    with pytest.raises(ApiError) as caught, subscribed(Store(), RESOURCE, lambda _: True, WatchOptions(7)):
        pass
    assert caught.value.code == 410


def test_an_object_that_stops_matching_is_deleted_for_the_watcher() -> None:
    store = Store()
    with subscribed(store, RESOURCE, _is_a, WatchOptions(None)) as seen:
        for app in ("b", "a", "a", "b", "b", "a"):
            store.put(RESOURCE.stored_as, ("", "x"), _thing("x", app))
        store.remove(RESOURCE.stored_as, ("", "x"), _thing("x"))
    assert [kind for kind, _ in seen.queue] == ["ADDED", "MODIFIED", "DELETED", "ADDED", "DELETED"]


def test_a_watcher_that_does_not_keep_up_loses_the_watch_not_the_server_its_memory() -> None:
    store = Store()
    slow = Subscription(lambda _: True, length_max=10)
    store.shelf(KIND).listeners.append(slow.see)
    for _ in range(1_000):
        store.put(KIND, ("", "x"), _thing("x"))
    assert slow.overrun
    assert len(slow.queue) == 0


def test_a_watch_that_ended_leaves_no_listener() -> None:
    store = Store()
    with subscribed(store, RESOURCE, _is_a, WatchOptions(None)):
        assert len(store.shelf(RESOURCE.stored_as).listeners) == 1
    assert store.shelf(RESOURCE.stored_as).listeners == []


WRITES = st.lists(
    st.tuples(st.sampled_from(["x", "y", "z"]), st.sampled_from(["a", "b", None])), min_size=1, max_size=30
)


@given(WRITES, st.data())
def test_list_then_watch_shows_what_a_later_list_shows(
    writes: list[tuple[str, str | None]], data: st.DataObject
) -> None:
    """Wherever the list is taken: it plus the changes since, seen through a selector, is the present."""
    store = Store()
    cut = data.draw(st.integers(0, len(writes)))
    for write in writes[:cut]:
        _do(store, write)
    shelf = store.shelf(RESOURCE.stored_as)
    known = {key: item.version for key, item in shelf.items.items() if _is_a(item.body)}
    version = store.version
    late = data.draw(st.integers(cut, len(writes)))
    for write in writes[cut:late]:
        _do(store, write)
    with subscribed(store, RESOURCE, _is_a, WatchOptions(version)) as seen:
        for write in writes[late:]:
            _do(store, write)
    for kind, item in seen.queue:
        key = ("", item.body["metadata"]["name"])
        assert (kind == "ADDED") == (key not in known)
        known[key] = item.version
        if kind == "DELETED":
            del known[key]
    assert known == {key: item.version for key, item in shelf.items.items() if _is_a(item.body)}


def _do(store: Store, write: tuple[str, str | None]) -> None:
    name, app = write
    key = ("", name)
    if app is not None:
        store.put(RESOURCE.stored_as, key, _thing(name, app))
    elif key in store.shelf(RESOURCE.stored_as).items:
        last = store.shelf(RESOURCE.stored_as).items[key].body
        store.remove(RESOURCE.stored_as, key, _thing(name, last["metadata"]["labels"]["app"]))


def test_a_change_carries_what_was_there_before() -> None:
    changes: list[Change] = []
    store = Store()
    store.shelf(KIND).listeners.append(changes.append)
    store.put(KIND, ("", "x"), _thing("x", "a"))
    store.put(KIND, ("", "x"), _thing("x", "b"))
    assert changes[0].before is None
    assert changes[1].before is changes[0].item
