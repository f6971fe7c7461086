"""Nodes are rented while jobs wait and given back when idle: hcpd, a provider that really starts processes, kill -9."""
import json
import os
import re
import subprocess
import pytest

from hcpd_process import wait_for
import requests

JOHN, OPERATOR = "john@acme.com", "operator@mara.com"
SETTINGS = """
autoscaling:
  provider: http://127.0.0.1:{port}
  budget_usd_h: 50
  up_after_s: 1
  idle_s: 4
  cooldown_s: 1
  boot_s: 60
  check_s: 1
  call_s: 1
  types:
    - name: h100
      device_class: H100
      devices: 8
      nodes_max: 3
      price_max_usd_h: 25
      facility: cloud-a
      region: us-tx
"""


class Cloud:
    def __init__(self, program, h, *args):
        self.process = subprocess.Popen([program("hcp-sim"), "cloud", "--port", "0", "--mesh", h.mesh, "--token-file",
                                         h.state / "machine.token", *args], stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            found = re.search(r"http port (\d+)", line)
            if found:
                self.port = int(found[1])
                break
        else:
            pytest.fail("the provider did not start")

    def nodes(self):
        return requests.get(f"http://127.0.0.1:{self.port}/v1/nodes", timeout=10).json()["nodes"]

    def end(self):
        self.process.terminate()
        self.process.wait(20)
        self.process.stderr.close()


@pytest.fixture
def rig(start_hcpd, program, tmp_path):
    """rig(*cloud_args): hcpd with a provider of its own; its ports are found by a first start."""
    clouds = []

    def start(*args):
        h = start_hcpd()
        assert h.stop() == 0
        clouds.append(Cloud(program, h, *args))
        settings = tmp_path / "settings.yaml"
        settings.write_text(SETTINGS.format(port=clouds[-1].port))
        h.args = ("--settings", settings)
        return h.start(), clouds[-1]
    yield start
    for c in clouds:
        c.end()


def submit(h, n, duration_s=2, **body):
    job = {"type": "ai_inference_batch", "model": "llama-3-70b", "device_class": "H100", "device_count": 1, "name": "n",
           "duration_s": duration_s} | body
    made = h.call("POST", "/api/v1/workloads/batch", JOHN, json={"workloads": [job] * n})
    assert made.status_code == 201, made.text
    return [w["id"] for w in made.json()["workloads"]]


def states(h, ids):
    return [h.call("GET", f"/api/v1/workloads/{i}", JOHN).json()["state"] for i in ids]


def status(h):
    return h.call("GET", "/api/v1/autoscale", OPERATOR).json()


def test_ten_waiting_jobs_bring_a_node_that_runs_them_and_goes(rig, program):
    h, cloud = rig("--boot-ms", "1500")
    nine = submit(h, 9, 600)
    s = wait_for("the provider's caller", lambda: (lambda s: s["provider_seen_at_ns"] and s["types"][0]["jobs_waiting"] == 9 and s)
                 (status(h)), 20)
    assert s["enabled"] and s["circuit"] == "closed" and not s["types"][0].get("enough_since_ns"), s
    for i in nine:
        h.call("DELETE", f"/api/v1/workloads/{i}", JOHN)
    assert cloud.nodes() == []
    # One token is in the provider's hands when the process is shot; so is a node that boots.
    jobs = submit(h, 10)
    wait_for("a start at the provider", cloud.nodes, 30)
    h.kill()
    h.start()
    wait_for("the jobs to end", lambda: set(states(h, jobs)) == {"completed"}, 60)
    up = wait_for("nodes in use", lambda: [n for n in status(h)["nodes"] if n["state"] == "up"], 20)
    assert up[0]["price_micros_h"] == 20_000_000 and up[0]["node"].startswith("h100-"), up
    h.kill() # and when they are about to go
    h.start()
    wait_for("the nodes to be given back", lambda: not status(h).get("nodes"), 60)
    there = cloud.nodes()
    assert {n["state"] for n in there} == {"stopped"} and {n["starts"] for n in there} == {1}, there
    ended = status(h)["ended"]
    assert {e["token"] for e in ended} == {n["token"] for n in there}, (ended, there)
    assert all(e["cost_micros"] > 0 and "idle for" in e["reason"] for e in ended), ended
    assert h.call("GET", "/api/v1/autoscale", JOHN).status_code == 403
    env = os.environ | {"HCP_URL": h.url, "HCP_TOKEN": h.login(OPERATOR, "operator123")}
    out = subprocess.run([program("hcp"), "autoscale", "ledger", "-o", "json"], env=env, capture_output=True, text=True, timeout=20)
    assert out.returncode == 0 and len(json.loads(out.stdout)) == len(ended), out.stdout + out.stderr
    out = subprocess.run([program("hcp"), "autoscale", "status"], env=env, capture_output=True, text=True, timeout=20)
    assert out.returncode == 0 and "cloud-a" in out.stdout, out.stdout + out.stderr


def test_a_provider_that_fails_opens_the_circuit_and_says_so(rig):
    h, cloud = rig("--fail", "1000000")
    submit(h, 12, 600)
    s = wait_for("the circuit to open", lambda: (lambda s: s["circuit"] == "open" and s["held"] and s)(status(h)), 60)
    assert "failed too often" in s["held"] and cloud.nodes() == [], s


def test_a_start_without_an_answer_is_stopped_not_forgotten(rig):
    h, cloud = rig("--hang")
    jobs = submit(h, 10, 600)
    wait_for("a node that was started in silence", cloud.nodes, 30)
    for i in jobs:
        h.call("DELETE", f"/api/v1/workloads/{i}", JOHN)
    # Three tries of a second each, with pauses; then it is stopped, whatever became of it.
    wait_for("it to be stopped", lambda: all(n["state"] == "stopped" for n in cloud.nodes()) and cloud.nodes(), 90)
    wait_for("the ledger", lambda: len(status(h)["ended"]) == len(cloud.nodes()), 30)
    assert {n["starts"] for n in cloud.nodes()} == {1}
    assert "not started" in status(h)["ended"][0]["reason"]


@pytest.mark.parametrize("line,field", [("      nodes_max: 0", "nodes_max"), ("      price_max_usd_h: 0", "price_max_usd_h"),
                                        ("      device_class: S21", "device_class"), ("      devices: 9999", "devices")])
def test_bad_settings_name_their_field(program, tmp_path, line, field):
    text = "\n".join(line if row.strip().startswith(field + ":") else row for row in SETTINGS.format(port=1).splitlines())
    (tmp_path / "s.yaml").write_text(text)
    done = subprocess.run([program("hcpd"), "--check-config", "--state", tmp_path, "--settings", tmp_path / "s.yaml"], capture_output=True,
                          text=True, timeout=20)
    assert done.returncode == 2 and field in done.stderr, done.stderr
