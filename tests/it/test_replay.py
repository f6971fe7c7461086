"""`hcp replay` on the real platform: base copies, a pruned journal, windows, damage, tampering, kills."""
import json
import sqlite3
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone

import pytest
import requests

from hcpd_process import wait_for

JOHN = "john@acme.com"
JOB = {"type": "ai_inference_batch", "device_class": "H100"}
# Far below what anyone would run with: a base copy every 16 KiB of journal (or every so many bytes as the last has).
TINY = ("--base-kib", 16, "--bases", 2, "--no-durable")


def bases(h, service="orchestrator"):
    return sorted(int(p.stem) for p in (h.state / "bases" / service).glob("*.base"))


def work(h, n):
    h.login(JOHN, "customer123")
    body = {**JOB, "model": "m" * 200}
    with ThreadPoolExecutor(4) as pool:
        for reply in pool.map(lambda i: h.call("POST", "/api/v1/workloads", JOHN, json={**body, "name": f"w{i}"}), range(n)):
            assert reply.status_code == 201, reply.text


def work_until_pruned(h):
    seen = set()
    for _ in range(100):
        work(h, 100)
        seen.update(bases(h))
        if len(seen) >= 4 and sqlite(h, "SELECT min(no) FROM hcp_batch") > 1:
            return
    pytest.fail(f"after 10,000 workloads there were only the bases {seen}")


def sqlite(h, sql, *args):
    db = sqlite3.connect(h.state / "orchestrator.db", timeout=20)
    try:
        with db:
            row = db.execute(sql, args).fetchone()
        return row[0] if row else None
    finally:
        db.close()


def time_of(h, batch):
    ns = sqlite(h, "SELECT at_ns FROM hcp_batch WHERE no=?", batch)
    return datetime.fromtimestamp(ns // 10**9, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S") + f".{ns % 10**9:09d}Z"


def replay(program, h, *args):
    done = subprocess.run([program("hcp"), "replay", *map(str, args), "--state", h.state], capture_output=True, text=True, timeout=120)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def test_windows_of_a_pruned_journal(start_hcpd, program):
    h = start_hcpd("pruned", *TINY)
    # Billing passes over work that never runs; the market is for everybody.
    tick = {"symbol": "btc_usd", "value": 60000.0, "observed_at_ns": time.time_ns(), "source": "test"}
    assert h.call("POST", "/api/v1/market/ticks", "machine", json={"ticks": [tick]}).status_code == 200
    work_until_pruned(h)
    # Of the running platform, every service at once.
    code, reports, said = replay(program, h)
    assert code == 0, (reports, said)
    assert {r["service"] for r in reports} >= {"orchestrator", "router", "billing"}
    assert all(r["identical"] for r in reports)
    work(h, 20)
    h.stop()
    kept = bases(h)
    last = sqlite(h, "SELECT max(no) FROM hcp_batch")
    assert len(kept) == 2 and kept[1] + 5 < last
    assert 1 < sqlite(h, "SELECT min(no) FROM hcp_batch") <= kept[0]

    code, [report], said = replay(program, h, "orchestrator", "--from", time_of(h, kept[1] + 2), "--to", time_of(h, last))
    assert code == 0, said
    assert (report["base_batch"], report["from_batch"], report["to_batch"]) == (kept[1], kept[1] + 2, last)
    assert report["batches"] == last - kept[1] and report["identical"] and report["events"] > 0

    code, reports, said = replay(program, h, "--service", "orchestrator", "--from", "2001-01-01", "--to", "2001-01-02")
    assert code == 2 and not reports
    assert f"batch {kept[0] + 1} of " in said and "begin there or later" in said and "hcpd --bases" in said
    code, reports, said = replay(program, h, "orchestrator", "--from", "2100-01-01")
    assert code == 2 and "nothing of orchestrator was recorded in it; its journal goes from" in said

    # One bit of the newest base: said, and the older one is used.
    path = h.state / "bases" / "orchestrator" / f"{kept[1]:020d}.db"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    window = ("--from", time_of(h, kept[1] + 2))
    code, [report], said = replay(program, h, "orchestrator", *window)
    assert code == 0 and report["identical"] and report["base_batch"] == kept[0]
    [passed_over] = report["unusable_bases"]
    assert f"base of batch {kept[1]}: " in passed_over and "checksum" in passed_over

    # One recorded batch is not as it was: service, batch and message are named.
    target = sqlite(h, "SELECT max(no) FROM hcp_batch WHERE length(events)>0")
    assert target > kept[1] + 2
    sqlite(h, "UPDATE hcp_batch SET at_ns=at_ns+1000 WHERE no=?", target)
    code, [report], said = replay(program, h, "orchestrator", *window)
    assert code == 1 and not report["identical"]
    assert (report["service"], report["first_difference"]) == ("orchestrator", target)
    assert report["detail"].startswith("event 1 (") and "differs from byte" in report["detail"]


def ask_until_gone(h):
    try:
        while True:
            h.call("POST", "/api/v1/workloads", JOHN, json=JOB, timeout=10)
    except requests.RequestException:
        pass


def test_killed_while_bases_are_taken(start_hcpd, program):
    h = start_hcpd("killed", *TINY)
    folder = h.state / "bases" / "orchestrator"
    work(h, 100)
    for _ in range(4):
        before = bases(h)
        with ThreadPoolExecutor(1) as pool:
            asking = pool.submit(ask_until_gone, h)
            # In the middle of a copy if it can be caught, else right after one.
            wait_for("a base", lambda: list(folder.glob("*.tmp")) or bases(h) != before, 60)
            h.kill()
            asking.result()
        h.start()
        # What was half copied is gone; the next copy may already be under way.
        wait_for("no half copies", lambda: not list(folder.glob("*.tmp")), 60)
    code, reports, said = replay(program, h)
    assert code == 0, (reports, said)
    assert all(r["identical"] and not r.get("unusable_bases") for r in reports)


def test_options(program, tmp_path):
    for args, word in ((("--from", "2026-01-01"), "--replay"), (("--replay", tmp_path, "--from", "soon"), "--from"),
                       (("--replay", tmp_path, "--from", "2026-01-02", "--to", "2026-01-01"), "--to"), (("--bases", 65), "--bases"),
                       (("--base-kib", 0), "--base-kib"), (("--replay", tmp_path, "--service", "router"), "--replay"),
                       (("--replay", tmp_path), "--replay"), (("--replay", tmp_path / "nowhere"), "there is no")):
        done = subprocess.run([program("hcpd"), *map(str, args)], capture_output=True, text=True, timeout=20)
        assert done.returncode == 2 and word in done.stderr, (args, done)
