"""What will be free: the forecast over the API and the command line, and its judgement on recorded traces."""
import json
import os
import pathlib
import subprocess
import time

import pytest

OPERATOR, JOHN = "operator@mara.com", "john@acme.com"
ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = pathlib.Path(os.environ.get("HCP_DATA", ROOT / ".." / "shared" / "data"))
PODS = DATA / "gpu_cluster_pods_alibaba_2023.csv"
HEAD = "cpu_milli,memory_mib,num_gpu,gpu_milli,qos,creation_time,deletion_time,scheduled_time\n"


def judge(program, *args):
    return subprocess.run([program("hcp"), "capacity", "judge", *map(str, args), "-o", "json"], capture_output=True, text=True,
                          timeout=120)


def test_the_forecast_of_a_running_platform(start_hcpd, program):
    h = start_hcpd()
    fleet = subprocess.Popen([program("hcp-sim"), "fleet", "--mesh", h.mesh, "--token-file", h.state / "machine.token",
                              "--seed", "1", "--small"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        job = {"type": "ai_inference_batch", "model": "m", "device_class": "H100", "device_count": 6, "name": "n",
               "duration_s": 5400}
        for _ in range(2):
            assert h.call("POST", "/api/v1/workloads", JOHN, json=job).status_code == 201

        def ask():
            got = h.call("GET", "/api/v1/capacity/forecast", OPERATOR).json()["classes"]
            mine = [c for c in got if c["device_class"] == "H100"]
            return mine and mine[0]["total"] == 8 and mine[0]["held"] == 6 and mine[0]["waiting"] == 6 and mine[0]
        end = time.monotonic() + 60
        while not (c := ask()) and time.monotonic() < end:
            time.sleep(0.2)
        assert c, h.call("GET", "/api/v1/capacity/forecast", OPERATOR).text
        assert c["model"] == "now" and len(c["points"]) == 24 and c["points"][0]["shortfall_p50"] == 4, c
        assert h.call("GET", "/api/v1/capacity/forecast", JOHN).status_code == 403
        bad = h.call("GET", "/api/v1/capacity/forecast?device_class=H900", OPERATOR)
        assert bad.status_code == 404 and bad.json()["field"] == "device_class", bad.text
        env = os.environ | {"HCP_URL": h.url, "HCP_TOKEN": h.login(OPERATOR, "operator123")}
        out = subprocess.run([program("hcp"), "capacity", "forecast", "--device-class", "H100"], env=env, capture_output=True,
                             text=True, timeout=20)
        assert out.returncode == 0 and out.stdout.count("H100") == 25 and "SHORT" in out.stdout, out.stdout + out.stderr
    finally:
        fleet.terminate()
        fleet.wait(20)


def test_a_daily_rhythm_is_found_and_short_traces_are_refused(program, tmp_path):
    trace = tmp_path / "days.csv"
    rows = [(d * 86400 + 9 * 3600 + i * 60, 8 * 3600) for d in range(50) for i in range(20)]
    trace.write_text(HEAD + "".join(f"1000,1024,1,1000,LS,{at},{at + run},{at}\n" for at, run in rows))
    done = judge(program, "--trace", trace, "--days", "7")
    assert done.returncode == 0, done.stderr
    models = {m["model"]: m for m in json.loads(done.stdout)["models"]}
    assert models["chosen"]["pinball_ratio"] < 0.7 and models["similar_day"]["pinball"] < models["persistence"]["pinball"], models
    refused = judge(program, "--trace", trace, "--days", "40")
    assert refused.returncode != 0 and "too few" in refused.stderr


@pytest.mark.skipif(not PODS.exists(), reason=f"no {PODS.name} in {DATA}")
def test_recorded_pods_are_hardly_better_than_persistence(program):
    done = judge(program, "--trace", PODS, "--days", "20")
    assert done.returncode == 0, done.stderr
    models = {m["model"]: m for m in json.loads(done.stdout)["models"]}
    assert models["chosen"]["pinball_ratio"] < 1.05, models
