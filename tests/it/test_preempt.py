"""Work of a worse class yields on the real platform: hcpd, a simulated fleet over sockets, the command line."""
import os
import subprocess

from hcpd_process import wait_for

JOHN, JANE = "john@acme.com", "jane@globex.com"


def submit(h, who, **body):
    reply = h.call("POST", "/api/v1/workloads", who, json={"name": "n", "device_class": "H100", "duration_s": 3600} | body)
    assert reply.status_code == 201, reply.text
    return reply.json()["id"]


def test_mining_yields_at_once_and_comes_back(start_hcpd, program):
    h = start_hcpd()
    fleet = subprocess.Popen([program("hcp-sim"), "fleet", "--mesh", h.mesh, "--token-file", h.state / "machine.token",
                              "--seed", "1", "--small"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        def get(who, w):
            return h.call("GET", f"/api/v1/workloads/{w}", who).json()

        wait_for("eight GPUs", lambda: sum(c["total"] for c in h.call("GET", "/api/v1/fleet").json()["classes"]
                                           if c["device_class"] == "H100") == 8, 30)
        mining = submit(h, JOHN, type="bitcoin_mining", device_count=8, checkpointable=True)
        wait_for("the mining to run", lambda: get(JOHN, mining)["state"] == "running", 60)
        serving = submit(h, JANE, type="ai_inference_realtime", model="all-MiniLM-L6-v2", device_count=8)
        wait_for("the inference to run", lambda: get(JANE, serving)["state"] == "running", 60)
        m = get(JOHN, mining)
        assert m["state"] == "queued" and m["preemptions"] == 1 and m["preempted_by"] == serving and not m["device_ids"], m
        assert 0 < m["remaining_ns"] < 3600 * 10**9
        env = os.environ | {"HCP_URL": h.url, "HCP_TOKEN": h.login(JOHN, "customer123")}
        out = subprocess.run([program("hcp"), "explain", mining], env=env, capture_output=True, text=True, timeout=20)
        assert out.returncode == 0, out.stderr
        assert "gave its devices up to others 1 time, the last time to " + serving in out.stdout, out.stdout
        assert "preempted by" in out.stdout and "costs least" in out.stdout, out.stdout
        entry = h.call("GET", f"/api/v1/queue?workload_id={mining}", JOHN).json()["entries"][0]
        assert entry["preemptions"] == 1 and "fits when" in entry["reason"], entry
        assert h.call("GET", f"/api/v1/queue?workload_id={mining}", JANE).json()["entries"] == []
        # It does not drive out who drove it out; when that ends it goes on.
        assert h.call("DELETE", f"/api/v1/workloads/{serving}", JANE).status_code == 200
        wait_for("the mining to go on", lambda: get(JOHN, mining)["state"] == "running", 60)
        assert get(JOHN, mining)["preemptions"] == 1
    finally:
        fleet.terminate()
        fleet.wait(20)
