#!/usr/bin/env python3
"""PERF-14: memory of the whole platform in its default run, and the time from start to the first decision."""
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from hcp_platform import MODEL, Platform, family, free_port, rss_mib  # noqa: E402

SETTLE_S = 20


def main():
    with Platform() as p:
        pool = free_port()
        begin = time.monotonic()
        p.hcpd()
        p.start("hcp-sim", "pool", "--port", pool)
        mesh, token = f"127.0.0.1:{p.mesh}", p.state / "machine.token"
        p.start("hcp-sim", "market", "--mesh", mesh, "--token-file", token, "--seed", 1, "--speed", 60)
        p.start("hcp-sim", "fleet", "--mesh", mesh, "--token-file", token, "--seed", 1)
        p.agent(pool)
        admin = p.login()
        ready = time.monotonic()
        p.wait("the first decision", 30, lambda: p.call("GET", "/api/v1/decisions?limit=1", token=admin)[1]["decisions"])
        first_ms = (time.monotonic() - begin) * 1000
        time.sleep(SETTLE_S)
        metrics = {"first_decision_ms": first_ms, "ready_ms": (ready - begin) * 1000, "rss_mib": 0}
        for name, child in p.children:
            mib = sum(rss_mib(pid) for pid in family(child.pid))
            key = child.args[1] if name == "hcp-sim" else name
            metrics[f"{key}_mib"] = mib
            metrics["rss_mib"] += mib
        weights = MODEL / "model.safetensors"
        # The encoder keeps its weights in half precision: half the file's bytes.
        metrics["weights_mib"] = weights.stat().st_size / 2**21 if weights.exists() else 0
        metrics["rss_mib"] -= metrics["weights_mib"]
    print(json.dumps({"id": "PERF-14", "metrics": metrics}))


if __name__ == "__main__":
    main()
