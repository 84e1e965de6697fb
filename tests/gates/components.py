"""The branch coverage that the task document asks of each component, judged from coverage.py's JSON report.

`python tests/gates/components.py FILE` prints the shares and returns 1 below one of them. Measured in the
processes of the tests themselves (`components.ini`): all of these run there. What needs the coverage of every
process, the share of the whole, is `make coverage`.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

SOURCE: Final = "src/resync"


class Component(NamedTuple):
    """`files` are modules or, with a slash at the end, packages of src/resync."""

    title: str
    percent_min: int
    files: tuple[str, ...]


_SUBSCRIBER: Final = (
    "effects exactness inquiry ledger limits ranks standing subscriber tail transitions"
    " decoding dialects encoding errors frames records rereading salvaging unpacking wire"
)
COMPONENTS: Final = (
    Component("ZMQ client", 95, ("transport/", *(f"kvsync/{name}.py" for name in _SUBSCRIBER.split()))),
    Component(
        "sync hash indexer",
        90,
        tuple(f"kvsync/{name}.py" for name in ("index", "holdings", "matching", "chain")),
    ),
    Component("cache integration", 90, ("kvsync/fleet.py", "kvsync/source.py", "kvsync/configuration.py")),
    Component("event handlers", 95, ("kvsync/handlers.py",)),
    Component(
        "router with both indexers", 90, ("kvsync/router.py", "kvsync/localindex.py", "gateway/routing.py")
    ),
)
"""The titles and shares are those of the document's section "Unit Test Coverage"."""

OF_NO_COMPONENT: Final = ("kvsync/truth.py", "kvsync/folding.py", "kvsync/publisher.py")
"""The judge and the other side of the wire: the document has no line for them."""

OVERALL_MIN: Final = 90


def percent(summaries: list[Mapping[str, int]]) -> float:
    """Covered statements and branches of all there are, as coverage.py counts its total."""
    covered = sum(one["covered_lines"] + one["covered_branches"] for one in summaries)
    return 100 * covered / sum(one["num_statements"] + one["num_branches"] for one in summaries)


def shares(report: Mapping[str, Any]) -> Iterator[tuple[str, float, int]]:
    """Component, its share in percent, and the share it has to have."""
    for title, percent_min, files in COMPONENTS:
        paths = tuple(f"{SOURCE}/{name}" for name in files)
        own = [one["summary"] for path, one in report["files"].items() if path.startswith(paths)]
        yield title, percent(own), percent_min


def overall(report: Mapping[str, Any]) -> tuple[str, float, int]:
    """The share of the whole, and the share it has to have."""
    return "overall", percent([one["summary"] for one in report["files"].values()]), OVERALL_MIN


def main(report: Path, *, whole: bool = False) -> int:
    """Print the shares in `report`; 1 when one is too low."""
    measured = json.loads(report.read_text(encoding="utf-8"))
    found = [*shares(measured), *([overall(measured)] if whole else [])]
    print("branch coverage by the components of the task document:")
    for title, share, percent_min in found:
        print(f"  {title:28} {share:5.1f} % (at least {percent_min} %)")
    below = [title for title, share, percent_min in found if share < percent_min]
    if below:
        print(f"below: {', '.join(below)}; see what no test reaches in {report}", file=sys.stderr)
    return bool(below)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), whole="--whole" in sys.argv))
