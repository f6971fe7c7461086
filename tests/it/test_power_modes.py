"""Miners are driven low and high by the price, from the decision to what agents are told."""
import os
import pathlib
import subprocess

import pytest
from hcpd_process import wait_for

from test_live_policy import ADMIN, STEP_NS, latest, login, network, power, replay, send

ROOT = pathlib.Path(__file__).resolve().parents[2]
START_NS = 1_700_000_100 * 10**9 // STEP_NS * STEP_NS


@pytest.fixture
def site(tmp_path):
    """Texas North with both modes of the catalogue for its S21."""
    text = (ROOT / "spec/sites/texas-north.yaml").read_text()
    before = "    class: S21\n    count: 10000\n"
    assert before in text
    path = tmp_path / "driven.yaml"
    path.write_text(text.replace(before, before + "    modes:\n      - power: low\n      - power: high\n"))
    return path


def miners(h):
    return h.call("GET", "/api/v1/resources", ADMIN).json()["devices"]


def driven(h, mode):
    """The devices, once all are told to mine in that mode."""
    def told():
        devices = miners(h)
        return devices if len(devices) == 4 and all((d["commanded"], d["power_mode"]) == ("fill", mode) for d in devices) else None
    return wait_for(f"miners driven {mode}", told, 30)


def test_power_modes_follow_the_price(start_hcpd, program, site):
    h = start_hcpd("modes", "--site", site, "--no-durable")
    fleet = subprocess.Popen([program("hcp-sim"), "fleet", "--mesh", h.mesh, "--token-file", h.state / "machine.token",
                              "--spec", "S21:4"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        send(h, [power(START_NS, 5)])
        network(h, START_NS + STEP_NS)
        high = driven(h, "high")
        [t] = [t for t in latest(h)["targets"] if t["device_class"] == "S21"]
        assert t["mine_w"] > 3500 and {d["power_target_w"] for d in high} == {t["mine_w"]}
        # Dear enough that the last watts do not pay: half way between what hashes earn on average and at the margin.
        earns = (t["mine_usd_h"] + 0.025 + 5 * 1.05 * t["mine_w"] / 1e6) / t["mine_w"] * 1e6 / 1.05
        send(h, [power(START_NS + STEP_NS, round(0.93 * earns, 2))])
        network(h, START_NS + 2 * STEP_NS)
        low = driven(h, "low")
        assert all(0 < d["power_target_w"] < 3500 for d in low)
        shown = subprocess.run([program("hcp"), "resources", "list"], capture_output=True, text=True, timeout=30,
                               env={**os.environ, **login(h)})
        assert shown.returncode == 0 and "DRIVEN" in shown.stdout and shown.stdout.count(" low ") == 4, shown.stdout
        told = subprocess.run([program("hcp"), "explain", "latest"], capture_output=True, text=True, timeout=30,
                              env={**os.environ, **login(h)})
        assert told.returncode == 0 and "DRIVEN" in told.stdout and "low" in told.stdout, told.stdout
        h.kill()
        h.start()
        assert all(d["power_mode"] == "low" for d in wait_for("the fleet", lambda: miners(h), 30))
        assert replay(program, h)["identical"]
    finally:
        fleet.terminate()
        fleet.wait(10)
