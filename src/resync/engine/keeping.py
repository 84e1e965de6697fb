"""A KV cache that survives its process: one file per pod, written whole after every step that changed it.

vLLM loses its cache with its process; this stands for one that lives elsewhere (an offloading connector). The
file is replaced in one move, so a process that is killed leaves the blocks of its last finished step.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from resync.engine.errors import OptionsError
from resync.engine.hashing import FullBlock


class CacheFile:
    """What the slots of one pod held, the one to be reused first in front."""

    def __init__(self, directory: Path, pod_key: str) -> None:
        self.path = directory / f"{pod_key.replace('/', '_')}.kvcache"

    def load(self, *, block_size: int) -> list[FullBlock | None]:
        """What was kept; nothing when there is no file. Raises OptionsError when it is not of this engine."""
        if not self.path.exists():
            return []
        try:
            contents = msgspec.msgpack.decode(self.path.read_bytes(), type=list[FullBlock | None])
        except (OSError, msgspec.DecodeError) as error:
            raise OptionsError(f"--keep-cache: {self.path} cannot be read ({error}): remove it") from error
        if any(block is not None and len(block.tokens) != block_size for block in contents):
            raise OptionsError(
                f"--keep-cache: the blocks in {self.path} are not of {block_size} tokens: remove it"
            )
        return contents

    def save(self, contents: Sequence[FullBlock | None]) -> None:
        """Keep these. Raises OSError."""
        fresh = self.path.with_suffix(".new")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_bytes(msgspec.msgpack.encode(contents))
        os.replace(fresh, self.path)  # noqa: PTH105  the one call that is atomic by contract
