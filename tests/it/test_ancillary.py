"""Calls of the grid on the real platform: a simulated fleet drops what the site offers; it is measured and settled."""
import json
import os
import subprocess
import time

import pytest
from hcpd_process import wait_for

JOHN = "john@acme.com"
SITE = """
name: texas-north
settlement_point: HB_WEST
power_limit_mw: 1
pue: 1.05
pool_fee: 0.01
ancillary:
  - service: RRS
    mw: 0.05
    price_usd_mw_h: 1000
    miss_usd_mwh: 5000
groups:
  - name: asic
    class: S21
    count: 32
"""


WITH_MARKET = SITE.replace("groups:", """  - service: ECRS
    mw: 0.01
groups:""")


@pytest.mark.timeout(180)
def test_held_load_is_paid(start_hcpd, program, tmp_path):
    site = tmp_path / "site.yaml"
    site.write_text(WITH_MARKET)
    h = start_hcpd("hcpd", "--site", site)
    fleet = subprocess.Popen([program("hcp-sim"), "fleet", "--mesh", h.mesh, "--token-file", h.state / "machine.token", "--seed", "1",
                              "--spec", "S21:32"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def tell(ticks):
        now = time.time_ns()
        reply = h.call("POST", "/api/v1/market/ticks", json={"ticks": [
            {"symbol": s, "location": l, "value": v, "observed_at_ns": now, "source": "test"} | more for s, l, v, more in ticks]})
        assert reply.status_code == 200 and reply.json()["accepted"] == len(ticks), reply.text

    def hcp(*args):
        env = os.environ | {"HCP_URL": h.url, "HCP_TOKEN": h.login()}
        return subprocess.run([program("hcp"), *args], env=env, capture_output=True, text=True, timeout=20, check=True).stdout

    try:
        wait_for("32 devices", lambda: len(h.call("GET", "/api/v1/resources?limit=100").json().get("devices", [])) == 32, 30)
        tell([("electricity_rt", "HB_WEST", 10.0, {}), ("btc_usd", "", 90000.0, {}), ("difficulty", "", 8e13, {}),
              ("block_height", "", 860000.0, {})])
        drawn = lambda: next((x["measured_w"] for x in json.loads(hcp("--output", "json", "power")) if not x["path"]), 0)
        wait_for("all to mine", lambda: drawn() > 32 * 3300, 60)
        time.sleep(21)  # two looks at least
        assert json.loads(hcp("--output", "json", "ancillary", "hours")) == []  # the hour is not over
        # With other offers the part of the hour that there was is settled.
        h.kill()
        site.write_text(WITH_MARKET.replace("1000", "1001"))
        h.start()
        rows = wait_for("the books", lambda: json.loads(hcp("--output", "json", "ancillary", "hours")), 30)
        by = {r["service"]: {"priced": False, "paid_micros": 0, "usd_mw_h": 0} | r for r in rows}
        rrs, ecrs = by["RRS"], by["ECRS"]
        hours = (rrs["to_ns"] - rrs["from_ns"]) / 3.6e12
        assert 0 < rrs["held_mw"] <= rrs["offered_mw"] + 1e-9 and abs(rrs["offered_mw"] - 0.05) < 1e-6
        assert rrs["priced"] and rrs["usd_mw_h"] == 1000
        assert abs(rrs["paid_micros"] - rrs["held_mw"] * hours * 1000 * 1e6) < 2 and rrs["paid_micros"] > 0
        # Nobody has told yet what the market pays for the other.
        assert not ecrs["priced"] and ecrs["paid_micros"] == 0 and ecrs["held_mw"] > 0
        revenue = lambda: h.call("GET", "/api/v1/billing/revenue").json()["ancillary_micros"]
        assert revenue() == rrs["paid_micros"]
        hour = ecrs["from_ns"] // 3600_000_000_000 * 3600_000_000_000
        for _ in range(2):
            tell([("ancillary", "ECRS", 200.0, {"interval_start_ns": hour, "interval_s": 3600})])
        paid = wait_for("the late price", lambda: [r for r in json.loads(hcp("--output", "json", "ancillary", "hours"))
                                                  if r["service"] == "ECRS" and r.get("priced")], 20)
        assert len(paid) == 1 and abs(paid[0]["paid_micros"] - ecrs["held_mw"] * hours * 200 * 1e6) < 2
        total = rrs["paid_micros"] + paid[0]["paid_micros"]
        assert revenue() == total
        table = hcp("ancillary", "hours")
        assert "HELD-MW" in table and "RRS" in table and "PAID" in table
        h.kill()
        h.start()
        assert h.call("GET", "/api/v1/ancillary/hours", JOHN).status_code == 403
        assert revenue() == total
    finally:
        fleet.terminate()
        fleet.wait(20)


@pytest.mark.timeout(180)
def test_a_call_is_measured_and_settled(start_hcpd, program, tmp_path):
    site = tmp_path / "site.yaml"
    site.write_text(SITE)
    h = start_hcpd("hcpd", "--site", site)
    fleet = subprocess.Popen([program("hcp-sim"), "fleet", "--mesh", h.mesh, "--token-file", h.state / "machine.token", "--seed", "1",
                              "--spec", "S21:32"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    env = os.environ | {"HCP_URL": h.url, "HCP_TOKEN": h.login()}

    def hcp(*args, ok=True):
        out = subprocess.run([program("hcp"), *args], env=env, capture_output=True, text=True, timeout=20)
        assert (out.returncode == 0) == ok, out.stdout + out.stderr
        return out

    def drawn():
        levels = json.loads(hcp("--output", "json", "power").stdout)
        return next((x["measured_w"] for x in levels if not x["path"]), 0)

    try:
        wait_for("32 devices", lambda: len(h.call("GET", "/api/v1/resources?limit=100").json().get("devices", [])) == 32, 30)
        now = time.time_ns()
        ticks = [("electricity_rt", "HB_WEST", 10.0), ("btc_usd", "", 90000.0), ("difficulty", "", 8e13), ("block_height", "", 860000.0)]
        reply = h.call("POST", "/api/v1/market/ticks", json={"ticks": [
            {"symbol": s, "location": l, "value": v, "observed_at_ns": now, "source": "test"} for s, l, v in ticks]})
        assert reply.status_code == 200, reply.text
        wait_for("all to mine", lambda: drawn() > 32 * 3300, 60)
        assert "offers no ECRS" in hcp("ancillary", "call", "--service", "ECRS", ok=False).stderr
        assert "which is offered" in hcp("ancillary", "call", "--service", "RRS", "--mw", "1", ok=False).stderr
        assert h.call("POST", "/api/v1/ancillary/calls", JOHN, json={"service": "RRS"}).status_code == 403
        order = json.loads(hcp("--output", "json", "ancillary", "call", "--service", "RRS", "--for", "30m", "--reason", "test").stdout)
        assert order["service"] == "RRS" and order["within_ms"] == 600000

        def now_of():
            return next(c for c in h.call("GET", "/api/v1/curtailments").json()["curtailments"] if c["id"] == order["id"])

        wait_for("the load to be gone", lambda: now_of()["state"] == "held" and now_of().get("dropped_mwh", 0) > 0.05 * 2 / 3600, 60)
        assert now_of()["measured_before_w"] - now_of()["measured_w"] >= 50000 / 1.05
        assert json.loads(hcp("--output", "json", "ancillary", "calls").stdout) == []
        hcp("curtail", "restore", order["id"])
        rows = wait_for("the books", lambda: json.loads(hcp("--output", "json", "ancillary", "calls").stdout), 20)
        assert len(rows) == 1 and rows[0]["id"] == order["id"] and rows[0]["by"] == "admin@mara.com" and rows[0]["reason"] == "test"
        call = {"due_mwh": 0, "missed_mwh": 0, "penalty_micros": 0, "saved_micros": 0} | rows[0]
        hours = (call["over_at_ns"] - call["called_at_ns"]) / 3.6e12
        assert abs(call["mw"] - 0.05) < 1e-6 and 0 < call["dropped_mwh"] <= 0.05 * hours + 1e-9
        # Recalled before the response time: nothing was due yet, and nothing is missing.
        assert call["due_mwh"] == call["missed_mwh"] == call["penalty_micros"] == 0
        assert call["usd_mwh"] == 10 and abs(call["saved_micros"] - call["dropped_mwh"] * 10 * 1e6) < 2
        table = hcp("ancillary", "calls").stdout
        assert "RRS" in table and "PENALTY" in table
        # It is in the books once, also after the platform was killed.
        h.kill()
        h.start()
        env["HCP_TOKEN"] = h.login()
        again = json.loads(hcp("--output", "json", "ancillary", "calls").stdout)
        assert again == rows
    finally:
        fleet.terminate()
        fleet.wait(20)
