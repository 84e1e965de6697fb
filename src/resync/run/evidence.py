"""The evidence of a run: an append-only file of records, from which the verdict is computed and can be again.

One JSON object a line, flushed to the disk before the run goes on, so that whatever happens to the process,
what it had seen is there. A line torn by a crash is the last one, and is left out by the reader: what was not
on disk was not seen.
"""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from resync.run.errors import EvidenceError
from resync.run.records import Record

RUNS_DIR_ENV = "RESYNC_RUNS_DIR"
FILE_NAME = "evidence.jsonl"

_ENCODER = msgspec.json.Encoder()
_DECODER: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)


def runs_dir() -> Path:
    """Where runs are kept: `$RESYNC_RUNS_DIR`, else `.resync/runs` below the working directory."""
    return Path(os.environ.get(RUNS_DIR_ENV) or Path(".resync") / "runs")


class EvidenceFile:
    """The append-only file of one run. Thread-safe; each append is on disk when it returns."""

    def __init__(self, path: Path) -> None:
        """Create the file.

        Raises EvidenceError when it cannot be, or exists: a run never continues another's evidence.
        """
        self.path = path
        # Re-entrant: a signal handler notes its signal, and may have interrupted this thread in `append`.
        self._lock = threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_WRONLY, 0o644)
        except OSError as error:
            raise EvidenceError(
                f"cannot create the evidence file {path}: {error.strerror}",
                next_step=f"free the path or point {RUNS_DIR_ENV} at a directory you can write to",
            ) from error

    def append(self, record: Record) -> None:
        """Put one record on disk. Raises EvidenceError when the disk refuses it."""
        line = _ENCODER.encode(record) + b"\n"
        try:
            with self._lock:
                _write_all(self._descriptor, line)
                os.fsync(self._descriptor)
        except OSError as error:
            raise EvidenceError(
                f"cannot write evidence to {self.path}: {error.strerror}", next_step="make room on that disk"
            ) from error

    def read(self) -> list[Record]:
        """Every record written so far."""
        return read(self.path)

    def close(self) -> None:
        """Give the descriptor back; appending afterwards is an error of the caller."""
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        """The file itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()


def _write_all(descriptor: int, data: bytes) -> None:
    written = 0
    while written < len(data):
        written += os.write(descriptor, data[written:])


def read(path: Path) -> list[Record]:
    """The records in an evidence file, without a torn last line.

    Raises EvidenceError when there is no such file, or when a line before the last cannot be read: that is
    not a crash but a file somebody changed, or one of another version.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise EvidenceError(
            f"no evidence to read at {path}: {error.strerror}",
            next_step="name a run that exists: resync verdict RUN",
        ) from error
    return list(_decode(raw, path))


def _decode(raw: bytes, path: Path) -> Iterator[Record]:
    *whole, _torn = raw.split(b"\n")
    for number, line in enumerate(whole, start=1):
        try:
            yield _DECODER.decode(line)
        except msgspec.DecodeError as error:
            raise EvidenceError(
                f"{path}, line {number}, is not a record: {error}",
                next_step="judge the run with the version that wrote it",
            ) from error


def latest_run(directory: Path) -> Path:
    """The evidence file of the newest run below `directory`. Raises EvidenceError when there is none."""
    files = sorted(directory.glob(f"*/{FILE_NAME}"), key=lambda p: p.stat().st_mtime)
    if not files:
        raise EvidenceError(
            f"no run in {directory}", next_step="run an experiment first, from this directory"
        )
    return files[-1]
