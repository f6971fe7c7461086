#!/usr/bin/env python3
"""PERF-12: a site with 33,000 ASICs at work is told to draw 100 MW less.

last_command_ms: from the request to the last command as it arrives at its node, over sockets. The answer comes after the
commit. firmware_ms: the longest that a node's simulated firmware took from the command until it stopped hashing and drew
less, part of held_ms: until readings have proved it to the platform.
"""
import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from hcp_platform import Platform  # noqa: E402

WATT = {"S21": 3500}
OFF = 3


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--asics", type=int, default=33000)
    args = parser.parse_args()
    with Platform() as p:
        p.hcpd()
        orders = p.state / "orders"
        p.start("hcp-sim", "fleet", "--mesh", f"127.0.0.1:{p.mesh}", "--token-file", p.state / "machine.token",
                "--spec", f"S21:{args.asics}", "--seed", 1, "--orders", orders)
        p.tick([("electricity_rt", "HB_WEST", 20.0), ("btc_usd", "", 60000.0), ("difficulty", "", 80e12),
                ("block_fees_btc", "", 0.1), ("block_height", "", 860000.0)])
        admin = p.login()

        def fleet():
            status, reply = p.call("GET", "/api/v1/fleet", token=admin)
            return reply["classes"][0] if status == 200 and reply["classes"] else {}
        p.wait("all to mine", 120, lambda: fleet().get("filling") == args.asics)
        before = orders.read_text().count("\n")
        kw = args.asics * WATT["S21"] / 1000 * 0.97  # what stays is the idle draw of those that stop
        sent = time.time_ns()
        status, order = p.call("POST", "/api/v1/curtailments", {"kw": kw, "within_ms": 1000, "reason": "bench"}, token=admin)
        answered = time.time_ns()
        if status != 201:
            raise RuntimeError(f"{status} {order}")

        def logged():
            return [json.loads(line) for line in orders.read_text().splitlines()[before:]]

        def told():
            lines = [x for x in logged() if x.get("to") == OFF]
            return lines if sum(x["devices"] for x in lines) >= order["devices"] else None
        lines = p.wait("every command", 30, told)
        first_out, last = min(x["at_ns"] for x in lines), max(x["at_ns"] for x in lines)

        def held():
            now = p.call("GET", "/api/v1/curtailments", token=admin)[1]["curtailments"][0]
            return now if now["confirmed_at_ns"] else None
        confirmed = p.wait("proof by readings", 60, held)
        arrived = {x["switch_id"]: x["at_ns"] for x in lines}
        took = [x["at_ns"] - arrived[x["switch_id"]] for x in logged() if x.get("ok") and x["switch_id"] in arrived]
        metrics = {"firmware_ms": max(took) / 1e6, "last_command_ms": (last - sent) / 1e6, "first_command_ms": (first_out - sent) / 1e6,
                   "answer_ms": (answered - sent) / 1e6, "held_ms": (confirmed["confirmed_at_ns"] - sent) / 1e6,
                   "devices": order["devices"], "commands": order["commands"], "asked_mw": kw / 1000,
                   "measured_before_mw": confirmed["measured_before_w"] / 1e6, "measured_mw": confirmed["measured_w"] / 1e6}
    print(json.dumps({"id": "PERF-12", "metrics": metrics}))


if __name__ == "__main__":
    main()
