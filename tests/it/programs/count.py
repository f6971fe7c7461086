#!/usr/bin/env python3
"""A program as docs/checkpoints.md asks for: sums 1..N, a step each few milliseconds, and notes every step that it does.

count.py N [step_ms] [deaf|flood|family|fail-at STEP]
"""
import json
import os
import signal
import subprocess
import sys
import time

n, step_ms, *more = sys.argv[1:]
n, pause_s, mode = int(n), int(step_ms) / 1000, more[0] if more else ""
folder, restore = os.environ["HCP_CHECKPOINT_DIR"], os.environ.get("HCP_RESTORE")
stop = []
signal.signal(signal.SIGTERM, signal.SIG_IGN if mode == "deaf" else lambda *_: stop.append(1))
step = total = 0
if restore:
    with open(restore) as f:
        was = json.load(f)
    step, total = was["step"], was["total"]


def say(**more):
    print(json.dumps({"step": step, "of": n, **more}), flush=True)


def save():
    name = f"step-{step}"
    with open(f"{folder}/.part", "w") as f:
        json.dump({"step": step, "total": total}, f)
        f.flush()
        os.fsync(f.fileno())
    os.rename(f"{folder}/.part", f"{folder}/{name}")
    say(checkpoint=name)


if mode == "family":  # one that leaves the process group, as daemons do
    child = subprocess.Popen(["/bin/sleep", "600"], start_new_session=True)
    with open(f"{folder}/child", "w") as f:
        f.write(str(child.pid))
say()
with open(f"{folder}/trace", "a") as trace:
    trace.write(f"start {step} {os.getpid()} {time.time_ns()}\n")
    trace.flush()
    while step < n and not stop:
        step += 1
        total += step
        trace.write(f"{step} {os.getpid()} {time.time_ns()}\n")
        trace.flush()
        time.sleep(pause_s)
        if mode == "flood":
            sys.stdout.write("x" * 100_000 + "\n")
        if mode == "fail-at" and step == int(more[1]):
            sys.exit("the numbers do not add up")
        if step % 10 == 0 and step < n:
            save()
    if step == n:
        with open(f"{folder}/result", "w") as f:
            f.write(str(total))
    save()
    if step == n:
        say(done=True)
