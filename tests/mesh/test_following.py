"""A list that never ends: whatever happens to the watch, what is there and what went is told once."""

import asyncio
import json
from pathlib import Path

import pytest
import yaml
from aiohttp import web

from resync.lab.kube import PODS, Kube, KubeconfigError, Object, RefusedError, Verb, key_of

pytestmark = pytest.mark.integration


def pod(name: str, version: str) -> Object:
    return {"metadata": {"name": name, "namespace": "x", "uid": name, "resourceVersion": version}}


GONE = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old resource version"}}
BOOKMARK = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}}
LISTS = [[pod("a", "1"), pod("b", "2")], [pod("b", "2"), pod("c", "3")], [pod("c", "4")]]
WATCHES: list[list[Object | None]] = [[BOOKMARK, GONE], [None], []]
"""What each watch says; None breaks the connection in the middle of a line."""


class Server:
    """An API that lists and watches by script."""

    def __init__(self) -> None:
        self.lists = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            items = LISTS[min(self.lists, len(LISTS) - 1)]
            self.lists += 1
            return web.json_response({"metadata": {"resourceVersion": "9"}, "items": items})
        response = web.StreamResponse()
        await response.prepare(request)
        for event in WATCHES[min(self.lists, len(WATCHES)) - 1]:
            text = json.dumps(event) + "\n" if event is not None else '{"type": "MOD'
            await response.write(text.encode())
        if self.lists == len(LISTS):
            await asyncio.Event().wait()
        return response


def kubeconfig(folder: Path, port: int) -> Path:
    path = folder / "kubeconfig"
    config = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k"}}],
        "clusters": [{"name": "k", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
    }
    path.write_text(yaml.safe_dump(config))
    return path


def test_a_watch_that_expires_or_breaks_is_mended_by_a_new_list(tmp_path: Path) -> None:
    async def scenario() -> list[tuple[Verb, str]]:
        server, application = Server(), web.Application()
        application.router.add_get("/api/v1/pods", server.answer)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        told = []
        async with Kube.connect(kubeconfig(tmp_path, runner.addresses[0][1])) as kube:
            async for change in kube.follow(PODS):
                told.append((change.verb, key_of(change.object)[1] if change.object else ""))
                if len(told) == 9:
                    break
            with pytest.raises(RefusedError, match="405"):
                await kube.patch(PODS, None, "", {})
        await runner.cleanup()
        return told

    assert asyncio.run(scenario()) == [
        *((Verb.PRESENT, "a"), (Verb.PRESENT, "b"), (Verb.SYNCED, "")),
        *((Verb.DELETED, "a"), (Verb.PRESENT, "c"), (Verb.SYNCED, "")),
        *((Verb.DELETED, "b"), (Verb.PRESENT, "c"), (Verb.SYNCED, "")),
    ]


def test_an_unusable_kubeconfig_says_so(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_text("{}")
    for path in (empty, tmp_path / "absent"):
        with pytest.raises(KubeconfigError, match="not a usable kubeconfig"):
            Kube.connect(path)
