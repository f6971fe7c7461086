"""The portfolio of the live fleet through the API and the command line, and the aversion that decisions count."""
import json
import os
import subprocess
import time

from hcpd_process import wait_for

JOHN = "john@acme.com"
HOUR_NS = 3600 * 10**9


def past(days, end_ns):
    """A day's ticks at a time: 25 USD/MWh, 400 for two hours of every third day."""
    start = end_ns // HOUR_NS * HOUR_NS - days * 24 * HOUR_NS
    for day in range(days):
        rows = [("difficulty", "", 9e13, start + (day - 1) * 24 * HOUR_NS, 86400)]
        for q in range(96):
            at = start + day * 24 * HOUR_NS + q * HOUR_NS // 4
            rows.append(("electricity_rt", "HB_WEST", 400.0 if day % 3 == 0 and 70 <= q < 78 else 25.0, at, 900))
            if q % 4 == 3:
                rows.append(("btc_usd", "", 90000.0, at - 3 * HOUR_NS // 4, 3600))
        ticks = [{"symbol": s, "location": l, "value": v, "interval_start_ns": at, "interval_s": n, "source": "test",
                  "observed_at_ns": at + n * 10**9} for s, l, v, at, n in rows]
        yield sorted(ticks, key=lambda t: t["observed_at_ns"])


def test_the_live_fleet_as_a_portfolio(start_hcpd, program, tmp_path):
    settings = tmp_path / "settings.yaml"
    settings.write_text("decisions:\n  risk_aversion: 0.5\n")
    h = start_hcpd("hcpd", "--settings", settings)
    fleet = subprocess.Popen([program("hcp-sim"), "fleet", "--mesh", h.mesh, "--token-file", h.state / "machine.token", "--seed", "1",
                              "--spec", "H100:16,S21:8"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    env = os.environ | {"HCP_URL": h.url, "HCP_TOKEN": h.login()}

    def hcp(*args):
        out = subprocess.run([program("hcp"), *args], env=env, capture_output=True, text=True, timeout=20)
        assert out.returncode == 0, out.stdout + out.stderr
        return out.stdout

    try:
        wait_for("24 devices", lambda: len(h.call("GET", "/api/v1/resources?limit=100").json().get("devices", [])) == 24, 30)
        assert h.call("GET", "/api/v1/portfolio", JOHN).status_code == 403
        assert h.call("GET", "/api/v1/portfolio?aversion=2").json()["field"] == "aversion"
        assert "it takes 30" in h.call("GET", "/api/v1/portfolio").json()["reason"]
        for ticks in past(40, time.time_ns()):
            reply = h.call("POST", "/api/v1/market/ticks", json={"ticks": ticks})
            assert reply.status_code == 200 and reply.json()["accepted"] == len(ticks), reply.text
        p = json.loads(hcp("--output", "json", "portfolio", "live"))
        one, together = p["facilities"]
        assert p["aversion"] == 0.5 and p["days_known"] >= 39 and p["cases"] == 1000
        # One facility: together is itself. Bad months lose against the mean, and 19 of 20 are not as bad.
        assert {k: v for k, v in one.items() if k != "facility"} == {k: v for k, v in together.items() if k != "facility"}
        # A sum and the number that it is a mean of may differ in the last bit.
        assert -one["cvar_usd"] <= -one["var_usd"] + 1e-6 and -one["var_usd"] <= one["mean_usd"] + 1e-6 and one["deviation_usd"] > 0
        assert p["worth_usd"] == 0.5 * p["mean_usd"] - 0.5 * p["cvar_usd"]
        assert sum(c["devices"] for c in p["choices"]) <= 16 + 1e-6 and {c["days"] for c in p["choices"]} == {0, 30}
        assert json.loads(hcp("--output", "json", "portfolio", "live")) | {"market_time_ns": 0} == p | {"market_time_ns": 0}
        table = hcp("portfolio", "live", "--aversion", "1")
        assert "CVAR-95" in table and "texas-north" in table
        # What the aversion of the settings made of the decision stands in the ledger.
        d = h.call("GET", "/api/v1/decisions/latest").json()
        assert d["risk_aversion"] == 0.5 and d["forecasts"][0]["risk_usd_mwh"] > 1
        assert "RISK" in hcp("explain", "latest")
    finally:
        fleet.terminate()
        fleet.wait(20)
