"""Batch programs on real agents: they save themselves, move, are killed, and no work is done twice or in two places."""
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from hcpd_process import wait_for

ROOT = Path(__file__).resolve().parents[2]
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


def test_pause_loses_nothing(nodes):
    h = nodes.h
    nodes.start("a")
    w = submit(h)
    wait_step(h, w, 30)
    assert h.call("POST", f"/api/v1/workloads/{w}/pause", JOHN).status_code == 200
    wait_for("the device to be free", lambda: nodes.devices()[0]["state"] == "idle", 30)
    at = len(nodes.trace(w))
    saved = int(get(h, w)["checkpoint"]["step"])
    assert saved == nodes.trace(w)[-1][0], "what SIGTERM made it save is what the platform knows"
    time.sleep(0.5)
    assert len(nodes.trace(w)) == at
    assert h.call("POST", f"/api/v1/workloads/{w}/migrate", JOHN).status_code == 409
    assert h.call("POST", f"/api/v1/workloads/{w}/resume", JOHN).status_code == 200
    wait_state(h, w, "completed")
    assert check_trace(nodes.trace(w), repeats=0) == 2


def test_goes_on_elsewhere_when_its_agent_is_killed(nodes):
    h = nodes.h
    nodes.start("a")
    nodes.start("b")
    w = submit(h)
    saved = int(wait_step(h, w, 50)["step"])
    first, pid = node_of(h, w), nodes.trace(w)[-1][1]
    nodes.kill(first)
    wait_for("its program to be gone with it", lambda: not os.path.exists(f"/proc/{pid}"), 5)
    wait_state(h, w, "completed", 90)
    rows = nodes.trace(w)
    assert check_trace(rows, repeats=20) == 2
    again = [-step - 1 for step, _, _ in rows if step < 0][1]
    assert again >= saved, "what was acknowledged was not lost"


def test_nothing_of_a_program_outlives_its_agent(nodes):
    nodes.start("a", rows=("count={} 5000 20 family",))
    w = submit(nodes.h)
    wait_step(nodes.h, w, 10)
    family = [nodes.trace(w)[-1][1], int((nodes.folder(w) / "child").read_text())]
    assert all(os.path.exists(f"/proc/{pid}") for pid in family)
    nodes.kill("a")
    wait_for("all of it to be gone", lambda: not any(os.path.exists(f"/proc/{pid}") for pid in family), 5)


def test_cut_off_it_saves_itself_before_its_lease_ends(nodes):
    h = nodes.h
    nodes.start("a", rows=("count={} 800 20",))
    w = submit(h)
    wait_step(h, w, 20)
    pid = nodes.trace(w)[-1][1]
    h.kill()
    wait_for("the program to end with the lease", lambda: not os.path.exists(f"/proc/{pid}"), 30)
    last = nodes.trace(w)[-1][0]
    assert (nodes.folder(w) / f"step-{last}").exists(), "it was told to save itself, not killed"
    h.start()
    wait_state(h, w, "completed", 60)
    assert check_trace(nodes.trace(w), repeats=0) == 2


def test_agent_that_comes_back_goes_on(nodes):
    """Killed and started anew before its lease has run out: the same allocation goes on from the last checkpoint."""
    h = nodes.h
    nodes.start("a")
    w = submit(h)
    wait_step(h, w, 50)
    nodes.kill("a")
    with open(nodes.dir / "a.log", "ab") as log:
        nodes.agents["a"] = subprocess.Popen(nodes.agents["a"].args, stdout=subprocess.DEVNULL, stderr=log)
    wait_state(h, w, "completed", 90)
    assert check_trace(nodes.trace(w), repeats=20) == 2


def test_hcpd_is_killed_in_the_middle(nodes):
    h = nodes.h
    nodes.start("a")
    nodes.start("b")
    w = submit(h)
    wait_step(h, w, 40)
    h.kill()
    h.start()
    wait_step(h, w, 60)
    assert h.call("POST", f"/api/v1/workloads/{w}/migrate", JOHN).status_code == 200
    h.kill()
    h.start()
    wait_state(h, w, "completed", 90)
    assert check_trace(nodes.trace(w), repeats=20) == 2
    assert (nodes.folder(w) / "result").read_text() == str(STEPS * (STEPS + 1) // 2)


def test_one_that_ignores_the_order_to_stop_is_killed(nodes):
    h = nodes.h
    nodes.start("a", rows=(f"count={{}} {STEPS} 20 deaf",))
    w = submit(h)
    wait_step(h, w, 20)
    pid = nodes.trace(w)[-1][1]
    assert h.call("DELETE", f"/api/v1/workloads/{w}", JOHN).status_code == 200
    assert os.path.exists(f"/proc/{pid}")
    wait_for("it to be killed", lambda: not os.path.exists(f"/proc/{pid}"), 15)
    wait_for("the device to be free", lambda: nodes.devices()[0]["state"] == "idle", 30)


def test_one_that_floods_its_output_neither_fills_the_disk_nor_stops_the_node(nodes):
    h = nodes.h
    nodes.start("a", rows=("count={} 100 2 flood",))
    w = submit(h)
    wait_state(h, w, "completed", 60)
    logs = [f.stat().st_size for f in (nodes.dir / "a").glob("program.log.*")]
    assert len(logs) == 2 and max(logs) <= 1 << 20, logs
    assert int(get(h, w)["checkpoint"]["step"]) == 100


def test_corrupt_checkpoint_is_named(nodes):
    h = nodes.h
    nodes.start("a")
    nodes.start("b")
    w = submit(h)
    wait_step(h, w, 30)
    assert h.call("POST", f"/api/v1/workloads/{w}/pause", JOHN).status_code == 200
    wait_for("the devices to be free", lambda: all(d["state"] == "idle" for d in nodes.devices()), 30)
    checkpoint = get(h, w)["checkpoint"]
    path = nodes.folder(w) / checkpoint["name"]
    content = path.read_text()
    path.write_text(content.replace("total", "tota1"))
    assert h.call("POST", f"/api/v1/workloads/{w}/resume", JOHN).status_code == 200
    bad = wait_for("the refusal to be told", lambda: (x := get(h, w))["state"] == "queued" and "is corrupt" in x["reason"] and x, 60)
    assert checkpoint["name"] in bad["reason"] and checkpoint["digest"][:23] in bad["reason"], bad["reason"]
    path.write_text(content)
    wait_state(h, w, "completed", 90)
    assert check_trace(nodes.trace(w), repeats=0) == 2


def test_failure_tells_the_end_of_its_log(nodes):
    h = nodes.h
    nodes.start("a", rows=("count={} 50 2 fail-at 25",))
    w = submit(h)
    waiting = wait_for("the failure to be told", lambda: (x := get(h, w))["state"] in ("queued", "failed") and "failed" in x["reason"] and x, 30)
    assert "exit 1: the numbers do not add up" in waiting["reason"], waiting["reason"]
    assert int(waiting["checkpoint"]["step"]) == 20


def explain(h, program, w):
    env = os.environ | {"HCP_URL": h.url, "HCP_TOKEN": h.login(JOHN, "customer123")}
    out = subprocess.run([program("hcp"), "explain", w], env=env, capture_output=True, text=True, timeout=20)
    assert out.returncode == 0, out.stderr
    return out.stdout


def test_goes_to_nodes_that_have_it_and_says_when_none_does(nodes, program):
    h = nodes.h
    for i in range(3):
        nodes.start(f"other{i}", rows=("other={} 5 20",))
    w = submit(h)
    waiting = wait_for("the reason", lambda: (x := get(h, w))["state"] == "queued" and "program" in x["reason"] and x)
    assert waiting["reason"] == "no node has program count"
    assert "no node has program count" in explain(h, program, w)
    nodes.start("z")  # the last in every order
    done = wait_state(h, w, "completed")
    history = h.call("GET", f"/api/v1/workloads/{w}/history", JOHN).json()["transitions"]
    assert [t["to"] for t in history] == ["queued", "scheduled", "running", "completed"], history  # and was never refused
    assert int(done["checkpoint"]["step"]) == STEPS


def test_yields_to_real_time_work_and_goes_on_from_its_checkpoint(start_hcpd, program, tmp_path):
    settings = tmp_path / "settings.yaml"
    settings.write_text("scheduling:\n  min_run_p3_s: 1\n")
    nodes = Nodes(start_hcpd("hcpd", "--settings", settings), program)
    try:
        h = nodes.h
        model = tmp_path / "hcp-generated-tiny"
        subprocess.run([sys.executable, ROOT / "scripts" / "get-model", "--generate", model], check=True, stdout=subprocess.DEVNULL)
        nodes.start("a", "--model", model)
        w = submit(h)
        wait_step(h, w, 40)
        reply = h.call("POST", "/api/v1/workloads", JANE,
                       json={"name": "now", "type": "ai_inference_realtime", "model": "hcp-generated-tiny"})
        assert reply.status_code == 201, reply.text
        urgent = reply.json()["id"]
        wait_for("the real-time work to run", lambda: get(h, urgent, JANE)["state"] == "running", 60)
        x = get(h, w)
        assert x["state"] == "queued" and x["preemptions"] == 1 and x["preempted_by"] == urgent and not x["device_ids"], x
        rows = nodes.trace(w)
        assert 40 <= rows[-1][0] < STEPS and int(x["checkpoint"]["step"]) == rows[-1][0], "it saved itself when it was told to stop"
        assert not os.path.exists(f"/proc/{rows[-1][1]}")
        out = explain(h, program, w)
        assert f"gave its devices up to others 1 time, the last time to {urgent}; what it had done was saved" in out, out
        assert h.call("DELETE", f"/api/v1/workloads/{urgent}", JANE).status_code == 200
        wait_state(h, w, "completed")
        assert check_trace(nodes.trace(w), repeats=0) == 2
        assert (nodes.folder(w) / "result").read_text() == str(STEPS * (STEPS + 1) // 2)
    finally:
        nodes.close()
