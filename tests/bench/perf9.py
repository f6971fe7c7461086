#!/usr/bin/env python3
"""PERF-9: the share of the clairvoyant optimum that a policy captures, and what the site earns above mining alone.

A year of recorded prices that nothing was trained on: the policy learns from the years before it. Not shipped with the
project, so without the folder the bench says so and is skipped (exit status 77).

uplift_vs_mining: profit of the whole site over that of the same miners mining always and nothing else, less one. By
cause: AI contracts (what always_mine's GPUs earn, which serve contracts alone), AI spot (what the policy's earn on top),
curtailment (what the miners earn above mining always).
"""
import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SKIPPED = 77


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--policy", default="stochastic")
    parser.add_argument("--site", default="texas-north")
    parser.add_argument("--from", dest="first", default="2024-01-01")
    parser.add_argument("--to", dest="last", default="2024-12-31")
    parser.add_argument("--data", default=os.environ.get("HCP_DATA", ROOT.parent / "shared" / "data"))
    args = parser.parse_args()
    if not Path(args.data).is_dir():
        print(f"no recorded market data at {args.data}: set HCP_DATA", file=sys.stderr)
        return SKIPPED
    program = Path(os.environ.get("HCP_BUILD", ROOT / "build")) / "src/cmd/hcp"
    line = [program, "backtest", "--policy", f"always_mine,{args.policy}", "--site", args.site, "--data", args.data,
            "--from", args.first, "--to", args.last, "-o", "json"]
    done = subprocess.run([str(x) for x in line], capture_output=True, text=True)
    if done.returncode:
        print(done.stderr.strip(), file=sys.stderr)
        return 1
    report = json.loads(done.stdout)
    policies = {p["policy"]: p for p in report["policies"]}
    best, base = policies[args.policy], policies["always_mine"]
    mining = base["profit_usd"]
    contract = base["ai"]["profit_usd"] / mining
    spot = best["ai"]["profit_usd"] / mining - contract
    curtailment = best["profit_usd"] / mining - 1
    print(json.dumps({"id": "PERF-9", "policy": args.policy, "model": best.get("model"), "metrics": {
        "fraction": best["fraction"], "uplift_vs_mining": contract + spot + curtailment,
        "uplift_ai_contract": contract, "uplift_ai_spot": spot, "uplift_curtailment": curtailment,
        "run_s": best["seconds"]}}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
