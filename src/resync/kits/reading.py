"""Reading bytes and objects into records, from any thread.

What msgspec knows of a record it finds out when the record is first used, and other threads see it half found
out: one that reads the same record at that moment follows a null pointer, and the process is gone (msgspec
0.22.0, `StructInfo`, which is shared before its fields' types are in it). An observer died of it: its two
watches list pods at the same moment. So a record is found out about under one lock, and then only read.

The processes of the lab, the engine and the load read on one thread and need none of this; everybody else
reads records here, as tests/repository/test_tidy.py has it.
"""

import threading
from typing import Any, Final, TypeVar

import msgspec

T = TypeVar("T")

_FINDING_OUT: Final = threading.Lock()
_DECODERS: Final[dict[Any, msgspec.json.Decoder[Any]]] = {}
"""By record; as many as there are kinds of records."""


def read_json(body: bytes | str, kind: type[T]) -> T:
    """`body` as `kind`.

    Raises msgspec.ValidationError when it is something else, msgspec.DecodeError when it is not JSON.
    """
    return _decoder(kind).decode(body)


def read_object(found: object, kind: type[T]) -> T:
    """An object of plain types as `kind`. Raises msgspec.ValidationError when it is something else."""
    _decoder(kind)
    return msgspec.convert(found, kind)


def _decoder(kind: type[T]) -> msgspec.json.Decoder[T]:
    with _FINDING_OUT:
        if kind not in _DECODERS:
            _DECODERS[kind] = msgspec.json.Decoder(kind)
        return _DECODERS[kind]
