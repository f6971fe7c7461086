"""`hcp sched replay` on a small made-up trace and, where they are there, on the recorded ones."""

import html.parser
import json
import os
import pathlib
import random
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
HCP = pathlib.Path(os.environ.get("HCP_BUILD", ROOT / "build")).resolve() / "src" / "cmd" / "hcp"
DATA = pathlib.Path(os.environ.get("HCP_DATA", ROOT / ".." / "shared" / "data"))
LIMIT_S = 60
HEAD = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time\n"
POLICIES = ["fifo", "best_fit", "fgd", "hcp"]

pytestmark = pytest.mark.skipif(not HCP.exists(), reason=f"{HCP} is not built")


def run(*args):
    return subprocess.run([str(HCP), "sched", "replay", *map(str, args)], capture_output=True, text=True, timeout=LIMIT_S)


def report(*args):
    done = run(*args, "-o", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def fifo_waits(jobs, gpus):
    """Whole GPUs of one node, strictly by arrival: when each starts, worked out apart from the program."""
    running, start = [], 0
    waits = []
    for arrive, want, last in jobs:
        start = max(start, arrive)
        while sum(n for end, n in running if end > start) + want > gpus:
            start = min(end for end, _ in running if end > start)
        running.append((start + last, want))
        waits.append(start - arrive)
    return waits


def test_fifo_agrees_with_a_second_opinion(tmp_path):
    rng = random.Random(4)
    at, jobs = 0, []
    for _ in range(120):
        at += rng.randrange(60)
        jobs.append((at, rng.choice([1, 1, 2, 4]), rng.randrange(1, 400)))
    trace = tmp_path / "pods.csv"
    trace.write_text(HEAD + "".join(f"p,100,100,{n},1000,,LS,R,{a},{a + d},{a}\n" for a, n, d in jobs))
    waits = fifo_waits(jobs, 4)
    (fifo,) = report("--trace", trace, "--policy", "fifo", "--fleet", "1x4")["policies"]
    assert fifo["all"]["wait_mean_s"] == pytest.approx(sum(waits) / len(waits))
    assert fifo["all"]["wait_max_s"] == max(waits)
    assert fifo["done"] == len(jobs)


def test_all_forms_tell_all_policies(tmp_path):
    trace = tmp_path / "a<b>.csv"
    trace.write_text(HEAD + "a,100,1,1,600,,LS,R,0,50,0\nb,100,1,1,600,,BE,R,1,50,1\nc,100,1,1,400,,<BE>,R,9,50,9\n")
    out = tmp_path / "report.html"
    table = run("--trace", trace, "--fleet", "1x1", "--no-color")
    assert table.returncode == 0, table.stderr
    assert [line.split()[0] for line in table.stdout.splitlines()[3:7]] == POLICIES
    assert run("--trace", trace, "--fleet", "1x1", "-o", "html", "--out", out).returncode == 0
    page = out.read_text()
    html.parser.HTMLParser().feed(page)
    assert page.count("<svg") >= 4 and "http" not in page and "<script" not in page
    assert "a&lt;b>.csv" in page and "&lt;BE>" in page
    got = report("--trace", trace, "--fleet", "1x1")
    assert got["fleet"] == [{"nodes": 1, "gpus": 1, "cores": 12.0, "memory_gib": 96.0}]
    assert [p["policy"] for p in got["policies"]] == POLICIES
    for p in got["policies"]:
        assert set(p["classes"]) == {"P1", "P2", "P3"}
        assert 0 <= p["utilisation"] <= 1 and 0 < p["jain"] <= 1 and len(p["points"]) == 240


@pytest.mark.parametrize(
    "args, text, tells",
    [
        (["--policy", "best"], HEAD + "a,1,1,1,500,,LS,R,0,9,0\n", "best_fit"),
        (["--fleet", "3x99"], HEAD + "a,1,1,1,500,,LS,R,0,9,0\n", "GPUs of a node"),
        (["--fleet", "3x8", "--nodes", "2"], HEAD + "a,1,1,1,500,,LS,R,0,9,0\n", "not both"),
        (["--load", "0"], HEAD + "a,1,1,1,500,,LS,R,0,9,0\n", "load"),
        ([], HEAD + "a,1,1,1,500,,LS,R,0,9,0\nb,1,1,1,1200,,LS,R,0,9,0\n", "gpu_milli"),
        ([], "time,price\n1,2\n", "no known trace"),
        ([], "", "header"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, args, text, tells):
    trace = tmp_path / "t.csv"
    trace.write_text(text)
    done = run("--trace", trace, *args)
    assert done.returncode != 0 and done.stdout == ""
    assert tells in done.stderr
    if "1200" in text:
        assert "line 3" in done.stderr and "t.csv" in done.stderr


def test_a_missing_file_is_named(tmp_path):
    done = run("--trace", tmp_path / "absent.csv")
    assert done.returncode != 0 and "absent.csv" in done.stderr


@pytest.mark.parametrize(
    "name, jobs, args",
    [
        ("gpu_cluster_pods_alibaba_2023.csv", 8152, ["--load", "10"]),
        ("genai_requests_alibaba_2024.csv", 26793, ["--load", "20", "--fleet", "1x8"]),
        ("llm_requests_azure_2023.csv", 28185, ["--fleet", "1x7"]),
    ],
)
def test_recorded_traces(name, jobs, args):
    trace = DATA / name
    if not trace.exists():
        pytest.skip(f"no {trace}")
    first, again = (report("--trace", trace, *args) for _ in range(2))
    for r in first, again:
        for p in r["policies"]:
            p.pop("seconds")
    assert first == again
    assert first["jobs"] == jobs
    by = {p["policy"]: p for p in first["policies"]}
    for p in by.values():
        assert p["done"] + p["refused"] == jobs
    # What our own scheduler is for: real-time work waits less than under the others, and nobody's share suffers.
    others = [by[n]["classes"]["P1"]["wait_mean_s"] for n in POLICIES[:3]]
    assert by["hcp"]["classes"]["P1"]["wait_mean_s"] < min(others)
    assert by["hcp"]["jain_service"] > 0.99
