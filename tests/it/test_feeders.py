"""The power tree on the real platform: hcpd with a site file, a simulated fleet over sockets, the command line."""
import json
import os
import subprocess

from hcpd_process import wait_for

JOHN = "john@acme.com"
SITE = """
name: texas-north
settlement_point: HB_WEST
power_limit_mw: 1
pue: 1
pool_fee: 0.01
feeders:
  - name: east
    limit_mw: 0.5
    nodes: texas-north-h100-*
  - name: west
    limit_mw: 0.5
    inrush_kw: 100
branches:
  - path: east/p#
    count: 9
    limit_kw: 20
    nodes: texas-north-h100-00#
groups:
  - name: gpu
    class: H100
    count: 16
    serve: {}
  - name: asic
    class: S21
    count: 8
    feeder: west
"""


def submit(h, count):
    reply = h.call("POST", "/api/v1/workloads", JOHN, json={
        "name": "n", "type": "ai_inference_realtime", "model": "all-MiniLM-L6-v2", "device_class": "H100", "device_count": count,
        "duration_s": 3600})
    assert reply.status_code == 201, reply.text
    return reply.json()["id"]


def test_a_feeder_without_power(start_hcpd, program, tmp_path):
    site = tmp_path / "site.yaml"
    site.write_text(SITE)
    h = start_hcpd("hcpd", "--site", site)
    fleet = subprocess.Popen([program("hcp-sim"), "fleet", "--mesh", h.mesh, "--token-file", h.state / "machine.token", "--seed", "1",
                              "--spec", "H100:16,S21:8"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    env = os.environ | {"HCP_URL": h.url, "HCP_TOKEN": h.login()}

    def hcp(*args, ok=True):
        out = subprocess.run([program("hcp"), *args], env=env, capture_output=True, text=True, timeout=20)
        assert (out.returncode == 0) == ok, out.stdout + out.stderr
        return out

    def levels():
        return {x["path"]: x for x in json.loads(hcp("--output", "json", "power").stdout)}

    def get(w):
        return h.call("GET", f"/api/v1/workloads/{w}", JOHN).json()

    try:
        wait_for("24 devices", lambda: levels().get("", {}).get("devices") == 24, 30)
        found = levels()
        assert {p: x["devices"] for p, x in found.items()} == {"": 24, "east": 16, "east/p1": 8, "east/p2": 8, "west": 8}
        assert found["east/p1"]["budget_w"] == 20000 and found["west"]["inrush_w"] == 100000
        assert sum(found[p]["reserved_w"] for p in ("east/p1", "east/p2")) == found["east"]["reserved_w"]
        job = submit(h, 8)
        wait_for("the job to run", lambda: get(job)["state"] == "running", 60)
        node = get(job)["device_ids"][0].split("/")[0]
        here, there = ("east/p1", "east/p2") if node.endswith("001") else ("east/p2", "east/p1")
        assert levels()[here]["reserved_w"] == 8 * 700
        # The job's PDU loses its power: it goes on behind the other one.
        out = hcp("feeder", "trip", here, "--reason", "breaker open")
        assert "tripped" in out.stdout
        wait_for("the job to run elsewhere",
                 lambda: get(job)["state"] == "running" and get(job)["device_ids"][0].split("/")[0] != node, 60)
        found = levels()
        assert found[here]["state"] == "tripped" and found[here]["reason"] == "breaker open" and found[here]["by"] == "admin@mara.com"
        assert found[there]["state"] == found["east"]["state"] == "on" and found[there]["reserved_w"] == 8 * 700
        wait_for("the watts of the dead ones, proved to be off", lambda: levels()[here]["reserved_w"] < 8 * 700, 30)
        failed = h.call("GET", f"/api/v1/resources?state=failed&limit=100").json()["devices"]
        assert len(failed) == 8 and {d["reason"] for d in failed} == {"its feeder has no power"}
        # It survives a restart, and so does the way back.
        h.kill()
        h.start()
        env["HCP_TOKEN"] = h.login()
        assert levels()[here]["state"] == "tripped"
        assert "tripped already" in hcp("feeder", "trip", here, ok=False).stderr
        assert "east/p#" in hcp("feeder", "trip", "east/q1", ok=False).stderr
        assert "emergency stop" in h.call("POST", "/api/v1/power/trip", json={"path": ""}).text
        assert h.call("POST", "/api/v1/power/trip", JOHN, json={"path": "east"}).status_code == 403
        hcp("feeder", "restore", here)
        wait_for("its devices", lambda: h.call("GET", "/api/v1/resources?state=failed").json().get("devices", []) == [], 30)
        assert levels()[here]["state"] == "restoring"
        second = submit(h, 2)
        wait_for("work behind it again", lambda: get(second)["state"] == "running", 120)
        assert get(second)["device_ids"][0].split("/")[0] == node
    finally:
        fleet.terminate()
        fleet.wait(20)


def test_a_node_must_hang_where_the_site_file_says(start_hcpd, program, tmp_path):
    site = tmp_path / "site.yaml"
    site.write_text(SITE.replace("nodes: texas-north-h100-00#", "nodes: agent-#"))
    h = start_hcpd("hcpd", "--site", site)

    def agent(name, *args):
        log = open(tmp_path / f"{name}.log", "w")
        return subprocess.Popen([program("hcp-agent"), "--mesh", h.mesh, "--token-file", h.state / "machine.token", "--state",
                                 tmp_path / name, "--pool", "127.0.0.1:9", "--facility", "texas-north", "--node-id", name, "--threads",
                                 "1", *args], stdout=subprocess.DEVNULL, stderr=log)

    def devices():
        return {x["path"]: x.get("devices", 0) for x in h.call("GET", "/api/v1/power").json().get("levels", [])}

    right, wrong = agent("agent-3", "--feed", "east/p3"), agent("agent-4", "--feed", "west")
    try:
        wait_for("the right one", lambda: devices().get("east/p3") == 1, 30)
        wait_for("the refusal", lambda: "hangs at 'east/p4'" in (tmp_path / "agent-4.log").read_text(), 30)
        assert devices() == {"": 1, "east": 1, "east/p3": 1, "west": 0}
        bad = subprocess.run([program("hcp-agent"), "--no-mesh", "--state", tmp_path / "x", "--pool", "127.0.0.1:9", "--feed", "a//b"],
                             capture_output=True, text=True, timeout=20)
        assert bad.returncode != 0 and "feed" in bad.stderr
    finally:
        for child in (right, wrong):
            child.terminate()
            child.wait(20)
