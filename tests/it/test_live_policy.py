"""Policies that look ahead on the real platform: August 2023 at HB_WEST, a tutor that trains, kills, replays."""
import csv
import json
import os
import pathlib
import subprocess
from datetime import datetime, timezone

import pytest

from hcpd_process import wait_for

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = pathlib.Path(os.environ.get("HCP_DATA", ROOT / ".." / "shared" / "data"))
ADMIN = "admin@mara.com"
STEP_NS = 900 * 10**9

pytestmark = pytest.mark.skipif(not DATA.exists(), reason="the recorded data is not there; set HCP_DATA")


def ns(text):
    return int(datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()) * 10**9


def prices(begin, end):
    """(start of the quarter-hour, USD/MWh) of HB_WEST."""
    with open(DATA / "ercot_rt_spp_15min_2023.csv", newline="") as f:
        rows = [(ns(r["interval_start_utc"][:19]), float(r["HB_WEST"])) for r in csv.DictReader(f) if r["HB_WEST"]]
    return [(at, usd) for at, usd in rows if ns(begin) <= at < ns(end)]


def tick(symbol, value, at_ns, **more):
    return {"symbol": symbol, "value": value, "observed_at_ns": at_ns, "source": "recorded", **more}


def power(at, usd):
    return tick("electricity_rt", usd, at + STEP_NS, location="HB_WEST", interval_start_ns=at, interval_s=900)


def send(h, ticks):
    reply = h.call("POST", "/api/v1/market/ticks", "machine", json={"ticks": ticks})
    assert reply.status_code == 200, reply.text
    assert reply.json()["accepted"] == len(ticks), reply.text


def send_past(h, begin, until="2023-08-20T18:00:00"):
    past = prices(begin, until)
    for i in range(0, len(past), 960):
        send(h, [power(*p) for p in past[i : i + 960]])
    network(h, past[-1][0] + STEP_NS)


def network(h, at_ns):
    send(h, [tick("btc_usd", 26000, at_ns), tick("difficulty", 5.4e13, at_ns), tick("block_fees_btc", 0.1, at_ns)])


@pytest.fixture
def fleet(program):
    children = []

    def start(h):
        children.append(subprocess.Popen([program("hcp-sim"), "fleet", "--mesh", h.mesh, "--token-file", h.state / "machine.token",
                                          "--spec", "S21:20"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    yield start
    for p in children:
        p.terminate()
        p.wait(10)


def latest(h):
    return h.call("GET", "/api/v1/recommendation", ADMIN).json()


def set_policy(h, name):
    reply = h.call("PUT", "/api/v1/policy", ADMIN, json={"policy": name})
    assert reply.status_code == 200, reply.text
    return reply.json()


def models(h):
    return {(m["kind"], m["trained"]) for m in h.call("GET", "/api/v1/policy", ADMIN).json()["models"]}


def replay(program, h):
    done = subprocess.run([program("hcp"), "replay", "optimizer", "--state", h.state], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def miners(d):
    [t] = [t for t in d["targets"] if t["device_class"] == "S21"]
    return t["mine"], t["idle"]


# What is known before, what the policy learns of it, steps of its look ahead, and who reckoned with a dear price.
@pytest.mark.parametrize("policy, begin, lessons, hours, by", [
    ("mpc", "2023-07-20", {"forecast"}, 6, "forecast"),
    ("smpc", "2023-06-20", {"forecast", "misses"}, 3, "fan"),
])
def test_a_policy_is_taught_and_stands_still_in_the_spike(start_hcpd, fleet, program, policy, begin, lessons, hours, by):
    h = start_hcpd(policy, "--site", ROOT / "spec/sites/texas-north.yaml", "--models", ROOT / "spec/models", "--no-durable")
    fleet(h)
    send_past(h, begin)
    wait_for("a decision", lambda: latest(h).get("targets"), 30)
    choices = set_policy(h, policy)["choices"]
    assert {"mpc", "smpc", "stochastic", "ppo"} <= set(choices)
    assert latest(h)["forecasts"][0]["model"] == "day_before"
    # The tutor trains in its own thread; requests are answered meanwhile.
    wait_for("trained models", lambda: {(kind, True) for kind in lessons} <= models(h), 90)
    assert ("price", False) in models(h)  # of the file, which knows prices of later years and is not asked
    d = latest(h)
    [f] = d["forecasts"]
    assert f["location"] == "HB_WEST" and f["judged_model"] == "trees" and f["expected_by"] in ("forecast", by)
    assert len(f["mean"]) == len(f["q95"]) == 24 and d["horizon_s"] == hours * 3600
    if policy == "mpc":
        assert "have been judged" in f["reason"] and f["plan_steps"] == 24

    seen, killed = [], False
    for at, usd in prices("2023-08-20T18:00:00", "2023-08-21T04:30:00"):
        send(h, [power(at, usd)])
        network(h, at + STEP_NS)
        wait_for("the decision", lambda: latest(h)["market_time_ns"] >= at + STEP_NS, 30)
        d = latest(h)
        seen.append((usd, *miners(d), d["forecasts"][0]["expected_by"]))
        if usd > 1000 and not killed:
            # A crash in the middle of the spike: the next decision stands on the same models and books.
            judged = d["forecasts"][0]["judged"]
            h.kill()
            h.start()
            killed = True
            assert models(h) >= {(kind, True) for kind in lessons} | {("price", False)}
            assert wait_for("the ledger", lambda: latest(h).get("forecasts"), 30)[0]["judged"] == judged
    assert killed
    # Stands still while power is dear, mines before and after.
    assert all(mine == 0 for usd, mine, _, _ in seen[1:] if usd > 500)
    assert seen[0][1] == 20 and seen[-1][1] == 20
    assert all(expected_by == by for usd, _, _, expected_by in seen if usd > 500)

    told = subprocess.run([program("hcp"), "explain", "latest"], capture_output=True, text=True, timeout=30,
                          env={**os.environ, **login(h)})
    assert told.returncode == 0, told.stderr
    assert "What was expected" in told.stdout and "HB_WEST" in told.stdout and "95%" in told.stdout
    report = replay(program, h)
    assert report["identical"] and report["events"] > 30


def login(h):
    return {"HCP_URL": h.url, "HCP_TOKEN": h.login(ADMIN, "admin123")}


def test_ppo_decides_by_its_file(start_hcpd, fleet, program):
    """The weights were trained up to 2024: later prices are decided by them, earlier ones by the last price."""
    h = start_hcpd("ppo", "--site", ROOT / "spec/sites/texas-north.yaml", "--models", ROOT / "spec/models", "--no-durable")
    fleet(h)
    begin = ns("2024-06-01T00:00:00")
    send(h, [power(begin + i * STEP_NS, 30 + i % 7) for i in range(960)])
    network(h, begin + 960 * STEP_NS)
    wait_for("a decision", lambda: latest(h).get("targets"), 30)
    set_policy(h, "ppo")
    wait_for("the weights", lambda: ("ppo", False) in models(h), 30)
    wait_for("a decision by them", lambda: latest(h)["forecasts"][0]["expected_by"] == "net", 30)
    assert latest(h)["policy"] == "ppo"
    assert replay(program, h)["identical"]
