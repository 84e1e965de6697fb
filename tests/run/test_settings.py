"""One table gives names, defaults and parsing; environment before command line before control."""

import pytest

from resync.run import settings
from resync.run.errors import SettingsError
from resync.run.settings import FIELDS, Target


@pytest.mark.parametrize(
    ("text", "seconds"), [("6s", 6.0), ("300ms", 0.3), ("5m", 300.0), ("1.5s", 1.5), ("7", 7.0)]
)
def test_a_duration_is_read_with_its_unit(text: str, seconds: float) -> None:
    assert settings.parse({"fault_duration": text}).fault_duration_s == seconds


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("latency", "soon"),
        ("direction", "up"),
        ("routed_share_min", "2"),
        ("targets_max", "-1"),
        ("latency", "-5ms"),
    ],
)
def test_a_meaningless_value_names_its_variable(key: str, text: str) -> None:
    with pytest.raises(SettingsError, match=f"RESYNC_{key.upper()}"):
        settings.parse({key: text})


def test_what_the_environment_says_is_left_alone() -> None:
    configuration = {"latency": "70ms", "fault_duration": "20s"}
    settings.fill(
        configuration,
        declaration=settings.declared(),
        known={"latency": "1ms", "prometheus_url": "http://lab"},
        target=Target.CLUSTER,
        environment={"RESYNC_LATENCY": "70ms"},
    )
    assert configuration["latency"] == "70ms"
    assert configuration["prometheus_url"] == "http://lab"
    assert configuration["fault_duration"] == "5m"


def test_what_the_command_line_says_is_left_alone() -> None:
    configuration = {"latency": "80ms"}
    settings.fill(configuration, declaration=settings.declared(), known={}, target=Target.LAB, environment={})
    assert configuration["latency"] == "80ms"


def test_every_setting_has_a_default_that_parses_on_both_targets() -> None:
    for target in Target:
        settings.parse({field.key: field.default(target) for field in FIELDS})


@pytest.mark.parametrize(("window_s", "floor"), [(20.0, 200), (10.0, 100), (0.1, 20), (300.0, 200)])
def test_a_floor_scales_with_the_window_between_its_bounds(window_s: float, floor: int) -> None:
    assert settings.scaled_floor(200, window_s) == floor
