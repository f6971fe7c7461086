"""Batch programs on real agents: they save themselves, move, are killed, and no work is done twice or in two places."""
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from hcpd_process import wait_for

COUNT = Path(__file__).parent / "programs" / "count.py"
JOHN, JANE = "john@acme.com", "jane@globex.com"
STEPS = 200


class Nodes:
    """Agents of one shared folder of checkpoints. The folder may be entered by programs, which are nobody's if root starts us."""

    def __init__(self, h, program):
        self.h, self.program = h, program
        self.dir = Path(tempfile.mkdtemp(prefix="hcp-ckpt-"))
        self.dir.chmod(0o755)
        self.shared = self.dir / "checkpoints"
        self.shared.mkdir(mode=0o755)
        self.code = self.dir / "count.py"
        shutil.copy(COUNT, self.code)
        self.code.chmod(0o755)
        self.agents = {}

    def start(self, name, *args, rows=(f"count={{}} {STEPS} 20",)):
        argv = [self.program("hcp-agent"), "--mesh", self.h.mesh, "--token-file", self.h.state / "machine.token", "--node-id", name,
                "--state", self.dir / name, "--checkpoints", self.shared, "--threads", "1", "--grace-ms", "3000", *args]
        for row in rows:
            argv += ["--program", row.format(self.code)]
        with open(self.dir / f"{name}.log", "ab") as log:
            self.agents[name] = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=log)
        wait_for(f"{name} to be known", lambda: any(d["id"] == f"{name}/cpu0" and d["state"] == "idle" for d in self.devices()), 30)

    def devices(self):
        return self.h.call("GET", "/api/v1/resources").json()["devices"]

    def kill(self, name):
        self.agents[name].kill()
        self.agents[name].wait()

    def folder(self, w):
        return self.shared / w

    def trace(self, w):
        """(step, pid, ns) of every step and start, as the program itself wrote them down."""
        path = self.folder(w) / "trace"
        rows = []
        for line in path.read_text().splitlines() if path.exists() else []:
            kind, *rest = line.split()
            rows.append((-int(rest.pop(0)) - 1 if kind == "start" else int(kind), int(rest[0]), int(rest[1])))
        return rows

    def close(self):
        for a in self.agents.values():
            if a.poll() is None:
                a.kill()
                a.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


@pytest.fixture
def nodes(start_hcpd, program):
    n = Nodes(start_hcpd(), program)
    yield n
    n.close()


def submit(h, who=JOHN, program="count", **body):
    reply = h.call("POST", "/api/v1/workloads", who, json={"name": "count", "type": "model_training", "program": program} | body)
    assert reply.status_code == 201, reply.text
    return reply.json()["id"]


def get(h, w, who=JOHN):
    return h.call("GET", f"/api/v1/workloads/{w}", who).json()


def wait_state(h, w, state, seconds=60):
    return wait_for(f"{w} to be {state}: {get(h, w)}", lambda: (x := get(h, w))["state"] == state and x, seconds)


def wait_step(h, w, step, seconds=60):
    return wait_for(f"step {step}", lambda: (c := get(h, w).get("checkpoint")) and int(c["step"]) >= step and c, seconds)


def node_of(h, w):
    return get(h, w)["device_ids"][0].split("/")[0]


def check_trace(rows, repeats):
    """One process at a time; each goes on where the one before saved itself; at most `repeats` steps were done twice."""
    starts = [i for i, r in enumerate(rows) if r[0] < 0]
    assert starts and starts[0] == 0
    for a, b in zip(starts, starts[1:] + [len(rows)]):
        assert len({pid for _, pid, _ in rows[a:b]}) == 1, "two processes at once"
        assert [r[0] for r in rows[a + 1:b]] == list(range(-rows[a][0], -rows[a][0] + b - a - 1)), "steps of a run follow each other"
    assert [t for _, _, t in rows] == sorted(t for _, _, t in rows)
    steps = [r[0] for r in rows if r[0] > 0]
    assert len(steps) - len(set(steps)) <= repeats, f"{len(steps) - len(set(steps))} steps were done twice"
    return len(starts)


def test_runs_to_its_end_and_moves_in_the_middle(nodes, program):
    h = nodes.h
    nodes.start("a")
    nodes.start("b")
    w = submit(h)
    wait_state(h, w, "running")
    first = node_of(h, w)
    wait_step(h, w, 40)
    env = os.environ | {"HCP_URL": h.url, "HCP_TOKEN": h.login(JOHN, "customer123")}
    assert h.call("POST", f"/api/v1/workloads/{w}/migrate", JANE).status_code == 404
    out = subprocess.run([program("hcp"), "workloads", "migrate", w], env=env, capture_output=True, text=True, timeout=20)
    assert out.returncode == 0, out.stderr
    wait_for("it to run elsewhere", lambda: (x := get(h, w))["state"] == "running" and x["device_ids"]
             and not x["device_ids"][0].startswith(first + "/"), 60)
    done = wait_state(h, w, "completed")
    assert done["reason"] == "its program is done" and int(done["checkpoint"]["step"]) == STEPS
    assert (nodes.folder(w) / "result").read_text() == str(STEPS * (STEPS + 1) // 2)
    assert check_trace(nodes.trace(w), repeats=0) == 2
    wait_for("both nodes to be idle", lambda: all(d["state"] == "idle" for d in nodes.devices()), 30)
