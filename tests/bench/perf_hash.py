#!/usr/bin/env python3
"""PERF-13: SHA-256d on the CPU, every engine on one and on two threads, beside another miner where there is one.

HCP_PEER_MINER (or --peer) names programs with cpuminer's command line, separated by colons: usually one per
instruction set, because theirs is chosen when they are compiled. Which engine a peer stands beside is read from the
features that it prints. Both run in turns and the best of ROUNDS counts: on a busy machine that is the turn which was
disturbed least. mhs_1 and mhs_2 are the fastest engine's; <engine>_mhs_1 and so on are each engine's own, and
<engine>_mhs_cpu_1 is per second of processor time of one thread, which other load hardly moves.
"""
import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OURS = Path(os.environ.get("HCP_BUILD", ROOT / "build")) / "tests/bench/bench_hash"
ROUNDS, SECONDS, PEER_SECONDS = 2, 1, 3
THREADS = (1, 2)
SCALE = {"": 1e-6, "k": 1e-3, "M": 1, "G": 1e3}
ENGINE_OF = (("AVX512", "avx512"), ("SHA256", "sha-ni"), ("AVX2", "avx2"))  # what a cpuminer takes first


def ours(engine=None):
    """Rows of bench_hash, one an engine, fastest first."""
    command = [str(OURS), "--seconds", str(SECONDS)] + (["--engine", engine] if engine else [])
    out = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    return [json.loads(line) for line in out.splitlines()]


def peer_run(path, threads, seconds=PEER_SECONDS):
    """(MH/s, engine whose instructions it uses) of one run of a cpuminer; it ends by itself.

    Left alone its threads run at idle priority, which ours do not; -s 1 lets it look at the clock once a second.
    """
    done = subprocess.run([path, "-a", "sha256d", "--benchmark", "-t", str(threads), "-s", "1", "--cpu-priority", "2",
                           "--no-color", f"--time-limit={seconds}"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=seconds + 60)
    rate = re.findall(r"Benchmark: ([\d.]+) ([kMG]?)H/s", done.stdout)
    if not rate:
        raise SystemExit(f"{path} printed no rate: {done.stdout.strip()[-200:]}")
    features = re.search(r"SW features:(.*)", done.stdout)
    words = features.group(1).split() if features else []
    engine = next((name for word, name in ENGINE_OF if word in words), None)
    return float(rate[-1][0]) * SCALE[rate[-1][1]], engine


def beside(path, supported, metrics, peer):
    """Runs the peer and its engine in turns; keeps the best of each."""
    engine = peer_run(path, 1, 1)[1]
    if engine not in supported:
        raise SystemExit(f"{path} names none of the features {', '.join(word for word, _ in ENGINE_OF)}")
    for _ in range(ROUNDS):
        keep(metrics, ours(engine)[0])
        for threads in THREADS:
            keep(peer, {"engine": engine, f"mhs_{threads}": peer_run(path, threads)[0]})


def keep(metrics, row):
    for kind in ("mhs", "mhs_cpu"):
        for threads in THREADS:
            name = f"{kind}_{threads}"
            if name in row:
                own = f"{row['engine']}_{name}"
                metrics[own] = max(metrics.get(own, 0), row[name])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", default=os.environ.get("HCP_PEER_MINER", ""), help="paths, separated by colons")
    args = parser.parse_args()
    paths = [p for p in args.peer.split(":") if p]
    metrics, peer = {}, {}
    rows = ours()
    for row in rows:
        keep(metrics, row)
    supported = [row["engine"] for row in rows]
    for path in paths:
        beside(path, supported, metrics, peer)
    for threads in THREADS:
        metrics[f"mhs_{threads}"] = metrics[f"{supported[0]}_mhs_{threads}"]
        if f"{supported[0]}_mhs_{threads}" in peer:
            peer[f"mhs_{threads}"] = peer[f"{supported[0]}_mhs_{threads}"]
    line = {"id": "PERF-13", "metrics": metrics}
    if peer:
        line["peer"] = {"name": " ".join(Path(p).name for p in paths), "metrics": peer}
    else:
        line["peer_absent"] = "HCP_PEER_MINER names no miner"
    print(json.dumps(line))


if __name__ == "__main__":
    sys.exit(main())
