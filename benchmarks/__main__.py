"""Every figure this project states, measured on this machine: `make bench`.

Printed, never asserted: a machine under other load gives other figures. What is compared in tests is a ratio.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import fault_times, highest_load, kvsync_figures

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
EXPERIMENT = ROOT / "experiments" / "network-delay.json"
RUN_TIMEOUT_S = 180
WARM_RUNS = 3


def environment(home: Path) -> dict[str, str]:
    """A state directory and a runs directory of their own, so that no lab of the user's is touched."""
    state, runs = str(home / "state"), str(home / "runs")
    return {**os.environ, "RESYNC_STATE_DIR": state, "RESYNC_RUNS_DIR": runs, "RESYNC_FAULT_DURATION": "10s"}


def resync(arguments: list[str], env: Mapping[str, str], cwd: Path) -> str:
    """What the `resync` command printed."""
    command = [str(BIN / "resync"), *arguments]
    done = subprocess.run(
        command, env=env, cwd=cwd, timeout=RUN_TIMEOUT_S, capture_output=True, text=True, check=True
    )
    return done.stdout


def chaos_run(env: Mapping[str, str], cwd: Path) -> tuple[float, list[dict[str, Any]]]:
    """Wall seconds of one run, and its evidence."""
    started_s = time.monotonic()
    command = [str(BIN / "chaos"), "run", str(EXPERIMENT)]
    done = subprocess.run(
        command, env=env, cwd=cwd, timeout=RUN_TIMEOUT_S, capture_output=True, text=True, check=False
    )
    took_s = time.monotonic() - started_s
    verdict = json.loads(done.stdout.splitlines()[-1])["resync"]
    if done.returncode != 0:
        print(f"  (exit {done.returncode}: {verdict['reason']})")
    lines = Path(verdict["evidence"]).read_text().splitlines()
    return took_s, [json.loads(line) for line in lines]


def beyond_s(took_s: float, evidence: list[dict[str, Any]]) -> float:
    """Wall time less the fault (created to asked to end) and the settling (gone to converged)."""
    by_kind = {record["kind"]: record for record in reversed(evidence)}
    fault_s = by_kind["fault-healed"]["requested_s"] - by_kind["fault-planned"]["at"]
    recovery = next(r for r in evidence if r["kind"] == "samples-taken" and r["phase"] == "recovery")
    settle_s = recovery["at"] - by_kind["fault-healed"]["gone_s"]
    return float(took_s - fault_s - settle_s)


def report(lab: str, took_s: float, evidence: list[dict[str, Any]], *, aim_s: int) -> str:
    """One line on one run."""
    beyond = beyond_s(took_s, evidence)
    return f"chaos run, {lab}: {took_s:.1f} s, beyond fault and settle {beyond:.1f} s (aim: <= {aim_s} s)"


def lab_memory(state_dir: Path) -> None:
    """Resident memory of every process of the running lab, in MB."""
    supervisor = json.loads((state_dir / "lab.json").read_text())["pid"]
    resident_mb = {}
    listing = subprocess.run(
        ["ps", "-eo", "pid,ppid,rss,args"], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split(None, 3) for line in listing.splitlines()[1:]]
    family = {str(supervisor)}
    while True:
        grown = family | {pid for pid, parent, _, _ in rows if parent in family}
        if grown == family:
            break
        family = grown
    for pid, _, resident_kb, command in rows:
        if pid in family:
            resident_mb[f"{pid} {command[:60]}"] = int(resident_kb) / 1024
    for name, size in sorted(resident_mb.items(), key=lambda item: -item[1]):
        print(f"  {size:6.1f} MB  {name}")
    print(f"lab memory: {sum(resident_mb.values()):.0f} MB in {len(resident_mb)} processes (aim: <= 600 MB)")


def wall_time() -> None:
    """Cold: the run starts and ends its own lab. Warm: it joins a running one."""
    with tempfile.TemporaryDirectory(prefix="resync-bench-") as name:
        home = Path(name)
        env = environment(home)
        took_s, evidence = chaos_run(env, home)
        print(report("cold lab", took_s, evidence, aim_s=10))
        resync(["lab", "up"], env, home)
        try:
            for _ in range(WARM_RUNS):
                took_s, evidence = chaos_run(env, home)
                print(report("running lab", took_s, evidence, aim_s=3))
            lab_memory(home / "state")
        finally:
            resync(["lab", "down"], env, home)


def main() -> None:
    """All figures."""
    print("link (aims: untouched p50 <= 0.2 ms; error at 50 ms p50 <= 0.5 ms, p99 <= 2 ms)", flush=True)
    subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "link_latency.py")], check=True, timeout=RUN_TIMEOUT_S
    )
    print("the reference", flush=True)
    kvsync_figures.main()
    wall_time()
    print("faults and loads, on one lab each", flush=True)
    fault_times.main()
    highest_load.main()


if __name__ == "__main__":
    main()
