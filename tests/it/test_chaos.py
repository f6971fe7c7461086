"""kill -9 of any process at any moment: nothing acknowledged is lost, no device has two owners, no joule is billed twice.

HCP_KILLS sets the number of kills (default 30; 200 is the full run).
"""
import os
import random
import sqlite3
import threading
import time
import uuid

import pytest

from hcp_platform import Platform

KILLS = int(os.environ.get("HCP_KILLS", "30"))
SEED = int(os.environ.get("HCP_SEED", "1"))
SETTLE_S = 60


class Customer(threading.Thread):
    """Submits and cancels all the while; repeats a submission with its key until it is answered."""

    def __init__(self, platform, token):
        super().__init__(daemon=True)
        self.platform, self.token = platform, token
        self.random = random.Random(SEED)
        self.acknowledged = {}  # key -> workload id
        self.cancelled = set()
        self.stop = threading.Event()
        self.conflicts = []

    def call(self, *args, **kwargs):
        try:
            return self.platform.call(*args, token=self.token, **kwargs)
        except (OSError, ValueError):
            return 0, None  # not answered: the process is away

    def submit(self):
        key = str(uuid.UUID(int=self.random.getrandbits(128)))
        body = {"type": self.random.choice(["ai_inference_batch", "ai_inference_realtime"]), "model": "llama-3-70b",
                "device_class": "H100", "device_count": self.random.choice([1, 1, 2]),
                "duration_s": self.random.choice([0, 2, 5])}
        while not self.stop.is_set():
            status, reply = self.call("POST", "/api/v1/workloads", body, headers={"idempotency-key": key})
            if status in (200, 201):
                self.acknowledged[key] = reply["id"]
                return
            if status in (400, 409, 422):
                self.conflicts.append((status, reply))
                return
            time.sleep(0.05)

    def cancel(self):
        open_ids = [i for i in self.acknowledged.values() if i not in self.cancelled]
        if open_ids:
            chosen = self.random.choice(open_ids)
            if self.call("DELETE", f"/api/v1/workloads/{chosen}")[0] == 200:
                self.cancelled.add(chosen)

    def run(self):
        while not self.stop.is_set():
            self.submit()
            if self.random.random() < 0.6:
                self.cancel()
            time.sleep(0.03)


def everything(platform, token, path, key):
    rows, cursor = [], ""
    while True:
        status, reply = platform.call("GET", f"{path}?limit=200&cursor={cursor}", token=token)
        assert status == 200, reply
        rows += reply[key]
        cursor = reply["next_cursor"]
        if not cursor:
            return rows


def scalar(path, sql):
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
        return db.execute(sql).fetchone()[0]


@pytest.mark.timeout(60 + KILLS * 6 + SETTLE_S * 2)
def test_kill_anything_anytime(program):
    for name in ("hcpd", "hcp-sim"):
        program(name)
    rng = random.Random(SEED)
    with Platform() as p:
        children = {"hcpd": p.hcpd()}
        mesh, token_file = f"127.0.0.1:{p.mesh}", p.state / "machine.token"
        children["fleet"] = p.start("hcp-sim", "fleet", "--mesh", mesh, "--token-file", token_file, "--seed", SEED, "--small")
        children["market"] = p.start("hcp-sim", "market", "--mesh", mesh, "--token-file", token_file, "--seed", SEED,
                                     "--speed", 3600)
        admin, john = p.login(), p.login("john@acme.com", "customer123")
        customer = Customer(p, john)
        customer.start()
        for _ in range(KILLS):
            time.sleep(rng.uniform(0.05, 1.0))
            victim = rng.choice(["hcpd", "hcpd", "fleet", "market"])
            p.kill(children[victim])
            time.sleep(rng.uniform(0, 0.2))
            children[victim] = p.again(children[victim])
        customer.stop.set()
        customer.join(30)
        assert not customer.conflicts
        assert len(customer.acknowledged) >= KILLS
        admin = p.login()

        listed = everything(p, admin, "/api/v1/workloads", "workloads")
        by_id = {w["id"]: w for w in listed}
        assert len(by_id) == len(listed)
        missing = [i for i in customer.acknowledged.values() if i not in by_id]
        assert not missing, f"acknowledged, then lost: {missing}"
        assert len(set(customer.acknowledged.values())) == len(customer.acknowledged)
        revived = [i for i in customer.cancelled if by_id[i]["state"] not in ("cancelled", "completed", "failed")]
        assert not revived, f"cancelled, then alive: {revived}"

        def at_rest():
            open_ones = [w for w in everything(p, admin, "/api/v1/workloads", "workloads")
                         if w["state"] not in ("cancelled", "completed", "failed")]
            return all(w["state"] in ("running", "queued") for w in open_ones) and open_ones or not open_ones
        p.wait("workloads to settle", SETTLE_S, at_rest)
        owners = {}
        for w in everything(p, admin, "/api/v1/workloads", "workloads"):
            for device in w["device_ids"] if w["state"] in ("scheduled", "running") else []:
                assert device not in owners, f"{device} belongs to {owners[device]} and {w['id']}"
                owners[device] = w["id"]
        for device in everything(p, admin, "/api/v1/resources", "devices"):
            if device["workload_id"]:
                assert owners.get(device["id"]) == device["workload_id"], device

        # Stop the fleet, let the last reports be metered, then both sides must tell the same joules.
        p.kill(children["fleet"])
        time.sleep(3)
        p.kill(children["market"])
        p.kill(children["hcpd"])
        for name in ("orchestrator", "resources", "billing", "router", "optimizer"):
            assert scalar(p.state / f"{name}.db", "PRAGMA integrity_check") == "ok", name
        metered = scalar(p.state / "resources.db", "SELECT sum(energy_j) FROM report")
        billed = scalar(p.state / "billing.db", "SELECT sum(energy_j) FROM revenue")
        assert metered == billed and metered > 0
