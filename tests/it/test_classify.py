"""Kinds of work told from what is known of it: over the API, on the command line, from recorded traces."""
import json
import os
import pathlib
import subprocess

import pytest

JOHN = "john@acme.com"
ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = pathlib.Path(os.environ.get("HCP_DATA", ROOT / ".." / "shared" / "data"))
TRACES = ["gpu_cluster_pods_alibaba_2023.csv", "genai_requests_alibaba_2024.csv", "llm_requests_azure_2023.csv"]
PODS = "cpu_milli,memory_mib,num_gpu,gpu_milli,qos,creation_time,deletion_time,scheduled_time\n"


def cli(program, hcpd, *args):
    env = os.environ | ({"HCP_URL": hcpd.url, "HCP_TOKEN": hcpd.login(JOHN, "customer123")} if hcpd else {})
    return subprocess.run([program("hcp"), *map(str, args)], env=env, capture_output=True, text=True, timeout=240)


def test_submissions_without_a_type_are_classified_and_say_how(hcpd, program):
    body = {"name": "n", "model": "llama-3-70b", "device_class": "H100", "device_count": 1, "duration_s": 12}
    made = hcpd.call("POST", "/api/v1/workloads", JOHN, json=body)
    assert made.status_code == 201, made.text
    w = hcpd.call("GET", f"/api/v1/workloads/{made.json()['id']}", JOHN).json()
    assert w["type"] == "ai_inference_realtime" and w["priority_class"] == "P1"
    c = w["classified"]
    assert c["by"] == "model" and 0.8 <= c["confidence"] <= 1 and "duration_s <" in c["path"] and c["rule"], c
    out = cli(program, hcpd, "explain", w["id"])
    assert out.returncode == 0, out.stderr
    assert "classified by model" in out.stdout and "% sure" in out.stdout and c["path"] in out.stdout, out.stdout

    given = hcpd.call("POST", "/api/v1/workloads", JOHN, json=body | {"type": "ai_inference_batch"}).json()
    assert given["type"] == "ai_inference_batch" and "classified" not in given
    trained = hcpd.call("POST", "/api/v1/workloads", JOHN, json={k: v for k, v in body.items() if k != "model"}).json()
    assert trained["type"] == "model_training" and trained["classified"]["by"] == "rule", trained
    batch = hcpd.call("POST", "/api/v1/workloads/batch", JOHN, json={"workloads": [body, body | {"duration_s": 0}]}).json()
    assert [x["classified"]["by"] for x in batch["workloads"]] == ["model", "rule"], batch

    refused = hcpd.call("POST", "/api/v1/workloads", JOHN, json={"name": "n", "model": "m"})
    assert refused.status_code == 400 and refused.json()["field"] == "type", refused.text


def test_described_work_is_classified_and_nonsense_is_refused_by_name(hcpd, program):
    def ask(**body):
        return hcpd.call("POST", "/api/v1/workloads/classify", JOHN, json=body)

    pod = ask(device_count=1, gpu_fraction=0.81, duration_s=200, cpu_cores=3.152, host_memory_gib=5.47).json()
    assert pod["type"] == "model_training" and pod["by"] == "model" and pod["path"], pod
    bound = ask(max_latency_ms=50).json()
    assert bound["type"] == "ai_inference_realtime" and bound["by"] == "rule" and bound["confidence"] == 1, bound
    for body, field in [({"size_mb": -1}, "size_mb"), ({"cpu_cores": 1e300}, "cpu_cores"), ({"gpu_fraction": 2}, "gpu_fraction"),
                        ({"duration_s": -5}, "duration_s"), ({"type_hint": "cooking"}, "type_hint"),
                        ({"customer_tier": "gold"}, "customer_tier")]:
        reply = ask(**body)
        assert reply.status_code == 400 and reply.json()["field"] == field, reply.text
    raw = hcpd.call("POST", "/api/v1/workloads/classify", JOHN, data='{"cpu_cores": 1e999}',
                    headers={"content-type": "application/json"})
    assert raw.status_code == 400, raw.text
    out = cli(program, hcpd, "workloads", "classify", "--count", "1", "--duration", "12s", "-o", "json")
    assert out.returncode == 0 and json.loads(out.stdout)["by"] == "model", out.stdout + out.stderr


def test_training_repeats_itself_and_reports_what_it_cannot_tell(program, tmp_path):
    trace = tmp_path / "pods.csv"
    trace.write_text(PODS + "".join(f"{12000 if i % 3 else 3000},{49152 if i % 3 else 4096},1,{1000 if i % 3 else 300},"
                                    f"{'LS' if i % 3 else 'BE'},{i},{i + 400},{i}\n" for i in range(600)))
    for out in ("a", "b"):
        assert cli(program, None, "classify", "train", "--trace", trace, "--out", tmp_path / out).returncode == 0
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    done = cli(program, None, "classify", "report", "--trace", trace, "-o", "json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    rows = {(r["judge"], r["label"]): r for r in report["confusion"]}
    assert rows["described", "model_training"]["recall"] == 1 and rows["described", "ai_inference_batch"]["jobs"] == 0
    assert sum(r["jobs"] for (judge, _), r in rows.items() if judge == "rules") == 600
    bad = cli(program, None, "classify", "report", "--trace", tmp_path / "none.csv")
    assert bad.returncode != 0 and "none.csv" in bad.stderr


@pytest.mark.skipif(not all((DATA / t).exists() for t in TRACES), reason=f"no traces in {DATA}")
def test_what_comes_along_is_what_the_traces_give(program, tmp_path):
    traces = ",".join(str(DATA / t) for t in TRACES)
    assert cli(program, None, "classify", "train", "--trace", traces, "--out", tmp_path / "c.bin").returncode == 0
    assert (tmp_path / "c.bin").read_bytes() == (ROOT / "spec/models/classify.bin").read_bytes()
    report = json.loads(cli(program, None, "classify", "report", "--trace", traces, "-o", "json").stdout)
    pods = {r["judge"]: r for r in report["traces"] if r["trace"] == "pods"}
    assert pods["full tree"]["right"] > pods["bare tree"]["right"] > pods["rules"]["right"]
    assert pods["described"]["right_of_these"] > pods["full tree"]["right"], "those that it is sure of are no better"
