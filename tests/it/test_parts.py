"""Parts of GPUs on the real platform: hcpd, a simulated fleet over sockets, the command line."""
import json
import os
import subprocess

import pytest

from hcpd_process import Hcpd, wait_for

JOHN, JANE = "john@acme.com", "jane@globex.com"
GPUS = 8


@pytest.fixture(scope="module")
def platform(program, tmp_path_factory):
    h = Hcpd(program("hcpd"), tmp_path_factory.mktemp("parts")).start()
    fleet = subprocess.Popen([program("hcp-sim"), "fleet", "--mesh", h.mesh, "--token-file", h.state / "machine.token",
                              "--seed", "1", "--small"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for("eight GPUs", lambda: sum(c["total"] for c in h.call("GET", "/api/v1/fleet").json()["classes"]
                                           if c["device_class"] == "H100") == GPUS, 30)
        yield h
    finally:
        fleet.terminate()
        fleet.wait(20)
        h.stop()


def hcp(program, h, who, *args):
    env = os.environ | {"HCP_URL": h.url, "HCP_TOKEN": h.login(who, "customer123" if who in (JOHN, JANE) else "admin123")}
    return subprocess.run([program("hcp"), *args], env=env, capture_output=True, text=True, timeout=30)


def submit(program, h, who, *args):
    out = hcp(program, h, who, "workloads", "submit", "--type", "ai_inference_batch", "--name", "n", "--model", "all-MiniLM-L6-v2",
              "--device-class", "H100", "--duration", "1h", "-o", "json", *args)
    assert out.returncode == 0, out.stderr
    return json.loads(out.stdout)


def get(h, w):
    return h.call("GET", f"/api/v1/workloads/{w}").json()


def running(h, *ids):
    return wait_for(f"{ids} to run", lambda: all(get(h, w)["state"] == "running" for w in ids), 60)


def cancel(h, *ids):
    for w in ids:
        assert h.call("DELETE", f"/api/v1/workloads/{w}").status_code == 200
    wait_for("all devices to be whole again", lambda: not any(
        d["shares"] for d in h.call("GET", "/api/v1/resources?kind=gpu&limit=100").json()["devices"]), 60)


def test_customers_share_a_gpu_and_pay_their_parts(program, platform):
    h = platform
    a = submit(program, h, JOHN, "--gpu-fraction", "0.25")
    b = submit(program, h, JANE, "--gpu-fraction", "0.75")
    assert a["gpu_fraction"] == 0.25 and b["estimated_cost_micros"] == 3 * a["estimated_cost_micros"] > 0
    running(h, a["id"], b["id"])
    device, = {d for w in (a, b) for d in get(h, w["id"])["device_ids"]}  # one device has both
    d = h.call("GET", f"/api/v1/resources/{device.replace('/', '%2F')}").json()
    assert [s["milli"] for s in d["shares"]] == [250, 750] and d["state"] == "active" and not d["allocation_id"], d
    assert [s["workload_id"] for s in d["shares"]] == [a["id"], b["id"]]
    out = hcp(program, h, "admin@mara.com", "resources", "get", device)
    assert "750" in out.stdout and b["id"] in out.stdout, out.stdout + out.stderr
    listed = hcp(program, h, "admin@mara.com", "resources", "list", "--limit", "100")
    assert "PARTS" in listed.stdout, listed.stdout
    # Billed as what they are.
    def line(who):
        lines = h.call("GET", "/api/v1/billing/usage", who).json()["lines"]
        return next((x for x in lines if x["workload_id"] in (a["id"], b["id"]) and x["device_ns"] > 0), None)
    john, jane = wait_for("John's usage", lambda: line(JOHN), 30), wait_for("Jane's usage", lambda: line(JANE), 30)
    assert (john["gpu_fraction"], jane["gpu_fraction"]) == (0.25, 0.75) and john["mig_profile"] == ""
    assert "0.25" in hcp(program, h, JOHN, "usage").stdout
    cancel(h, a["id"], b["id"])


def test_instances_outlive_a_restart_at_their_places(program, platform):
    h = platform
    jobs = [submit(program, h, JOHN, "--mig-profile", p)["id"] for p in ("3g.40gb", "2g.20gb", "1g.10gb")]
    running(h, *jobs)
    device, = {d for w in jobs for d in get(h, w)["device_ids"]}

    def shares():
        d = h.call("GET", f"/api/v1/resources/{device.replace('/', '%2F')}").json()
        return sorted((s["mig_profile"], s["mig_start"], s["workload_id"]) for s in d["shares"])

    before = shares()
    assert [p for p, _, _ in before] == ["1g.10gb", "2g.20gb", "3g.40gb"]
    h.stop()
    h.start()
    assert shares() == before
    # The router knows them, too: what fits beside them goes there, what does not goes elsewhere.
    beside, elsewhere = (submit(program, h, JANE, "--mig-profile", p)["id"] for p in ("1g.10gb", "4g.40gb"))
    running(h, beside, elsewhere, *jobs)
    assert get(h, beside)["device_ids"] == [device] and get(h, elsewhere)["device_ids"] != [device]
    cancel(h, beside, elsewhere, *jobs)


def test_what_cannot_be_is_refused_with_what_could(program, platform):
    h = platform
    base = {"type": "ai_inference_batch", "name": "n", "model": "m", "device_class": "H100"}
    for body, field, says in [
        ({"gpu_fraction": 0}, "gpu_fraction", "0.001 to 1"),
        ({"gpu_fraction": 1.5}, "gpu_fraction", "0.001 to 1"),
        ({"gpu_fraction": 0.0015}, "gpu_fraction", "steps of 0.001"),
        ({"gpu_fraction": 0.5, "device_count": 2}, "device_count", "must be 1"),
        ({"gpu_fraction": 0.5, "device_class": "CPU64"}, "gpu_fraction", "these can: H100"),
        ({"mig_profile": "1g.5gb"}, "mig_profile", "1g.10gb, 1g.20gb"),
        ({"mig_profile": "1g.10gb", "device_class": "L40S"}, "mig_profile", "these can: H100, H200, A100"),
        ({"mig_profile": "1g.10gb", "device_class": ""}, "device_class", "one of H100, H200, A100"),
        ({"mig_profile": "1g.10gb", "gpu_fraction": 0.5}, "mig_profile", "not both"),
    ]:
        reply = h.call("POST", "/api/v1/workloads", JOHN, json=base | body)
        assert reply.status_code in (400, 404, 422), (body, reply.text)
        assert reply.json()["field"] == field and says in reply.json()["detail"], (body, reply.text)
    assert hcp(program, h, JOHN, "workloads", "submit", "--type", "ai_inference_batch", "--gpu-fraction", "2").returncode == 2


def test_the_queue_says_what_would_make_a_part_fit(program, platform):
    h = platform
    jobs = [submit(program, h, JOHN, "--gpu-fraction", "0.9")["id"] for _ in range(GPUS)]
    running(h, *jobs)
    waits = submit(program, h, JOHN, "--gpu-fraction", "0.2")["id"]
    entry = wait_for("it to wait", lambda: (h.call("GET", f"/api/v1/queue?workload_id={waits}", JOHN).json()["entries"] or [None])[0])
    assert entry["gpu_fraction"] == 0.2 and "at most 100 thousandths are left" in entry["reason"], entry
    fits = submit(program, h, JOHN, "--gpu-fraction", "0.1")["id"]
    running(h, fits)
    assert h.call("DELETE", f"/api/v1/workloads/{jobs[0]}").status_code == 200
    running(h, waits)
    cancel(h, waits, fits, *jobs[1:])


def test_parts_move_together_when_a_whole_gpu_is_waited_for(program, platform):
    h = platform

    def part(of):
        return submit(program, h, JOHN, "--gpu-fraction", of, "--checkpointable")["id"]

    def device(w):
        d, = get(h, w)["device_ids"]
        return d

    # A large and a small part each on three devices; then the large ones of two end, and whole jobs take what is free.
    pairs = [(part("0.7"), part("0.2")) for _ in range(3)]
    running(h, *sum(pairs, ()))
    assert all(device(a) == device(b) for a, b in pairs)
    taken = [submit(program, h, JANE, "--device-count", "1")["id"] for _ in range(GPUS - 3)]
    running(h, *taken)
    small = [pairs[0][1], pairs[1][1]]
    places = {w: device(w) for w in small}
    for a, _ in pairs[:2]:
        assert h.call("DELETE", f"/api/v1/workloads/{a}").status_code == 200
    whole = submit(program, h, JANE, "--device-count", "1")["id"]
    running(h, whole)
    # Just one of them moved, beside the other or the third pair; and the job has what it left.
    wait_for("what moved to run again", lambda: all(get(h, w)["state"] == "running" for w in small), 60)
    moved, = (w for w in small if device(w) != places[w])
    assert device(whole) == places[moved]
    says = f"moved to make {places[moved]} whole for {whole}"
    steps = h.call("GET", f"/api/v1/workloads/{moved}/history").json()["transitions"]
    assert [t["reason"] for t in steps if t["from"] == "running"] == [says], steps
    assert get(h, moved)["preemptions"] == 0 and 0 < get(h, moved)["remaining_ns"] < 3600 * 10**9
    assert says in hcp(program, h, JOHN, "explain", moved).stdout
    cancel(h, whole, pairs[2][0], pairs[2][1], *small, *taken)
