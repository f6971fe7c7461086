#!/usr/bin/env python3
"""PERF-3: durable submissions through the API with a fleet of 350,000 devices connected, and how soon they run.

per_second: single submissions by wrk on 64 connections, each durable before its answer; they queue. accept_to_run_p99_ms:
from a workload's own stamps, created to started, at 10,000 a second in batches of 100 while the fleet has room: placing,
the switch command, the simulated node's own switch and its proof are in it. hcpd, the 350,000 simulated devices and the
load share the machine.
"""
import argparse
import json
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from hcp_platform import Platform, quantile, rss_mib  # noqa: E402
from perf_gateway import BODY, POST_LUA, wrk  # noqa: E402

GPUS, ASICS = 100000, 250000
POST_SECONDS = 3  # a customer may have 100,000 unfinished workloads, so longer would measure refusals
BATCH, RATE, RUN_JOBS = 100, 10000, 20000
SAMPLE = 20  # one of so many is asked for afterwards


def classes(p, admin):
    status, reply = p.call("GET", "/api/v1/fleet", token=admin)
    return reply["classes"] if status == 200 else []


def at_rest(rows, wanted):
    return sum(c["healthy"] for c in rows) >= wanted and not any(c["drifted"] for c in rows)


def run_at_rate(p, admin, jobs):
    """Milliseconds from accepted to running, of a sample, and the rate that was reached."""
    job = {"type": "ai_inference_realtime", "model": "llama-3-70b", "device_class": "H100", "device_count": 1}
    ids, lock, begin = [], threading.Lock(), time.monotonic()
    batches = jobs // BATCH

    def send(first):
        for n in range(first, batches, 4):
            wait = begin + n * BATCH / RATE - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            status, reply = p.call("POST", "/api/v1/workloads/batch", {"workloads": [job] * BATCH}, token=admin)
            if status >= 300:
                raise RuntimeError(f"{status} {reply}")
            with lock:
                ids.extend(w["id"] for w in reply["workloads"][::SAMPLE])
    threads = [threading.Thread(target=send, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    offered = batches * BATCH / (time.monotonic() - begin)

    def running(i):
        w = p.call("GET", f"/api/v1/workloads/{i}", token=admin)[1]
        return w if w.get("state") == "running" else None
    done = [p.wait(f"{i} to run", 120, lambda i=i: running(i)) for i in ids]
    return [(w["started_at_ns"] - w["created_at_ns"]) / 1e6 for w in done], offered


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--gpus", type=int, default=GPUS)
    parser.add_argument("--asics", type=int, default=ASICS)
    args = parser.parse_args()
    with Platform() as p:
        child = p.hcpd()
        admin = p.login()
        p.tick([("electricity_rt", "HB_WEST", 30.0), ("btc_usd", "", 60000.0), ("difficulty", "", 80e12)])
        begin = time.monotonic()
        p.start("hcp-sim", "fleet", "--mesh", f"127.0.0.1:{p.mesh}", "--token-file", p.state / "machine.token",
                "--spec", f"H100:{args.gpus},S21:{args.asics}", "--seed", 1)
        wanted = (args.gpus + args.asics) * 0.999
        p.wait("the fleet", 400, lambda: sum(c["healthy"] for c in classes(p, admin)) >= wanted)
        connected = time.monotonic() - begin
        # Each device is first told what to do; jobs are measured on a fleet that has done it.
        p.wait("the fleet to be at rest", 300, lambda: at_rest(classes(p, admin), wanted))
        settled = time.monotonic() - begin
        time.sleep(5)
        rss = rss_mib(child.pid)
        took, offered = run_at_rate(p, admin, min(RUN_JOBS, args.gpus // 2))
        lua = p.state / "post.lua"
        lua.write_text(POST_LUA % admin)
        metrics = wrk(["-s", str(lua)], f"http://127.0.0.1:{p.port}/api/v1/workloads", pinned=False, seconds=POST_SECONDS)
        metrics |= {"accept_to_run_p50_ms": quantile(took, 0.5), "accept_to_run_p99_ms": quantile(took, 0.99),
                    "offered_per_second": offered, "fleet_connected_s": connected, "fleet_at_rest_s": settled, "hcpd_rss_mib": rss}
        p.kill(child)
        begin = time.monotonic()
        p.hcpd()
        metrics["restart_s"] = time.monotonic() - begin
    print(json.dumps({"id": "PERF-3", "metrics": metrics}))


if __name__ == "__main__":
    main()
