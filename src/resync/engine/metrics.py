"""vLLM's metric names for what the simulated engine counts. Read at scrape time, so never late.

Labels and names as vLLM 0.32 exposes them (`vllm/v1/metrics/loggers.py`); query and hit counters are in
tokens. Nothing here counts KV events: vLLM does not either, and a harness must not lean on what a real engine
lacks.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from resync.engine.pool import BlockPool
from resync.engine.scheduling import Scheduler

_LABELS = ("engine", "model_name")


@dataclass(frozen=True, slots=True)
class _Row:
    """One metric: how it is called, explained and read."""

    name: str
    help: str
    value: Callable[[Scheduler, BlockPool], float]


_COUNTERS = (
    _Row(
        "vllm:prefix_cache_queries",
        "Prompt tokens looked up in the prefix cache.",
        lambda s, _: s.totals.queried_tokens,
    ),
    _Row(
        "vllm:prefix_cache_hits", "Prompt tokens found in the prefix cache.", lambda s, _: s.totals.hit_tokens
    ),
    _Row("vllm:prompt_tokens", "Prompt tokens processed.", lambda s, _: s.totals.prompt_tokens),
    _Row("vllm:prompt_tokens_cached", "Prompt tokens not computed.", lambda s, _: s.totals.hit_tokens),
    _Row("vllm:generation_tokens", "Tokens generated.", lambda s, _: s.totals.output_tokens),
    _Row(
        "vllm:num_preemptions",
        "Requests that lost their blocks and started over.",
        lambda s, _: s.totals.preempted,
    ),
)
_GAUGES = (
    _Row("vllm:num_requests_running", "Requests in the running batch.", lambda s, _: s.running),
    _Row("vllm:num_requests_waiting", "Requests waiting for blocks.", lambda s, _: s.waiting),
    _Row("vllm:kv_cache_usage_perc", "Share of KV blocks in use, 1 is all.", lambda _, p: p.usage),
)


class EngineCollector(Collector):
    """All series of one engine."""

    def __init__(self, scheduler: Scheduler, pool: BlockPool, *, model: str, created_s: float) -> None:
        self._scheduler = scheduler
        self._pool = pool
        self._labels = ("0", model)
        self._created_s = created_s

    def collect(self) -> Iterator[Metric]:
        """The current value of every series."""
        for row in _COUNTERS:
            counter = CounterMetricFamily(row.name, row.help, labels=_LABELS)
            counter.add_metric(self._labels, row.value(self._scheduler, self._pool), created=self._created_s)
            yield counter
        for row in _GAUGES:
            gauge = GaugeMetricFamily(row.name, row.help, labels=_LABELS)
            gauge.add_metric(self._labels, row.value(self._scheduler, self._pool))
            yield gauge
        yield self._success()
        yield self._cache_config()

    def _success(self) -> Metric:
        family = CounterMetricFamily(
            "vllm:request_success", "Requests completed.", labels=(*_LABELS, "finished_reason")
        )
        succeeded = self._scheduler.totals.succeeded
        family.add_metric((*self._labels, "length"), succeeded, created=self._created_s)
        return family

    def _cache_config(self) -> Metric:
        config = {
            "block_size": str(self._pool.block_size),
            "enable_prefix_caching": "True",
            "num_gpu_blocks": str(self._pool.slots_total),
            "prefix_caching_hash_algo": "sha256",
        }
        family = GaugeMetricFamily(
            "vllm:cache_config_info", "How the KV cache is configured.", labels=(*config, "engine")
        )
        family.add_metric((*config.values(), "0"), 1)
        return family


def registry(scheduler: Scheduler, pool: BlockPool, *, model: str, created_s: float) -> CollectorRegistry:
    """A registry with the series of one engine and, as in vLLM, of its process."""
    made = CollectorRegistry()
    ProcessCollector(registry=made)
    made.register(EngineCollector(scheduler, pool, model=model, created_s=created_s))
    return made
