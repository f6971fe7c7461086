#!/usr/bin/env python3
"""GATEWAY-GET and GATEWAY-POST: requests a second through the gateway; wrk on one core, hcpd on the other.

GET reads prices with a bearer token (the gateway's cache answers most), POST submits workloads, each durable before
its answer, with no devices connected: the jobs queue. Both are pinned so that the server has one core.
"""
import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from hcp_platform import Platform, quantile  # noqa: E402

SECONDS, CONNECTIONS, JOBS = 8, 64, 200
POST_LUA = """
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.headers["authorization"] = "Bearer %s"
wrk.body = '{"type":"ai_inference_batch","model":"llama-3-70b","device_class":"H100","device_count":1}'
"""
UNITS = {"us": 1e-3, "ms": 1, "s": 1e3}


def wrk(args, url):
    out = subprocess.run(["taskset", "-c", "1", "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}", "--latency", *args, url],
                         capture_output=True, text=True, timeout=SECONDS + 30).stdout
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1))
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    at = {q: float(v) * UNITS[u] for q, v, u in re.findall(r"(50|99)%\s+([\d.]+)(us|ms|s)\b", out)}
    return rate, at, int(bad.group(1)) if bad else 0


def accept_to_run():
    """Accepted to running on a simulated fleet with room, from the workloads' own stamps: the switch is in it."""
    with Platform() as p:
        p.hcpd()
        p.start("hcp-sim", "fleet", "--mesh", f"127.0.0.1:{p.mesh}", "--token-file", p.state / "machine.token",
                "--spec", "H100:512", "--seed", 1)
        admin = p.login()
        p.wait("the fleet", 30, lambda: sum(c["healthy"] for c in p.call("GET", "/api/v1/fleet", token=admin)[1]["classes"]
                                            ) >= 512)
        body = {"type": "ai_inference_realtime", "model": "llama-3-70b", "device_class": "H100", "device_count": 1}
        ids = [p.call("POST", "/api/v1/workloads", body, token=admin)[1]["id"] for _ in range(JOBS)]
        took = []
        for i in ids:
            w = p.wait(f"{i} to run", 30, lambda i=i: (lambda w: w if w["state"] == "running" else None)(
                p.call("GET", f"/api/v1/workloads/{i}", token=admin)[1]))
            took.append((w["started_at_ns"] - w["created_at_ns"]) / 1e6)
        return quantile(took, 0.99)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=["get", "post"])
    args = parser.parse_args()
    with Platform() as p:
        child = p.hcpd()
        subprocess.run(["taskset", "-a", "-cp", "0", str(child.pid)], check=True, capture_output=True)
        admin = p.login()
        p.tick([("electricity_rt", "HB_WEST", 30.0), ("btc_usd", "", 60000.0), ("difficulty", "", 80e12)])
        base = f"http://127.0.0.1:{p.port}"
        if args.only != "post":
            rate, at, bad = wrk(["-H", f"authorization: Bearer {admin}"], base + "/api/v1/prices")
            print(json.dumps({"id": "GATEWAY-GET", "metrics": {"per_second": rate, "p50_ms": at["50"], "p99_ms": at["99"],
                                                          "errors": bad}}), flush=True)
        if args.only != "get":
            lua = p.state / "post.lua"
            lua.write_text(POST_LUA % admin)
            rate, at, bad = wrk(["-s", str(lua)], base + "/api/v1/workloads")
            print(json.dumps({"id": "GATEWAY-POST", "metrics": {"per_second": rate, "accept_to_run_p99_ms": accept_to_run(), "p50_ms": at["50"], "p99_ms": at["99"],
                                                          "errors": bad}}), flush=True)


if __name__ == "__main__":
    main()
