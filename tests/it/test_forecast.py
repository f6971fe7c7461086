"""hcp forecast report: the program itself on recorded data, and what it says to what cannot be."""
import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
HCP = Path(os.environ.get("HCP_BUILD", ROOT / "build")).resolve() / "src" / "cmd" / "hcp"
DATA = Path(os.environ.get("HCP_DATA", ROOT.parent / "shared" / "data"))


def report(*args):
    return subprocess.run([HCP, "forecast", "report", *args], capture_output=True, text=True, timeout=240)


def test_three_days_of_hourly_forecasts():
    if not DATA.is_dir():
        pytest.skip("the recorded data is not there; set HCP_DATA")
    done = report("--data", DATA, "--location", "HB_NORTH", "--from", "2024-03-01", "--to", "2024-03-04", "-o", "json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["location"], told["forecasts"], told["trainings"]) == ("HB_NORTH", 72, 1)
    scores = {(s["ahead_s"], s["model"]): s for s in told["scores"]}
    assert {m for _, m in scores} == {"persistence", "similar_day", "regression", "trees", "recurrent", "combination"}
    # What comes after the end is not judged: nothing of seven days ahead, two days of a day ahead.
    assert {a for a, _ in scores} == {900, 3600, 86400}
    assert scores[900, "trees"]["n"] == 72 and scores[86400, "trees"]["n"] == 49
    assert scores[3600, "persistence"]["pinball_ratio"] == 1
    assert all(0 <= s["below_05"] <= s["below_50"] <= s["below_95"] <= 1 and s["pinball"] > 0 for s in scores.values())
    assert "%" in done.stderr


@pytest.mark.parametrize("args, word", [
    (["--from", "2024-01-01", "--to", "2024-01-02"], "data"),
    (["--data", "nowhere", "--from", "2024-01-01", "--to", "2024-01-02"], "nowhere"),
    (["--data", "nowhere", "--from", "tomorrow", "--to", "2024-01-02"], "from"),
    (["--data", "nowhere", "--from", "2024-01-01", "--to", "2024-01-02", "--kind", "weather"], "kind"),
])
def test_refusals_name_what_is_wrong(args, word):
    done = report("--quiet", *args)
    assert done.returncode in (1, 2) and word in done.stderr and not done.stdout
