"""The sequence of requests: repeatable from its seed, with the shares and prefixes asked for."""

import itertools
import random
from collections import Counter

import pytest

from resync.load.errors import OptionsError
from resync.load.families import Families, Shape, filler
from resync.load.options import Options, parse
from resync.load.pacing import Pacing, gaps_s
from resync.load.plans import Planned, planned

ENGINES = "127.0.0.1:8000,127.0.0.1:8001,127.0.0.1:8002"


def dice(seed: int) -> random.Random:
    return random.Random(seed)


def first(count: int, *arguments: str) -> list[Planned]:
    return list(itertools.islice(planned(parse(["--engines", ENGINES, *arguments])), count))


def blocks_of(prompt: list[int]) -> tuple[tuple[int, ...], ...]:
    """The prompt's full blocks, each with everything before it: equal entries are equal prefixes."""
    return tuple(tuple(prompt[: end * 16]) for end in range(1, len(prompt) // 16 + 1))


def test_one_seed_is_one_sequence() -> None:
    assert first(50, "--seed", "7") == first(50, "--seed", "7") != first(50, "--seed", "8")


def test_an_unlimited_load_keeps_its_rate() -> None:
    assert first(3000)[-1].due_s == pytest.approx(100, rel=0.1)


def test_fixed_pacing_is_an_even_beat() -> None:
    gaps = itertools.islice(gaps_s(Pacing.FIXED, rate=4, dice=dice(0)), 3)
    assert list(gaps) == [0.25, 0.25, 0.25]


def test_the_shares_that_bypass_and_are_audited_are_those_asked_for() -> None:
    requests = first(3000, "--bypass-share", "0.2", "--audit-share", "0.25")
    bypassing = [request for request in requests if request.engine is not None]
    assert len(bypassing) / 3000 == pytest.approx(0.2, abs=0.03)
    assert len({request.engine for request in bypassing}) == 3
    audited = [request for request in requests if request.audited]
    assert len(audited) / (3000 - len(bypassing)) == pytest.approx(0.25, abs=0.03)
    assert not any(request.audited for request in bypassing)


def test_the_engines_are_bypassed_to_in_turn_so_that_none_is_without_traffic_for_long() -> None:
    bypassing = [request.engine for request in first(900) if request.engine is not None]
    assert bypassing[:3] == [f"http://{engine}" for engine in ENGINES.split(",")]
    assert all(bypassing[at] == bypassing[at + 3] for at in range(len(bypassing) - 3))


def test_without_engines_nothing_bypasses_and_nothing_is_audited() -> None:
    requests = list(itertools.islice(planned(parse([])), 200))
    assert not any(request.engine or request.audited for request in requests)


def test_a_request_is_a_shared_prefix_of_6_to_10_blocks_and_a_tail_of_its_own() -> None:
    families = Families(Shape(), dice(1))
    prompts = [families.prompt() for _ in range(400)]
    times_seen = Counter(prefix for prompt in prompts for prefix in blocks_of(prompt))
    shared = [sum(times_seen[prefix] > 1 for prefix in blocks_of(prompt)) for prompt in prompts]
    tails = [len(blocks_of(prompt)) - count for prompt, count in zip(prompts, shared, strict=True)]
    assert (min(shared), max(shared)) == (6, 10)
    assert set(tails) == {2, 3}


def test_no_prompt_is_an_exact_multiple_of_the_block_size() -> None:
    families = Families(Shape(), dice(1))
    assert all(len(families.prompt()) % 16 for _ in range(500))


def test_a_bare_prompt_is_a_prefix_that_ends_on_a_boundary() -> None:
    families = Families(Shape(bare_share=0.5), dice(1))
    prompts = [families.prompt() for _ in range(400)]
    bare = [prompt for prompt in prompts if not len(prompt) % 16]
    assert 0.4 < len(bare) / len(prompts) < 0.6
    assert {tuple(prompt) for prompt in bare} <= {tuple(prefix) for prefix in families._prefixes}


def test_the_oldest_family_is_the_one_that_retires() -> None:
    families = Families(Shape(window=2), dice(1))
    seen = {tuple(families.prompt()[:16]) for _ in range(100)}
    families.renew()
    after = {tuple(families.prompt()[:16]) for _ in range(100)}
    assert (len(seen), len(after), len(seen & after)) == (2, 2, 1)
    families.renew()
    assert not seen & {tuple(families.prompt()[:16]) for _ in range(100)}


def test_young_families_are_asked_for_more_often_and_none_is_forgotten() -> None:
    families = Families(Shape(window=8, skew=1.0), dice(1))
    families.renew()
    newest = tuple(families._prefixes[0])
    counts = Counter(tuple(families.prompt()[:96]) for _ in range(2000))
    assert len(counts) == 8
    assert counts.most_common(1)[0][0] == newest[:96]
    assert counts.most_common()[0][1] > 4 * counts.most_common()[-1][1]


def test_families_are_born_on_schedule() -> None:
    heads = {tuple(request.prompt[:16]) for request in first(900, "--renewals", "2")}
    assert 24 + 40 < len(heads) <= 24 + 70  # 30 s at 2 a second, the last of them not yet drawn


def test_a_filler_needs_exactly_the_blocks_it_names_and_one_token() -> None:
    assert len(filler(40, 16, dice(0))) == 641


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["--gateway", "10.0.0.1:8080"],
            "--gateway: '10.0.0.1:8080' is not a base URL like http://127.0.0.1:8080",
        ),
        (["--engines", "127.0.0.1"], "--engines: '127.0.0.1' is not ip:port"),
        (["--rate", "0"], "--rate"),
        (["--pacing", "bursty"], "--pacing"),
        (["--nonsense"], "--nonsense"),
    ],
    ids=["no scheme", "no port", "no rate", "unknown pacing", "unknown option"],
)
def test_a_wrong_argument_is_one_sentence(arguments: list[str], sentence: str) -> None:
    with pytest.raises(OptionsError, match=sentence) as caught:
        parse(arguments)
    assert "\n" not in str(caught.value)


def test_the_pods_own_address_comes_from_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POD_BIND_IP", "127.9.1.4")
    options: Options = parse(["--engines", "127.0.0.1:1, 127.0.0.1:2"])
    assert (options.host, options.engines) == ("127.9.1.4", ("http://127.0.0.1:1", "http://127.0.0.1:2"))
