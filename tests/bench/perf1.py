#!/usr/bin/env python3
"""PERF-1: from an economic signal to the first inference served, through every commit, on a real CPU node.

A market value is sent (its time goes along), the optimizer decides and stores, the orchestrator and resources store,
the node stops mining, opens its gate and serves an embedding; the node tells when. Both ends are on one clock. The
embedding is the proof that the node asks of its own endpoint, over HTTP as a client would.
"""
import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from hcp_platform import MODEL, ROOT, Live, Platform, free_port, quantile  # noqa: E402

CLASS = "CPU2"
LOCAL = Path(os.environ.get("HCP_BUILD", ROOT / "build")) / "tests/bench/bench_local_switch"
BASE = [("electricity_rt", "HB_WEST", 30.0), ("btc_usd", "", 60000.0), ("difficulty", "", 80e12),
        ("block_fees_btc", "", 0.1), ("block_height", "", 860000.0)]
PAUSE_S = 0.03  # the mesh takes so many messages a second from one node and no more
HIGH, LOW = 0.16, 0.06  # USD/h: worth serving, and worth less than mining; each a believable move from the other


def wait_switch(live, signal_ns, to):
    until = time.monotonic() + 30
    while time.monotonic() < until:
        event = live.next()
        data = event.get("data", {})
        if event.get("type") == "SwitchDone" and data.get("signal_at_ns") == signal_ns and data.get("to") == to:
            return data
    raise RuntimeError(f"no switch to {to} within 30 s of its signal")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--switches", type=int, default=1000)
    args = parser.parse_args()
    with Platform() as p:
        pool = free_port()
        p.hcpd()
        p.start("hcp-sim", "pool", "--port", pool)
        p.agent(pool)
        admin = p.login()
        p.tick(BASE + [("gpu_rate", CLASS, LOW)])
        p.wait("the node to mine", 30, lambda: any(
            c["device_class"] == CLASS and c["filling"] for c in p.call("GET", "/api/v1/fleet", token=admin)[1]["classes"]))
        live = Live(p, "resources.switches", admin)
        total, phases, failed = [], {}, 0
        for n in range(args.switches):
            sent = time.time_ns()
            p.tick([("gpu_rate", CLASS, HIGH + n % 7 * 0.001)], sent)
            done = wait_switch(live, sent, "serve")
            if not done["ok"] or not done["served_at_ns"]:
                failed += 1
                continue
            total.append((done["served_at_ns"] - sent) / 1e6)
            for phase in done["phases"]:
                phases.setdefault(phase["phase"], []).append(phase["duration_ns"] / 1e6)
            back = time.time_ns()
            p.tick([("gpu_rate", CLASS, LOW)], back)
            wait_switch(live, back, "fill")
            time.sleep(PAUSE_S)
        live.close()
    metrics = {"p50_ms": quantile(total, 0.5), "p99_ms": quantile(total, 0.99), "switches": len(total), "failed": failed}
    for name, values in phases.items():
        metrics[f"{name}_p50_ms"] = quantile(values, 0.5)
        metrics[f"{name}_p99_ms"] = quantile(values, 0.99)
    print(json.dumps({"id": "PERF-1", "metrics": metrics}))
    if LOCAL.exists():
        # Its line has the same id: the node-local switch, as latency on top of the model's own time.
        out = subprocess.run([str(LOCAL), "--requests", "1000", "--model", str(MODEL)], capture_output=True, text=True,
                             timeout=300).stdout
        row = json.loads(out)
        # Only what is the local switch's own: other names would cover the figures above.
        print(json.dumps({"id": "PERF-1", "metrics": {k: v for k, v in row.items() if k.startswith("local_")}}))


if __name__ == "__main__":
    main()
