"""hcp-agent alone against hcp-sim's pool: it mines, serves in between, survives its runtime, its pool and SIGTERM."""
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

WAIT_S = 60


def wait_for(what, fn):
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        value = fn()
        if value:
            return value
        time.sleep(0.02)
    pytest.fail(f"not within {WAIT_S} s: {what}")


class Node:
    def __init__(self, program, root, folder, pool_port, *args):
        self.model = folder / "hcp-generated-tiny"
        subprocess.run([sys.executable, root / "scripts" / "get-model", "--generate", self.model], check=True,
                       stdout=subprocess.DEVNULL)
        self.log = open(folder / "agent.log", "w")
        self.process = subprocess.Popen(
            [program("hcp-agent"), "--no-mesh", "--pool", f"127.0.0.1:{pool_port}", "--model", self.model,
             "--state", folder / "state", "--threads", "2", *args],
            stdout=subprocess.PIPE, stderr=self.log, text=True)
        started = json.loads(self.process.stdout.readline())
        self.node_id = started["node_id"]
        self.url = f"http://127.0.0.1:{started['port']}"

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=10) as r:
            return json.load(r)

    def health(self):
        return self.get("/health")

    def embed(self, **body):
        request = urllib.request.Request(self.url + "/v1/embeddings", json.dumps(body).encode(),
                                         {"content-type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as r:
                return r.status, json.load(r)
        except urllib.error.HTTPError as e:
            return e.code, json.load(e)

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        code = self.process.wait(timeout=WAIT_S)
        self.log.close()
        return code


def start_pool(program, port, http):
    return subprocess.Popen([program("hcp-sim"), "pool", "--port", str(port), "--http", str(http), "--difficulty", "0.00002",
                             "--job-s", "2"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.fixture
def ports(free_port):
    return free_port(), free_port()


@pytest.fixture
def pool(program, ports):
    p = start_pool(program, *ports)
    yield p
    p.kill()
    p.wait()


@pytest.fixture
def node(program, root, tmp_path, pool, ports):
    n = Node(program, root, tmp_path, ports[0])
    wait_for("mining", lambda: n.health()["pool"]["accepted"] >= 3)
    wait_for("runtime", lambda: n.health()["runtime"]["state"] == "ready")
    yield n
    if n.process.poll() is None:
        n.process.kill()
        n.process.wait()


def test_mines_and_serves(node, ports):
    for _ in range(3):
        before = node.health()
        status, answer = node.embed(model="hcp-generated-tiny", input=["a", "b"])
        assert status == 200 and [row["index"] for row in answer["data"]] == [0, 1]
        wait_for("filling again", lambda: node.health()["gate"]["state"] == "fill")
        wait_for("hashes", lambda: node.health()["device"]["hashes"] > before["device"]["hashes"])
    health = wait_for("local switches", lambda: (h := node.health())["local_switches"] == 3 and h)
    assert health["status"] == "ok" and health["requests"] == 3 and health["added_ns"]["count"] == 3
    assert health["pool"]["rejected"] == 0 and health["device"]["power_w"] > 0
    assert [m["id"] for m in node.get("/v1/models")["data"]] == ["hcp-generated-tiny"]
    status, answer = node.embed(model="other", input="a")
    assert status == 404 and answer["error"]["param"] == "model"
    # What the pool says, which hashed each share itself.
    with urllib.request.urlopen(f"http://127.0.0.1:{ports[1]}/stats", timeout=10) as r:
        assert '"accepted":' in r.read().decode().replace(" ", "")


def test_runtime_is_restarted(node):
    pid = node.health()["runtime"]["pid"]
    if os.geteuid() == 0:
        with open(f"/proc/{pid}/status") as f:
            uid = next(line for line in f if line.startswith("Uid:")).split()[1]
        assert uid == "65534"
    os.kill(pid, signal.SIGKILL)
    health = wait_for("restart", lambda: (h := node.health())["runtime"]["state"] == "ready"
                      and h["runtime"]["pid"] != pid and h)
    assert health["runtime"]["exits"] == 1 and health["runtime"]["last_exit"] == "signal 9"
    assert node.embed(model="hcp-generated-tiny", input="a")[0] == 200


def test_pool_dies_and_comes_back(program, node, pool, ports):
    pool.kill()
    pool.wait()
    health = wait_for("pool down", lambda: (h := node.health())["detail"] == "pool down" and h)
    assert health["status"] == "degraded" and not health["pool"]["up"]
    assert node.embed(model="hcp-generated-tiny", input="a")[0] == 200
    again = start_pool(program, *ports)
    try:
        had = node.health()["pool"]["accepted"]
        wait_for("mining again", lambda: node.health()["pool"]["accepted"] > had)
        assert node.health()["pool"]["rejected"] == 0
    finally:
        again.kill()
        again.wait()


def test_stops_cleanly_and_keeps_its_id(program, root, tmp_path, node, ports):
    runtime = node.health()["runtime"]["pid"]
    assert node.stop() == 0
    wait_for("the runtime's end", lambda: not os.path.exists(f"/proc/{runtime}"))
    second = Node(program, root, tmp_path, ports[0])
    try:
        assert second.node_id == node.node_id
        runtime = wait_for("runtime", lambda: second.health()["runtime"]["pid"])
    finally:
        second.process.kill()
        second.process.wait()
    # Killed without warning, it takes its runtime along.
    wait_for("the runtime's end", lambda: not os.path.exists(f"/proc/{runtime}"))


def test_refuses_a_bad_command_line(program, tmp_path):
    for args, word in (([], "state"), (["--state", tmp_path, "--no-mesh"], "pool"),
                       (["--state", tmp_path, "--no-mesh", "--model", tmp_path / "none"], "model"),
                       (["--state", tmp_path, "--no-mesh", "--pool", "x:1", "--engine", "abacus"], "engine")):
        p = subprocess.run([program("hcp-agent"), *args], capture_output=True, text=True, timeout=30)
        assert p.returncode in (1, 2) and word in p.stderr
