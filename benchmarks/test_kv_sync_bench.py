"""The task document's two benchmarks: `make bench-document` (pytest-benchmark; no part of the tests).

Names and work are the document's (kv_sync_bench_test.go); each round is 1,000 events, or 100 matches.
"""

from typing import Any

import pytest

from benchmarks.workloads import DOCUMENTS, EVENTS, MATCHES


@pytest.mark.parametrize("name", DOCUMENTS)
def test_document(name: str, benchmark: Any) -> None:
    benchmark.name = name
    benchmark.extra_info["operations_per_round"] = {"BenchmarkPrefixMatching": MATCHES}.get(name, EVENTS)
    work = DOCUMENTS[name]()

    def whole() -> None:
        for step in work():
            step()

    benchmark(whole)
