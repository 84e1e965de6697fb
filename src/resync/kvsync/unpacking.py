"""Reading MessagePack by hand, from its specification: slow, and sharing nothing with the decoder it judges.

Text is kept as it is, whether or not it is UTF-8 (lone bytes as surrogates), and a map's key that is no text
becomes one that cannot be the name of a field. What to make of the values is for `rereading`.
"""

import struct
from collections.abc import Mapping
from typing import Final, TypeAlias

from resync.kvsync.errors import WireError

Value: TypeAlias = "bool | int | float | str | bytes | list[Value] | dict[str, Value] | None"

# By first byte: whole values; numbers; what follows with its size; what follows with the format of its size.
_VALUES: Final[Mapping[int, int | bool | None]] = {
    **{first: first for first in range(0x80)},
    **{first: first - 0x100 for first in range(0xE0, 0x100)},
    0xC0: None,
    0xC2: False,
    0xC3: True,
}
_NUMBERS: Final = {
    0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q",
    0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q",
}  # fmt: skip
_SMALL: Final = {
    **{0x80 + size: ("map", size) for size in range(0x10)},
    **{0x90 + size: ("array", size) for size in range(0x10)},
    **{0xA0 + size: ("str", size) for size in range(0x20)},
    0xD4: ("ext", 1), 0xD5: ("ext", 2), 0xD6: ("ext", 4), 0xD7: ("ext", 8), 0xD8: ("ext", 16),
}  # fmt: skip
_SIZED: Final = {
    0xC4: ("bin", ">B"), 0xC5: ("bin", ">H"), 0xC6: ("bin", ">I"),
    0xC7: ("ext", ">B"), 0xC8: ("ext", ">H"), 0xC9: ("ext", ">I"),
    0xD9: ("str", ">B"), 0xDA: ("str", ">H"), 0xDB: ("str", ">I"),
    0xDC: ("array", ">H"), 0xDD: ("array", ">I"), 0xDE: ("map", ">H"), 0xDF: ("map", ">I"),
}  # fmt: skip


def unpack(data: bytes) -> Value:
    """The one value in `data`. Raises WireError, with the byte offset, for none and for more than one."""
    cursor = _Cursor(data)
    try:
        value = cursor.value()
    except RecursionError as error:
        raise WireError(f"nesting without end (byte {cursor.at})") from error
    if cursor.at != len(data):
        raise WireError(f"trailing bytes (byte {cursor.at})")
    return value


class _Cursor:
    def __init__(self, data: bytes) -> None:
        self.at = 0
        self._data = data

    def value(self) -> Value:
        first = self._take(1)[0]
        if first in _VALUES:
            return _VALUES[first]
        if first in _NUMBERS:
            return self._number(_NUMBERS[first])
        if first in _SMALL:
            return self._body(*_SMALL[first])
        if first in _SIZED:
            kind, size_format = _SIZED[first]
            return self._body(kind, int(self._number(size_format)))
        raise WireError(f"invalid first byte {first:#x} (byte {self.at - 1})")

    def _body(self, kind: str, size: int) -> Value:
        match kind:
            case "array":
                return [self.value() for _ in range(size)]
            case "map":
                return dict([self._pair() for _ in range(size)])
            case "str":
                return self._take(size).decode(errors="surrogateescape")
            case "bin":
                return self._take(size)
        return {"ext": self._take(1 + size)}

    def _pair(self) -> tuple[str, Value]:
        at = self.at
        key = self.value()
        return key if isinstance(key, str) else f"\udcff (byte {at})", self.value()

    def _number(self, size_format: str) -> int | float:
        number: int | float = struct.unpack(size_format, self._take(struct.calcsize(size_format)))[0]
        return number

    def _take(self, count: int) -> bytes:
        taken = self._data[self.at : self.at + count]
        if len(taken) < count:
            raise WireError(f"the data ends too early (byte {len(self._data)})")
        self.at += count
        return taken
