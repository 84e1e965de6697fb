"""What objects of every kind say of themselves (Kubernetes API, meta/v1), as typed records.

The records are for the controllers and the mesh. The node reads fewer of these fields, and of pods only.
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:  # the client brings aiohttp with it, and who plans pods needs neither
    from resync.lab.kube import Object, Resource

ADDRESS: Final = "resync.dev/address"
"""Annotation of a pod, ours: the address it is to have, known before it exists.

A pod with a number in a StatefulSet has the one so many after it.
"""


class _Part(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A part of an object as the API writes it."""


class OwnerReference(_Part, frozen=True, kw_only=True, omit_defaults=True):
    """Who an object belongs to."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool = False
    block_owner_deletion: bool = False


class Metadata(_Part, frozen=True, kw_only=True):
    """What every object has."""

    name: str
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: datetime = datetime.fromtimestamp(0, UTC)
    deletion_timestamp: datetime | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    finalizers: list[str] = []
    owner_references: list[OwnerReference] = []

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"

    @property
    def terminating(self) -> bool:
        """Deletion was asked for."""
        return self.deletion_timestamp is not None

    @property
    def controller(self) -> OwnerReference | None:
        """The one owner that manages it."""
        return next((owner for owner in self.owner_references if owner.controller), None)

    def reference(self, resource: "Resource") -> OwnerReference:
        """How an object that this one manages names it."""
        return OwnerReference(
            api_version=resource.api_version,
            kind=resource.kind,
            name=self.name,
            uid=self.uid,
            controller=True,
            block_owner_deletion=True,
        )


def metadata_of(item: "Object") -> Metadata:
    """Whose an object of any kind is and whether it goes; a field that is null counts as absent."""
    return msgspec.convert(
        {word: value for word, value in item["metadata"].items() if value is not None}, Metadata
    )


def stamp(wall_s: float) -> str:
    """A time as the API writes it: RFC 3339 in whole seconds."""
    return datetime.fromtimestamp(wall_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
