#!/usr/bin/env python3
"""PERF-14: memory of the whole platform in its default run, and the time from start to the first decision.

rss_mib 20 s after the first decision, rss_later_mib two minutes after it, each without the encoder's weights. The parts
(hcpd_mib …) are proportional sets at the later time; their sum is less than the whole while other processes of the machine
share libraries with them. --curve SECONDS prints the whole every 20 s for so long, for people.
"""
import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from hcp_platform import MODEL, Platform, family, free_port, memory_mib, rss_mib  # noqa: E402

SETTLE_S, LATER_S = 20, 120


def weights_mib():
    """The encoder keeps its weights in half precision: half the file's bytes, reckoned and not measured."""
    weights = MODEL / "model.safetensors"
    return weights.stat().st_size / 2**21 if weights.exists() else 0


def whole_mib(p):
    return memory_mib([pid for _, child in p.children for pid in family(child.pid)]) - weights_mib()


def parts_mib(p):
    parts = {}
    for name, child in p.children:
        key = child.args[1] if name == "hcp-sim" else name
        parts[f"{key}_mib"] = sum(rss_mib(pid) for pid in family(child.pid))
    return parts


def start(p):
    """Returns what the start took."""
    pool = free_port()
    p.certs()  # the default run's mesh speaks mutual TLS; `hcp up` makes these at its first start, in about 35 ms
    begin = time.monotonic()
    p.hcpd(*p.tls("hcpd", "--mesh"))
    p.start("hcp-sim", "pool", "--port", pool)
    mesh, token = f"127.0.0.1:{p.mesh}", p.state / "machine.token"
    p.start("hcp-sim", "market", "--mesh", mesh, "--token-file", token, "--seed", 1, "--speed", 60, *p.tls("market"))
    p.start("hcp-sim", "fleet", "--mesh", mesh, "--token-file", token, "--seed", 1, *p.tls("fleet"))
    p.agent(pool, *p.tls("agent"))
    admin = p.login()
    ready = time.monotonic()
    p.wait("the first decision", 30, lambda: p.call("GET", "/api/v1/decisions?limit=1", token=admin)[1]["decisions"])
    return {"first_decision_ms": (time.monotonic() - begin) * 1000, "ready_ms": (ready - begin) * 1000}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--curve", type=int, default=0, metavar="SECONDS")
    args = parser.parse_args()
    with Platform() as p:
        metrics = start(p)
        decided = time.monotonic()
        for at in range(SETTLE_S, args.curve + 1, SETTLE_S):
            time.sleep(max(0, decided + at - time.monotonic()))
            parts = " ".join(f"{name[:-4]} {mib:.1f}" for name, mib in parts_mib(p).items())
            print(f"{at:5} s {whole_mib(p):6.1f} MiB ({parts})", flush=True)
        if args.curve:
            return
        time.sleep(SETTLE_S)
        metrics["rss_mib"] = whole_mib(p)
        time.sleep(max(0, decided + LATER_S - time.monotonic()))
        metrics["rss_later_mib"] = whole_mib(p)
        metrics.update(parts_mib(p), weights_mib=weights_mib())
    print(json.dumps({"id": "PERF-14", "metrics": metrics}))


if __name__ == "__main__":
    main()
