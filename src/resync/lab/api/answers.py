"""How an object is shown: whole, as a Table, as metadata alone, or under another API group's names."""

from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import web

from resync.kits.clocks import Clock
from resync.lab.api import errors, tables
from resync.lab.api.objects import JsonObject, encode, metadata
from resync.lab.api.resources import Resource
from resync.lab.api.store import Item
from resync.lab.api.updating import stored_api_version

_JSON = "application/json"
_SPOKEN = frozenset({_JSON, "application/*", "*/*", ""})


def object_answer(body: JsonObject, code: int = 200) -> web.Response:
    """An object as the JSON answer to a request."""
    return raw_answer(encode(body), code)


def raw_answer(raw: bytes, code: int = 200) -> web.Response:
    """Encoded JSON as the answer to a request."""
    return web.Response(body=raw, status=code, content_type=_JSON)


@dataclass(slots=True)
class Renderer:
    """The form one client asked for, for one kind.

    `form` is Table, PartialObjectMetadata or empty for whole objects.
    """

    resource: Resource
    clock: Clock
    form: str = ""
    include: str = "Metadata"

    @classmethod
    def asked(cls, request: web.Request, resource: Resource, clock: Clock) -> "Renderer":
        """The form that the Accept header asks for. Raises ApiError 406."""
        form = _form(request.headers.get("Accept", ""))
        return cls(resource, clock, form, request.query.get("includeObject", "Metadata"))

    def one(self, item: Item, code: int = 200) -> web.Response:
        """One object."""
        return raw_answer(self.encoded(item), code)

    def encoded(self, item: Item) -> bytes:
        """One object, encoded."""
        if self.form == "Table":
            return encode(self._table([item], item.version))
        if self.form:
            return encode(tables.partial(item.body))
        return encode(self._renamed(item.body)) if self._is_other_form(item) else item.raw

    def many(self, items: Sequence[Item], version: int) -> web.Response:
        """A list at a version."""
        if self.form == "Table":
            return object_answer(self._table(items, version))
        kind, api_version = self.resource.list_kind, self.resource.api_version
        if self.form:
            kind, api_version = "PartialObjectMetadataList", "meta.k8s.io/v1"
        head = encode(
            {"kind": kind, "apiVersion": api_version, "metadata": {"resourceVersion": str(version)}}
        )
        return raw_answer(b'%s,"items":[%s]}' % (head[:-1], b",".join(self.encoded(item) for item in items)))

    def bookmark(self, version: int, *, initial_end: bool) -> bytes:
        """An empty object of the kind at a version: everything up to there has been sent."""
        found: JsonObject = {"resourceVersion": str(version), "creationTimestamp": None}
        if initial_end:
            found["annotations"] = {"k8s.io/initial-events-end": "true"}
        kind, api_version = self.resource.kind, self.resource.api_version
        if self.form:
            kind, api_version = self.form, "meta.k8s.io/v1"
        return encode({"kind": kind, "apiVersion": api_version, "metadata": found})

    def _table(self, items: Sequence[Item], version: int) -> JsonObject:
        bodies = [item.body for item in items]
        return tables.table(self.resource, bodies, str(version), self.clock.wall_s(), self.include)

    def _is_other_form(self, item: Item) -> bool:
        return bool(self.resource.renames) or item.body.get("apiVersion") != self.resource.api_version

    def _renamed(self, body: JsonObject) -> JsonObject:
        """Under this group's names; an event gets an eventTime, because the client insists on one."""
        names = self.resource.renames
        shown = {names.get(word, word): value for word, value in body.items()}
        if names and stored_api_version(self.resource) == "v1":
            created = str(metadata(body).get("creationTimestamp", "")).replace("Z", ".000000Z")
            shown["eventTime"] = shown.get("eventTime") or created
        return {**shown, "apiVersion": self.resource.api_version}


def _form(accept: str) -> str:
    """The first form in the Accept header that is spoken here."""
    for offer in accept.split(","):
        media, *parameters = (part.strip() for part in offer.split(";"))
        wanted = dict(part.partition("=")[::2] for part in parameters)
        form = wanted.get("as", "")
        if media in _SPOKEN and form in {"", "Table", "PartialObjectMetadata", "PartialObjectMetadataList"}:
            return form.removesuffix("List")
    raise errors.not_acceptable()
