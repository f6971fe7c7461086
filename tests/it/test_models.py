"""Versions of a model on real nodes under load: not one request may be lost, whatever happens to a change."""
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest
import requests

from hcpd_process import wait_for
from hcp_platform import MODEL

NAME = MODEL.name
WAIT_S = 60


@pytest.fixture
def model(root, tmp_path):
    """A model folder with the versions v2, one layer less, and broken, half its weights."""
    folder = tmp_path / NAME
    if (MODEL / "config.json").exists():
        shutil.copytree(MODEL, folder)
    else:
        subprocess.run([sys.executable, root / "scripts" / "get-model", "--generate", folder], check=True,
                       stdout=subprocess.DEVNULL)
    for version in ("v2", "broken"):
        shutil.copytree(folder, folder / "versions" / version, ignore=shutil.ignore_patterns("versions"))
    config = folder / "versions/v2/config.json"
    values = json.loads(config.read_text())
    values["num_hidden_layers"] -= 1
    config.write_text(json.dumps(values))
    weights = folder / "versions/broken/model.safetensors"
    os.truncate(weights, weights.stat().st_size // 2)
    return folder


class Fleet:
    def __init__(self, program, h, model, tmp_path, nodes):
        self.h, self.program, self.model = h, program, model
        token = tmp_path / "token"
        token.write_text(h.machine_token)
        self.agents = [subprocess.Popen(
            [program("hcp-agent"), "--mesh", h.mesh, "--token-file", token, "--model", model, "--state", tmp_path / f"n{i}",
             "--node-id", f"n{i}", "--threads", "1"], stdout=subprocess.DEVNULL,
            stderr=open(tmp_path / f"n{i}.log", "wb")) for i in range(nodes)]
        self.market()
        wait_for("the nodes", lambda: self.get() and self.get()["nodes_done"] == nodes and self.embed() is not None, WAIT_S)

    def market(self):
        """Serving pays, so the nodes serve."""
        now = time.time_ns()
        rows = [("electricity_rt", "HB_WEST", 30), ("btc_usd", "", 60000), ("difficulty", "", 8e13), ("block_fees_btc", "", 0.1),
                ("block_height", "", 860000), ("gpu_rate", "CPU2", 0.16), ("gpu_rate", "CPU64", 4)]
        reply = requests.post(f"{self.h.url}/api/v1/market/ticks", headers={"authorization": f"Bearer {self.h.machine_token}"},
                              json={"ticks": [{"symbol": s, "location": x, "value": v, "observed_at_ns": now, "source": "test"}
                                              for s, x, v in rows]}, timeout=10)
        assert reply.status_code == 200, reply.text

    def embed(self):
        reply = requests.post(f"{self.h.url}/v1/embeddings", json={"model": NAME, "input": "power is dear at six"},
                              headers={"authorization": f"Bearer {self.h.login('john@acme.com', 'customer123')}"}, timeout=30)
        return reply.json()["data"][0]["embedding"] if reply.status_code == 200 else None

    def get(self):
        reply = self.h.call("GET", f"/api/v1/models/{NAME}")
        return reply.json() if reply.status_code == 200 else None

    def register(self, version):
        digest = subprocess.run([self.program("hcp"), "models", "digest", self.model / "versions" / version],
                                capture_output=True, text=True, check=True).stdout.strip()
        reply = self.h.call("POST", f"/api/v1/models/{NAME}/versions", json={"version": version, "digest": digest})
        assert reply.status_code == 201, reply.text

    def activate(self, version):
        reply = self.h.call("POST", f"/api/v1/models/{NAME}/activate", json={"version": version})
        assert reply.status_code == 200, reply.text

    def until(self, state, version):
        def there():
            m = self.get()
            return m["state"] == state and m["version"] == version and m["nodes_done"] == m["nodes"] and m
        return wait_for(f"{state} {version}", there, WAIT_S)

    def runtime(self, node, version):
        """Process ids of a node's runtimes of a version."""
        found = subprocess.run(["pgrep", "-P", str(self.agents[node].pid), "-f", f"[r]untime --model .*/{version} "],
                               capture_output=True, text=True).stdout.split()
        return [int(pid) for pid in found]


class Load:
    """Requests one after the other on two connections, all the while."""

    def __init__(self, fleet):
        self.bad, self.good, self.stop = [], 0, threading.Event()
        token = fleet.h.login("john@acme.com", "customer123")

        def run():
            session = requests.Session()
            while not self.stop.is_set():
                try:
                    reply = session.post(f"{fleet.h.url}/v1/embeddings", json={"model": NAME, "input": "a"}, timeout=30,
                                         headers={"authorization": f"Bearer {token}"})
                except requests.RequestException as e:
                    self.bad.append(str(e))
                    continue
                if reply.status_code == 200:
                    self.good += 1
                elif reply.status_code == 429:
                    time.sleep(0.05)  # the customer's rate, which is not what this is about
                else:
                    self.bad.append(f"{reply.status_code} {reply.text}")
                time.sleep(0.02)
        self.threads = [threading.Thread(target=run) for _ in range(2)]

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def more(self, n=5):
        """Goes on until so many more are answered, however busy the machine is."""
        enough = self.good + n
        wait_for(f"{enough} answers", lambda: self.good >= enough or self.bad, WAIT_S)

    def __exit__(self, *_):
        self.stop.set()
        for t in self.threads:
            t.join()


@pytest.fixture
def fleet(program, start_hcpd, model, tmp_path):
    f = Fleet(program, start_hcpd(), model, tmp_path, 2)
    yield f
    for a in f.agents:
        if a.poll() is None:
            a.terminate()
    for a in f.agents:
        a.wait(20)


def test_a_version_comes_and_goes_without_a_lost_request(fleet):
    base = fleet.embed()
    fleet.register("v2")
    with Load(fleet) as load:
        load.more()
        fleet.activate("v2")
        fleet.until("active", "v2")
        other = fleet.embed()
        load.more()
        reply = fleet.h.call("POST", f"/api/v1/models/{NAME}/rollback", json={"reason": "test"})
        assert reply.status_code == 200
        m = fleet.until("active", "base")
        again = fleet.embed()
        load.more()
    assert not load.bad
    assert again == base and other != base and len(other) == len(base)
    assert [c["what"] for c in m["changes"]][:3] == ["completed", "rolled_back", "completed"]
    shown = subprocess.run([fleet.program("hcp"), "--help"], capture_output=True, text=True).stdout
    assert "models activate" in shown


def test_a_broken_version_is_turned_back_with_its_reason(fleet):
    fleet.register("broken")
    with Load(fleet) as load:
        fleet.activate("broken")
        m = fleet.until("rolled_back", "base")
    assert not load.bad and load.good > 0
    assert "leave the" in m["error"] and m["error"].startswith("node n")  # safetensors' own words
    assert all(n["version"] == "base" for n in m["node_states"])
    # Files that are not those which were registered are not served.
    fleet.register("v2")
    (fleet.model / "versions/v2/sentence_bert_config.json").write_text('{"max_seq_length": 17}')
    fleet.activate("v2")
    assert "digest" in fleet.until("rolled_back", "base")["error"]


def test_a_killed_candidate_turns_it_back_and_a_killed_platform_goes_on(fleet):
    fleet.register("v2")
    with Load(fleet) as load:
        fleet.activate("v2")
        # A candidate that dies before it served; one that already serves is no candidate.
        pids = wait_for("a candidate", lambda: fleet.runtime(0, "v2") + fleet.runtime(1, "v2"), WAIT_S)
        os.kill(pids[0], signal.SIGKILL)
        m = wait_for("an end", lambda: (x := fleet.get())["state"] in ("active", "rolled_back") and x, WAIT_S)
        if m["state"] == "rolled_back":
            assert "signal 9" in m["error"]
        fleet.until(m["state"], m["version"])
    assert not [b for b in load.bad if "503" not in b]  # a serving runtime that is killed may cost its own requests
    fleet.activate("v2" if m["version"] == "base" else "base")
    wanted = fleet.get()["version"]
    fleet.h.kill()
    fleet.h.start()
    fleet.until("active", wanted)
    assert fleet.embed() is not None
