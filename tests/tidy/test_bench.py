"""tools/bench takes medians of what the programs print and invents nothing."""
import importlib.machinery
import importlib.util
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parent.parent.parent / "tools" / "bench"


@pytest.fixture
def bench(tmp_path):
    loader = importlib.machinery.SourceFileLoader("hcp_bench", str(BENCH))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("hcp_bench", loader))
    loader.exec_module(module)
    module.ROOT = tmp_path
    (tmp_path / "build").mkdir()
    return module


def program(bench, text):
    path = bench.ROOT / "build" / "p"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_median_of_three_runs_with_peer(bench):
    program(bench, 'n=$(cat n 2>/dev/null || echo 0); n=$((n + 1)); echo $n > n\n'
                   'case $n in 1) v=10;; 2) v=90;; *) v=20;; esac\n'
                   'echo "{\\"id\\":\\"PERF-7\\",\\"per_second\\":$v,'
                   '\\"peer\\":{\\"name\\":\\"other\\",\\"metrics\\":{\\"per_second\\":$n}}}"')
    entry = bench.measure("PERF-7", bench.Bench("x", ["per_second"], "p"), "build", 3)
    assert entry["metrics"] == {"per_second": 20}
    assert entry["peer"] == {"name": "other", "metrics": {"per_second": 2}}
    assert entry["command"] == "build/p"
    assert set(entry) == {"id", "metrics", "peer", "command", "cpu", "load1"}


def test_an_absent_peer_gives_its_reason(bench):
    program(bench, """echo '{"id":"PERF-13","metrics":{"mhs_1":5},"peer_absent":"no miner named"}'\n""")
    entry = bench.measure("PERF-13", bench.Bench("x", ["mhs_1"], "p"), "build", 3)
    assert entry["peer"] is None and entry["peer_absent"] == "no miner named"


def test_lines_of_other_benches_do_not_count(bench):
    assert bench.pick("PERF-4", bench.Bench("x", ["mean_ns"], "p"), '{"id":"PERF-7","mean_ns":1}\n') is None


def test_absent_failing_and_silent_programs_give_no_number(bench):
    b = bench.Bench("x", ["per_second"], "p")
    assert bench.measure("PERF-7", b, "build", 3) == "p is not built"
    program(bench, "echo broken >&2; exit 3")
    assert bench.measure("PERF-7", b, "build", 3) == "p failed with 3: broken"
    program(bench, 'echo \'{"other":1}\'')
    assert bench.measure("PERF-7", b, "build", 3) == "p did not report per_second"


def test_what_the_project_does_not_hold_is_skipped(bench):
    program(bench, "echo no recorded data >&2; exit 77")
    with pytest.raises(bench.Skipped, match="no recorded data"):
        bench.measure("PERF-9", bench.Bench("x", ["fraction"], "p"), "build", 3)
