"""What tests found (`record_property`), said at the end of a run, from workers of pytest-xdist too."""

import pytest
import scenario_claims


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            found = [one for one in report.user_properties if one[0] != scenario_claims.PROPERTY]
            if report.when == "call" and found:
                terminalreporter.section(f"found by {report.nodeid}", sep="-")
                terminalreporter.write_line("\n".join(f"{name}: {value}" for name, value in found))
