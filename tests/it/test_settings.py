"""hcpd --site and --settings: what the services are set to, and what is wrong with a file."""
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NORTH = ROOT / "spec/sites/texas-north.yaml"


def hcpd(program, *args):
    return subprocess.run([program("hcpd"), *map(str, args)], capture_output=True, text=True, timeout=20)


def test_what_is_printed_can_be_read(program, tmp_path):
    first = hcpd(program, "--print-settings")
    assert first.returncode == 0 and "pue: 1.05" in first.stdout and "class: CPU64" in first.stdout
    path = tmp_path / "all.yaml"
    path.write_text(first.stdout)
    assert hcpd(program, "--settings", path, "--print-settings").stdout == first.stdout
    path.write_text("fill_credits:\n  - class: CPU2\n    usd_h: 0\ndecisions:\n  horizon_s: 1800\n")
    changed = hcpd(program, "--settings", path, "--print-settings").stdout
    assert "class: CPU2\n    usd_h: 0\n  - class: CPU64\n    usd_h: 1\n" in changed and "horizon_s: 1800" in changed and "utilisation: 0.6" in changed


@pytest.mark.parametrize("text,said", [
    ("nonsense: 1\n", "--settings nonsense: s.yaml:1: "),
    ("billing:\n  tokens_usd_million: -1\n", "--settings billing.tokens_usd_million: s.yaml:2: "),
    ("fill_credits:\n  - class: CPU2\n    usd_h: 1\n  - class: CPU9\n    usd_h: 1\n", "--settings fill_credits[1].class: s.yaml:4: "),
    ("fill_credits:\n  - class: CPU2\n    usd_h: 1\n  - class: CPU2\n    usd_h: 1\n", "--settings fill_credits[1].class: s.yaml:4: "),
    ("scheduling:\n  min_run_p2_s: 0\n", "--settings scheduling.min_run_p2_s: s.yaml:2: "),
    ("decisions:\n  horizon_s: 1\n", "--settings decisions.horizon_s: s.yaml:2: "),
    ("decisions: [\n", "--settings decisions: s.yaml:1: "),
])
def test_a_wrong_setting_is_named(program, tmp_path, text, said):
    path = tmp_path / "s.yaml"
    path.write_text(text)
    done = hcpd(program, "--settings", path, "--state", tmp_path / "state")
    assert done.returncode == 2 and said in done.stderr, done.stderr
    assert not (tmp_path / "state").exists()


def test_a_wrong_site_is_named(program, tmp_path):
    path = tmp_path / "n.yaml"
    path.write_text(NORTH.read_text().replace("boot_s: 60", "boot_s: -1"))
    done = hcpd(program, "--site", path, "--check-config")
    line = path.read_text().splitlines().index("      boot_s: -1") + 1
    assert done.returncode == 2 and f"--site groups[0].restart.boot_s: n.yaml:{line}: " in done.stderr
    twice = hcpd(program, "--site", NORTH, "--site", NORTH, "--check-config")
    assert twice.returncode == 2 and "there is a site 'texas-north' already" in twice.stderr
    assert hcpd(program, "--site", NORTH, "--site", tmp_path / "none.yaml", "--check-config").returncode == 2


def test_settings_reach_the_services_and_their_replay(start_hcpd, program, tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text("other_facilities:\n  settlement_point: HB_WEST\n  pue: 1.5\n")
    h = start_hcpd("settings", "--settings", path, "--site", NORTH)
    now = time.time_ns()
    rows = [{"symbol": s, "location": l, "value": v, "observed_at_ns": now, "source": "test"} for s, l, v in
            [("electricity_rt", "HB_HOUSTON", 500), ("electricity_rt", "HB_WEST", 40), ("btc_usd", "", 60000),
             ("difficulty", "", 9e13)]]
    assert h.call("POST", "/api/v1/market/ticks", "machine", json={"ticks": rows}).status_code == 200
    reply = h.call("POST", "/api/v1/profitability/calculate", json={"device_class": "S21"}).json()
    mining = next(r for r in reply["rows"] if r["workload_type"] == "bitcoin_mining")
    assert mining["energy_cost_usd_h"] == pytest.approx(3500e-6 * 1.5 * 40, rel=1e-9)
    assert h.stop() == 0
    assert (h.state / "conf/site-00.yaml").read_text() == NORTH.read_text()
    done = hcpd(program, "--replay", h.state, "--service", "optimizer")
    assert done.returncode == 0 and '"identical":true' in done.stdout.replace(" ", ""), done.stdout + done.stderr


def test_state_is_for_its_owner_alone(start_hcpd, tmp_path):
    state = tmp_path / "state"
    state.mkdir(mode=0o755)
    h = start_hcpd("hcpd", state=state)
    assert h.stop() == 0
    made = [p for p in state.rglob("*") if p.is_file() and p.name != "hcpd.log"]  # that is the test's
    assert {"identity.db", "machine.token"} <= {p.name for p in made}
    assert [str(p) for p in made if p.stat().st_mode & 0o077] == []
