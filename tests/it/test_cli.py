"""The client `hcp` against a server that answers in the documented shapes: what it sends, prints and exits with."""

import concurrent.futures
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time
import tomllib
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
HCP = pathlib.Path(os.environ.get("HCP_BUILD", ROOT / "build")).resolve() / "src" / "cmd" / "hcp"
LIMIT_S = 60  # no single run may take longer

pytestmark = pytest.mark.skipif(not HCP.exists(), reason=f"{HCP} is not built")


class Server:
    """Answers by (method, path); remembers every request."""

    def __init__(self):
        self.routes = {}
        self.seen = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def any(self):
                url = urllib.parse.urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                request = {
                    "method": self.command,
                    "path": url.path,
                    "query": dict(urllib.parse.parse_qsl(url.query)),
                    "headers": {k.lower(): v for k, v in self.headers.items()},
                    "body": json.loads(body) if body else None,
                }
                outer.seen.append(request)
                answer = outer.routes.get((self.command, url.path))
                if callable(answer):
                    answer = answer(request)
                if answer is None:
                    answer = (404, problem(404, "not_found", "no such thing"))
                status, reply = answer
                raw = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
                try:
                    self.send_response(status)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(raw)))
                    self.end_headers()
                    self.wfile.write(raw)
                except (BrokenPipeError, ConnectionResetError):
                    pass

            do_GET = do_POST = do_PUT = do_DELETE = any

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    def close(self):
        self.http.shutdown()
        self.http.server_close()


def problem(status, code, detail, field=""):
    return {"type": "about:blank", "title": code, "status": status, "detail": detail, "code": code, "field": field,
            "trace_id": "4bf92f3577b34da6"}


@pytest.fixture
def server():
    s = Server()
    yield s
    s.close()


@pytest.fixture
def env(server, tmp_path):
    e = {k: v for k, v in os.environ.items() if not k.startswith("HCP_") and k not in ("COLUMNS", "XDG_CONFIG_HOME")}
    e |= {"HCP_URL": server.url, "HCP_CONFIG_DIR": str(tmp_path / "config"), "HCP_TOKEN": "tok-1"}
    return e


def hcp(env, *args, stdin=""):
    return subprocess.run([HCP, *args], env=env, input=stdin, capture_output=True, text=True, timeout=LIMIT_S)


WORKLOAD = {"id": "wl-1", "type": "ai_inference_batch", "state": "queued", "name": "nightly: run", "priority": 5,
            "priority_class": "P3", "device_class": "H100", "device_count": 2, "created_at_ns": 1700000000000000000,
            "version": 3, "estimated_cost_micros": 12340000, "reason": ""}


# ---------------------------------------------------------------- what is sent

def test_sends_token_and_filters(server, env):
    server.routes["GET", "/api/v1/workloads"] = (200, {"workloads": [WORKLOAD], "next_cursor": "c 2"})
    run = hcp(env, "workloads", "list", "--state", "queued", "--limit", "7", "--customer-id", "a&b=c")
    assert run.returncode == 0, run.stderr
    (seen,) = server.seen
    assert seen["headers"]["authorization"] == "Bearer tok-1"
    assert seen["query"] == {"state": "queued", "limit": "7", "customer_id": "a&b=c"}
    assert "--cursor c 2" in run.stderr and "cursor" not in run.stdout


def test_api_key_and_token_file(server, env, tmp_path):
    server.routes["GET", "/api/v1/policy"] = (200, {"policy": "threshold"})
    secret = tmp_path / "key"
    secret.write_text("from-file\n")
    secret.chmod(0o600)
    del env["HCP_TOKEN"]
    env["HCP_API_KEY"] = "key-1"
    assert hcp(env, "policy", "get").returncode == 0
    assert hcp(env, "--token-file", str(secret), "policy", "get").returncode == 0
    assert [r["headers"]["authorization"] for r in server.seen] == ["Bearer key-1", "Bearer from-file"]
    secret.chmod(0o644)
    run = hcp(env, "policy", "get", "--token-file", str(secret))
    assert run.returncode == 1 and "chmod 600" in run.stderr and len(server.seen) == 2


def test_submit_sends_every_field_and_a_new_idempotency_key(server, env):
    server.routes["POST", "/api/v1/workloads"] = (201, WORKLOAD)
    flags = ["--type", "ai_inference_batch", "--name", "n", "--model", "m", "--priority", "2", "--class", "H100",
             "--device-count", "2", "--memory-gib", "80", "--max-latency-ms", "50", "--duration", "2h",
             "--deadline", "2026-11-20T18:00:00Z", "--region", "us", "--callback-url", "https://x/y", "--customer-id", "cus-1"]
    assert hcp(env, "workloads", "submit", *flags).returncode == 0
    assert hcp(env, "workloads", "submit", "--type", "bitcoin_mining").returncode == 0
    assert hcp(env, "workloads", "submit", "--type", "bitcoin_mining", "--idempotency-key", "mine").returncode == 0
    first, second, third = server.seen
    assert first["body"] == {
        "type": "ai_inference_batch", "name": "n", "model": "m", "priority": 2, "device_class": "H100", "device_count": 2,
        "memory_gib": 80, "max_latency_ms": 50, "duration_s": 7200, "deadline_ns": 1795197600000000000, "region": "us",
        "callback_url": "https://x/y", "customer_id": "cus-1"}
    keys = [r["headers"]["idempotency-key"] for r in server.seen]
    assert len(set(keys)) == 3 and keys[2] == "mine" and len(keys[0]) > 20


def test_submit_from_file_with_flags_on_top(server, env, tmp_path):
    server.routes["POST", "/api/v1/workloads"] = (201, WORKLOAD)
    f = tmp_path / "w.json"
    f.write_text(json.dumps({"type": "model_training", "priority": 9}))
    assert hcp(env, "workloads", "submit", "--file", str(f), "--priority", "1").returncode == 0
    assert hcp(env, "workloads", "submit", "-f", "-", stdin='{"type": "model_training"}').returncode == 0
    assert [r["body"] for r in server.seen] == [{"type": "model_training", "priority": 1}, {"type": "model_training"}]
    bad = hcp(env, "workloads", "submit", "--file", "-", stdin='{"type": ')
    assert bad.returncode == 2 and "line 1" in bad.stderr
    assert hcp(env, "workloads", "submit", "--name", "x").returncode == 2
    assert len(server.seen) == 2


def test_batch_takes_a_bare_array(server, env):
    server.routes["POST", "/api/v1/workloads/batch"] = (201, {"workloads": [WORKLOAD]})
    run = hcp(env, "workloads", "submit-batch", "--file", "-", stdin='[{"type": "model_training"}]')
    assert run.returncode == 0, run.stderr
    assert server.seen[0]["body"] == {"workloads": [{"type": "model_training"}]}


def test_path_is_encoded(server, env):
    hcp(env, "workloads", "get", "a/../b?c")
    assert server.seen[0]["path"] == "/api/v1/workloads/a%2F..%2Fb%3Fc" and server.seen[0]["query"] == {}
    assert hcp(env, "workloads", "get", "..").returncode == 1 and len(server.seen) == 1


def test_all_follows_pages(server, env):
    def pages(request):
        return (200, {"devices": [{"id": "dev-2"}]} if request["query"].get("cursor") == "x" else
                {"devices": [{"id": "dev-1"}], "next_cursor": "x"})
    server.routes["GET", "/api/v1/resources"] = pages
    run = hcp(env, "resources", "list", "--all", "-o", "json")
    assert [d["id"] for d in json.loads(run.stdout)] == ["dev-1", "dev-2"] and run.stderr == ""


def test_policy_and_profitability_bodies(server, env):
    server.routes["PUT", "/api/v1/policy"] = (200, {"policy": "strike", "strike_usd_mwh": -5.5})
    server.routes["POST", "/api/v1/profitability/calculate"] = (200, {"rows": [], "recommendation": "idle"})
    assert hcp(env, "policy", "set", "strike", "--strike-usd-mwh", "-5.5").returncode == 0
    assert hcp(env, "profitability", "--class", "S21", "--electricity-usd-mwh=40").returncode == 0
    assert [r["body"] for r in server.seen] == [{"policy": "strike", "strike_usd_mwh": -5.5},
                                               {"device_class": "S21", "electricity_usd_mwh": 40.0}]


def test_every_route_has_a_command(env):
    routes = tomllib.loads((ROOT / "spec" / "routes.toml").read_text())["route"]
    known = {tuple(line.split("\t")[:2]) for line in hcp(env, "help", "--routes").stdout.splitlines()}
    by_itself = {("POST", "/api/v1/auth/refresh")}  # done by whatever command finds its token run out
    assert {(r["method"], r["path"]) for r in routes} - known - by_itself == set()


# ---------------------------------------------------------------- what is printed

def test_three_formats(server, env):
    yaml = pytest.importorskip("yaml")
    server.routes["GET", "/api/v1/workloads"] = (200, {"workloads": [WORKLOAD]})
    table = hcp(env, "workloads", "list").stdout.splitlines()
    assert table[0].split()[:4] == ["ID", "STATE", "TYPE", "NAME"] and "nightly: run" in table[1]
    assert "REASON" not in table[0]  # empty in all rows
    assert json.loads(hcp(env, "workloads", "list", "-o", "json").stdout) == [WORKLOAD]
    assert yaml.safe_load(hcp(env, "workloads", "list", "--output=yaml").stdout) == [WORKLOAD]


def test_object_table_shows_units(server, env):
    server.routes["GET", "/api/v1/fleet"] = (200, {"nodes": 3, "power_w": 1234567, "hash_ths": 2000.0, "classes": [
        {"device_class": "S21", "kind": "asic", "total": 1200, "power_w": 3500, "price_micros_h": 1500000}]})
    out = hcp(env, "fleet").stdout
    assert re.search(r"power +1\.23 MW", out) and re.search(r"hash +2 PH/s|hash +2\.00 PH/s", out)
    assert "1,200" in out and "3.50 kW" in out and "$1.50" in out


@pytest.mark.parametrize("fmt,expected", [("json", "[]\n"), ("yaml", "[]\n"), ("table", "")])
def test_empty_list(server, env, fmt, expected):
    server.routes["GET", "/api/v1/nodes"] = (200, {})
    run = hcp(env, "nodes", "-o", fmt)
    assert (run.returncode, run.stdout) == (0, expected)
    if fmt == "table":
        assert "no nodes" in run.stderr


def test_table_fits_and_is_safe(server, env):
    evil = WORKLOAD | {"name": "\x1b[2Jevil\n" + "é" * 200, "id": "wl-" + "7" * 26}
    server.routes["GET", "/api/v1/workloads"] = (200, {"workloads": [evil]})
    run = hcp(env | {"COLUMNS": "80"}, "workloads", "list")
    lines = run.stdout.splitlines()
    assert len(lines) == 2 and max(map(len, lines)) <= 80
    assert "\x1b" not in run.stdout and evil["id"] in lines[1] and "…" in lines[1]


def test_series_sparkline(server, env):
    points = [{"at_ns": i * 10**9, "value": float(i)} for i in range(8)]
    server.routes["GET", "/api/v1/telemetry/series"] = (200, {"metric": "power_w", "scope": "site", "points": points})
    run = hcp(env, "series", "power_w", "--minutes", "5")
    assert "▁▂▃▄▅▆▇█" in run.stdout and "most 7 W" in run.stdout
    assert server.seen[0]["query"] == {"metric": "power_w", "minutes": "5"}
    assert json.loads(hcp(env, "series", "power_w", "-o", "json").stdout)["points"] == points


def test_explain(server, env):
    decision = {
        "id": "dec-1", "decided_at_ns": 1700000000000000000, "market_time_ns": 1700000000000000000, "policy": "threshold",
        "trigger": "price", "changed": True, "summary": "Power is dear.", "net_usd_h": 120.0, "gain_usd_h": 20.0,
        "switching_cost_usd": 1.5, "realised_switching_ms": 850.0, "predicted_switching_ms": 600.0,
        "realised_switching_usd": 2.25, "in_force_s": 900.0, "expected_net_usd": 30.0, "realised_net_usd": 27.5,
        "inputs": [{"symbol": "electricity_rt", "location": "HB_NORTH", "value": 312.5, "unit": "USD/MWh",
                    "source": "ercot-replay", "observed_at_ns": 1699999900000000000, "stale": False}],
        "options": [{"name": "mine", "device_class": "S21", "net_usd_h": -10.0, "chosen": False, "realised_usd": -3.5, "reason": "costs more than it earns"},
                    {"name": "curtail", "device_class": "S21", "net_usd_h": 120.0, "chosen": True, "reason": "best net"}],
        "targets": [{"device_class": "S21", "total": 10, "idle": 10, "one_more_usd": 3.25}],
        "horizon_s": 21600.0, "gain_usd": 44.5, "pays": True,
        "forecasts": [{"facility": "texas-north", "location": "HB_WEST", "model": "trees", "step_seconds": 900,
                       "issued_at_ns": 1700000000000000000, "expected_usd_mwh": 310.5, "expected_by": "forecast+price_model",
                       "reason": "trees was better than persistence of late", "plan_steps": 24, "plan_net_usd": 77.0,
                       **{q: [i * 100.0 + k for k in range(24)] for i, q in enumerate(["q05", "q25", "q50", "mean", "q75", "q95"])}}],
        "guard": {"up": True, "drawdown": 0.25, "limit": 0.2, "peak_usd": 1000.0}}
    server.routes["GET", "/api/v1/recommendation"] = (200, decision)
    server.routes["GET", "/api/v1/decisions/dec-1"] = (200, decision)
    out = hcp(env, "explain", "latest").stdout
    assert [r["path"] for r in server.seen] == ["/api/v1/recommendation"]
    assert "1m 40s" in out and "ercot-replay" in out and "850 ms" in out and "$20.00/h better" in out
    assert "$1.50 in 600 ms" in out and "$2.25 in 850 ms" in out and "In force for 15m" in out
    assert "$27.50 netted, $30.00 expected" in out
    assert "gain $44.50 over the next 6h 0m: worth its switching cost" in out
    assert "What was expected" in out and "trees was better than persistence" in out and "$77.00" in out and "$3.25" in out
    last = [line.split() for line in out.splitlines() if line.startswith("2023-11-15 03:58")]  # the 24th quarter-hour
    assert len(last) == 1 and "323" in last[0][2] and "523" in last[0][-1]
    assert "guard: up, the safest plan is used; 25" in out and "limit 20" in out
    chosen, rejected = [line for line in out.splitlines() if line.startswith(("chosen", "rejected"))]
    assert "curtail" in chosen and "mine" in rejected and "costs more than it earns" in rejected and "-$3.50" in rejected
    assert json.loads(hcp(env, "explain", "dec-1", "-o", "json").stdout) == decision


def test_explain_a_workload_that_yielded(server, env):
    wl = WORKLOAD | {"id": "wl-7", "state": "queued", "priority_class": "P3", "preemptions": 2, "preempted_by": "wl-9",
                     "checkpointable": True, "reason": "waiting again: preempted by wl-9 (P1, priority 5)"}
    steps = [{"at_ns": 1700000000000000000, "from": "running", "to": "queued", "reason": "preempted by wl-9"}]
    entry = {"workload_id": "wl-7", "position": 4, "priority_class": "P3", "waiting_since_ns": 1700000000000000000,
             "eta_ms": 65000, "overdue": True, "reason": "Wants 2, 1 are free; fits when 1 of 3 busy ones end."}
    server.routes["GET", "/api/v1/workloads/wl-7"] = (200, wl)
    server.routes["GET", "/api/v1/workloads/wl-7/history"] = (200, {"transitions": steps})
    server.routes["GET", "/api/v1/queue"] = (200, {"entries": [entry]})
    out = hcp(env, "explain", "wl-7").stdout
    assert server.seen[2]["query"] == {"workload_id": "wl-7"}
    assert "gave its devices up to others 2 times, the last time to wl-9; what it had done was saved" in out, out
    assert "Position 4 in P3" in out and "1m 5s" in out and "Longer than its class promises" in out, out
    assert "fits when 1 of 3 busy ones end" in out and "running" in out, out
    assert json.loads(hcp(env, "explain", "wl-7", "-o", "json").stdout) == {
        "workload": wl, "transitions": steps, "queue": entry}
    server.routes["GET", "/api/v1/queue"] = (200, {"entries": []})
    assert "Why it waits" not in hcp(env, "explain", "wl-7").stdout


def test_queue_by_pages_and_quotas(server, env):
    pages = [{"entries": [{"position": 1, "workload_id": "wl-1", "priority_class": "P2"}], "next_cursor": "wl-1"},
             {"entries": [{"position": 2, "workload_id": "wl-2", "priority_class": "P2"}]}]
    server.routes["GET", "/api/v1/queue"] = lambda request: (200, pages[1 if "cursor" in request["query"] else 0])
    out = json.loads(hcp(env, "queue", "--class", "P2", "--all", "-o", "json").stdout)
    assert [e["workload_id"] for e in out["entries"]] == ["wl-1", "wl-2"]
    assert server.seen[1]["query"] == {"priority_class": "P2", "cursor": "wl-1"}
    quota = {"quota": {"customer_id": "cus-1", "weight": 2.0, "max_devices": 8}, "active": 3, "device_hours": 1.5}
    server.routes["PUT", "/api/v1/customers/cus-1/quota"] = (200, quota)
    server.routes["GET", "/api/v1/customers/cus-1/quota"] = (200, quota)
    assert hcp(env, "quota", "set", "cus-1", "--weight", "2", "--max-devices", "8").returncode == 0
    assert server.seen[2]["body"] == {"weight": 2.0, "max_devices": 8}
    assert json.loads(hcp(env, "quota", "get", "cus-1", "-o", "json").stdout) == quota


def test_bids(server, env):
    step = {"device_class": "S21", "from": "mine", "to": "safe", "devices": 12, "kw": 45.7, "total_kw": 45.7,
            "usd_mwh": 98.5, "response_ms": 2000.0}
    server.routes["GET", "/api/v1/bids"] = (200, {"facility": "west", "duration_s": 900, "shed": [step], "add": [], "levels": []})
    out = hcp(env, "bids", "--facility", "west", "--duration", "15m").stdout
    assert server.seen[0]["query"] == {"facility": "west", "duration_s": "900"}
    assert "S21" in out and "45.7" in out and "98.5" in out and "2 s" in out, out
    assert json.loads(hcp(env, "bids", "-o", "json").stdout)["shed"] == [step]
    assert "usd_mwh: 98.5" in hcp(env, "bids", "-o", "yaml").stdout


def test_embed(server, env):
    def embeddings(request):
        return (200, {"data": [{"index": i, "embedding": [0.6, 0.8]} for i, _ in enumerate(request["body"]["input"])]})
    server.routes["POST", "/v1/embeddings"] = embeddings
    out = hcp(env, "embed", "one", "-", stdin="two\n\nthree\n").stdout
    assert server.seen[0]["body"]["input"] == ["one", "two", "three"]
    assert len(out.splitlines()) == 4 and "1.0000" in out and "three" in out


def test_watch_flag_repeats(server, env):
    server.routes["GET", "/api/v1/policy"] = (200, {"policy": "threshold"})
    server.routes["GET", "/api/v1/queue"] = (200, {"classes": [{"priority_class": "P1", "waiting": 1}]})
    assert hcp(env, "policy", "get", "--watch").returncode == 2  # not a thing to watch
    p = subprocess.Popen([HCP, "queue", "--watch", "1"], env=env, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + LIMIT_S
    while len(server.seen) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    p.send_signal(signal.SIGINT)
    out, _ = p.communicate(timeout=LIMIT_S)
    assert len(server.seen) >= 2 and out.count("P1") >= 1


# ---------------------------------------------------------------- long poll

def lifecycle(states):
    """Answers a GET at once, and one with ?index= when the next state is due."""
    def answer(request):
        index = int(request["query"].get("index", 0))
        at = min(index, len(states) - 1)
        if "index" in request["query"]:
            assert 0 < int(request["query"]["wait_ms"]) <= 60000
        return (200, WORKLOAD | {"state": states[at][0], "reason": states[at][1], "version": at + 1})
    return answer


def test_watch_follows_to_the_end(server, env):
    server.routes["GET", "/api/v1/workloads/wl-1"] = lifecycle([("queued", "no device"), ("running", ""), ("completed", "")])
    run = hcp(env, "workloads", "watch", "wl-1")
    assert run.returncode == 0, run.stderr
    assert [line.split("Z  ")[1] for line in run.stdout.splitlines()] == ["queued  no device", "queued → running", "running → completed"]
    assert [r["query"].get("index") for r in server.seen] == [None, "1", "2"]
    lines = hcp(env, "workloads", "watch", "wl-1", "-o", "json").stdout.splitlines()
    assert [json.loads(line)["state"] for line in lines] == ["queued", "running", "completed"]


def test_watch_of_a_failed_workload(server, env):
    server.routes["GET", "/api/v1/workloads/wl-1"] = lifecycle([("queued", ""), ("failed", "out of memory")])
    run = hcp(env, "workloads", "watch", "wl-1")
    assert run.returncode == 1 and "out of memory" in run.stderr


def test_watch_does_not_spin(server, env):
    """A server that answers without waiting is not hammered."""
    began = time.monotonic()
    server.routes["GET", "/api/v1/workloads/wl-1"] = lambda r: (
        200, WORKLOAD | {"state": "completed" if len(server.seen) > 4 else "queued", "version": 1})
    assert hcp(env, "workloads", "watch", "wl-1").returncode == 0
    assert len(server.seen) == 5 and time.monotonic() - began >= 0.5


def test_submit_wait(server, env):
    server.routes["POST", "/api/v1/workloads"] = (201, WORKLOAD | {"version": 1})
    server.routes["GET", "/api/v1/workloads/wl-1"] = lifecycle([("queued", ""), ("scheduled", ""), ("running", "")])
    run = hcp(env, "workloads", "submit", "--type", "ai_inference_batch", "--wait", "-o", "json")
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["state"] == "running"  # one document
    assert "queued → scheduled" in run.stderr and "scheduled → running" in run.stderr


# ---------------------------------------------------------------- login

def test_login_whoami_logout(server, env, tmp_path):
    del env["HCP_TOKEN"]

    def login(request):
        if request["body"] != {"email": "a@example.com", "password": "pw \"1\""}:
            return (401, problem(401, "unauthenticated", "no"))
        return (200, {"access_token": "secret-token", "expires_in": 900})
    server.routes["POST", "/api/v1/auth/login"] = login
    server.routes["GET", "/api/v1/auth/me"] = (200, {"access_token": "secret-token", "principal": {"email": "a@example.com", "role": "admin"}})
    run = hcp(env, "whoami")
    assert run.returncode == 4 and "run `hcp login`" in run.stderr and not server.seen
    bad = hcp(env, "login", "--email", "a@example.com", "--password-stdin", stdin="wrong\n")
    assert bad.returncode == 4 and "wrong" in bad.stderr
    run = hcp(env, "login", "--email", "a@example.com", "--password-stdin", stdin="pw \"1\"\n")
    assert run.returncode == 0 and "secret-token" not in run.stdout + run.stderr
    creds = tmp_path / "config" / "credentials.json"
    assert creds.stat().st_mode & 0o777 == 0o600
    run = hcp(env, "whoami")
    assert "a@example.com" in run.stdout and "secret-token" not in run.stdout
    assert server.seen[-1]["headers"]["authorization"] == "Bearer secret-token"
    # The token belongs to that server only.
    other = hcp(env, "whoami", "--url", server.url.replace("127.0.0.1", "localhost"))
    assert other.returncode == 4
    assert hcp(env, "logout").returncode == 0
    assert hcp(env, "whoami").returncode == 4
    assert hcp(env, "logout").returncode == 0  # a second time is fine


def test_expired_login_is_said_before_asking(server, env, tmp_path):
    del env["HCP_TOKEN"]
    creds = tmp_path / "config" / "credentials.json"
    creds.parent.mkdir()
    creds.write_text(json.dumps({"servers": {server.url: {"access_token": "t", "email": "x", "expires_at_ns": 1}}}))
    creds.chmod(0o600)
    run = hcp(env, "status")
    assert run.returncode == 4 and "expired" in run.stderr and not server.seen
    creds.write_text("{")
    run = hcp(env, "status")
    assert run.returncode == 1 and "damaged" in run.stderr


def test_login_renews_itself(server, env, tmp_path):
    """A token that has run out is renewed once, by the one of several runs that comes first."""
    del env["HCP_TOKEN"]
    good, spent, lock = {"refresh": "r0", "access": None}, [], threading.Lock()

    def refresh(request):
        assert "authorization" not in request["headers"]
        with lock:
            sent = request["body"]["refresh_token"]
            spent.append(sent)
            if sent != good["refresh"]:
                return (401, problem(401, "unauthenticated", "used before"))
            n = len(spent)
            good.update(refresh=f"r{n}", access=f"a{n}")
            return (200, {"access_token": f"a{n}", "refresh_token": f"r{n}", "expires_in": 900})

    def status(request):
        if request["headers"]["authorization"] != f"Bearer {good['access']}":
            return (401, problem(401, "unauthenticated", "expired"))
        return (200, {"version": "9"})
    server.routes["POST", "/api/v1/auth/refresh"] = refresh
    server.routes["GET", "/api/v1/status"] = status
    creds = tmp_path / "config" / "credentials.json"
    creds.parent.mkdir()

    def keep(expires_at_ns):
        creds.write_text(json.dumps({"servers": {server.url: {
            "access_token": "old", "refresh_token": good["refresh"], "email": "x", "expires_at_ns": expires_at_ns}}}))
        creds.chmod(0o600)
    keep(1)  # run out by this machine's clock: renewed before asking
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        runs = list(pool.map(lambda _: hcp(env, "status", "-o", "json"), range(6)))
    assert [r.returncode for r in runs] == [0] * 6, runs[0].stderr
    assert spent == ["r0"]
    kept = json.loads(creds.read_text())["servers"][server.url]
    assert kept["access_token"] == "a1" and kept["refresh_token"] == "r1" and creds.stat().st_mode & 0o777 == 0o600
    keep(9000000000000000000)  # the server thinks otherwise
    run = hcp(env, "status", "-o", "json")
    assert run.returncode == 0 and spent == ["r0", "r1"], run.stderr
    good["refresh"] = "ended"
    keep(1)
    server.routes["POST", "/api/v1/auth/refresh"] = (401, problem(401, "unauthenticated", "over"))
    run = hcp(env, "status")
    assert run.returncode == 4 and "expired: run `hcp login`" in run.stderr
    # Logout ends it at the server too; a server that is away does not keep it from being forgotten.
    ended = []
    server.routes["POST", "/api/v1/auth/logout"] = lambda r: (ended.append(r["body"]["refresh_token"]), (200, {}))[1]
    assert hcp(env, "logout").returncode == 0 and ended == ["ended"]
    keep(1)
    del server.routes["POST", "/api/v1/auth/logout"]
    run = hcp(env, "logout")
    assert run.returncode == 0 and "could not be told" in run.stderr
    assert hcp(env, "status").returncode == 4


def test_password_is_read_without_echo(server, env):
    pty = pytest.importorskip("pty")
    del env["HCP_TOKEN"]
    server.routes["POST", "/api/v1/auth/login"] = (200, {"access_token": "t", "expires_in": 900})
    pid, fd = pty.fork()
    if pid == 0:
        os.execve(HCP, ["hcp", "login", "--email", "a@example.com"], env)
    shown, sent = b"", False
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        try:
            chunk = os.read(fd, 1024)
        except OSError:
            break
        if not chunk:
            break
        shown += chunk
        if b"Password:" in shown and not sent:
            time.sleep(0.2)  # until the terminal is silent
            os.write(fd, b"hunter2\n")
            sent = True
    _, status = os.waitpid(pid, 0)
    os.close(fd)
    assert os.waitstatus_to_exitcode(status) == 0 and b"hunter2" not in shown
    assert server.seen[0]["body"]["password"] == "hunter2"


def test_key_secret_is_shown_once(server, env):
    server.routes["POST", "/api/v1/api-keys"] = (201, {"id": "key-1", "name": "ci", "secret": "hcp_abc"})
    run = hcp(env, "keys", "create", "ci")
    assert "hcp_abc" in run.stdout and "not shown again" in run.stderr and server.seen[0]["body"] == {"name": "ci"}


# ---------------------------------------------------------------- errors and exit codes

def test_problem_is_told_with_its_field(server, env):
    server.routes["POST", "/api/v1/workloads"] = (422, problem(422, "invalid", "must be between 1 and 4096", "device_count"))
    run = hcp(env, "workloads", "submit", "--type", "model_training")
    assert run.returncode == 1 and run.stdout == ""
    assert "device_count: must be between 1 and 4096" in run.stderr and "422 invalid" in run.stderr and "4bf92f3577b34da6" in run.stderr


@pytest.mark.parametrize("status,code", [(401, 4), (403, 1), (404, 1), (429, 1), (500, 1), (503, 1)])
def test_exit_codes(server, env, status, code):
    server.routes["GET", "/api/v1/status"] = (status, problem(status, "x", "because"))
    run = hcp(env, "status")
    assert (run.returncode, run.stdout) == (code, "") and run.stderr


@pytest.mark.parametrize("raw", [b"<html>hello</html>", b"{\"services\": [", b"[1", b"\xff\xfe", b"{\"a\":1,\"a\":2}"])
def test_bad_json(server, env, raw):
    server.routes["GET", "/api/v1/status"] = (200, raw)
    run = hcp(env, "status")
    assert run.returncode == 1 and run.stdout == "" and "no valid JSON" in run.stderr
    server.routes["GET", "/api/v1/status"] = (502, raw)
    assert hcp(env, "status").returncode == 1


@pytest.mark.parametrize("reply", [{"workloads": 7}, [], {"workloads": {}}])
def test_wrong_shape(server, env, reply):
    server.routes["GET", "/api/v1/workloads"] = (200, reply)
    run = hcp(env, "workloads", "list")
    # An object without the member is an empty list; anything else is not of the promised shape.
    if isinstance(reply, list):
        assert run.returncode == 0 and run.stdout == ""
    else:
        assert run.returncode == 1 and "shape" in run.stderr


def test_rows_that_are_no_objects(server, env):
    server.routes["GET", "/api/v1/workloads"] = (200, {"workloads": [1, None, "x", [], {"id": {"a": [1]}}]})
    assert hcp(env, "workloads", "list").returncode == 0


def test_too_deep_and_too_large(server, env):
    server.routes["GET", "/api/v1/policy"] = (200, b'{"a":' * 200 + b"1" + b"}" * 200)
    run = hcp(env, "policy", "get", "-o", "json")
    assert run.returncode == 1 and "deeper" in run.stderr and run.stdout == ""
    server.routes["GET", "/api/v1/policy"] = (200, b'{"a":"' + b"x" * (33 << 20) + b'"}')
    run = hcp(env, "policy", "get")
    assert run.returncode == 1 and "32 MiB" in run.stderr


def test_connection_refused(env):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{s.getsockname()[1]}"
    run = hcp(env, "status", "--url", url)
    assert run.returncode == 3 and url in run.stderr and "--url" in run.stderr


def test_timeout_names_the_key_to_repeat_with(server, env):
    release = threading.Event()
    server.routes["POST", "/api/v1/workloads"] = lambda r: release.wait(LIMIT_S) and (201, WORKLOAD)
    run = hcp(env, "--timeout", "1", "workloads", "submit", "--type", "model_training")
    release.set()
    assert run.returncode == 3 and server.seen[0]["headers"]["idempotency-key"] in run.stderr


def test_redirect_does_not_carry_the_token(server, env):
    server.routes["GET", "/api/v1/status"] = (302, {})
    assert hcp(env, "status").returncode == 1 and len(server.seen) == 1


@pytest.mark.parametrize("args", [
    ["nothing"], ["workloads"], ["workloads", "get"], ["workloads", "get", "a", "b"], ["status", "--what"], ["-x", "status"],
    ["workloads", "list", "--limit", "x"], ["workloads", "list", "--limit", "0"], ["workloads", "list", "--state", "odd"],
    ["workloads", "submit", "--duration", "-1", "--type", "model_training"], ["status", "-o", "xml"], ["status", "--url", "ftp://x"],
    ["status", "--url", "http://user:pw@host"], ["profitability"], ["emergency-stop", "--yes"], ["emergency-stop", "--reason", "x"],
    ["completion", "tcsh"], ["series"], ["policy", "set", "x", "--hysteresis", "nan"], ["status", "--token", "abc"],
    ["login", "--email", "x"], ["help", "nothing"], ["status", "--timeout"]])
def test_usage_errors(server, env, args):
    run = hcp(env, *args)
    assert run.returncode == 2 and run.stdout == "" and run.stderr.startswith("hcp: ") and not server.seen


def test_emergency_stop_with_yes(server, env):
    server.routes["POST", "/api/v1/emergency/stop"] = (200, {"mode": "emergency_stop", "emergency_reason": "smoke"})
    run = hcp(env, "emergency-stop", "--reason", "smoke", "--yes")
    assert run.returncode == 0 and "emergency_stop" in run.stdout and server.seen[0]["body"] == {"reason": "smoke"}


def test_help_and_completion(env):
    assert "workloads submit" in hcp(env).stdout
    assert "--device-count" in hcp(env, "workloads", "submit", "--help").stdout
    assert hcp(env, "help", "keys").stdout.count("keys ") >= 3
    assert [line.split("\t")[0] for line in hcp(env, "__complete", "wor").stdout.splitlines()] == ["workloads"]
    words = [line.split("\t")[0] for line in hcp(env, "__complete", "-o", "json", "workloads", "").stdout.splitlines()]
    assert words[:2] == ["submit", "submit-batch"]
    assert "--device-class\t" in hcp(env, "__complete", "workloads", "submit", "--dev").stdout
    assert hcp(env, "__complete", "workloads", "list", "--state", "r").stdout.startswith("running\t")
    for shell in ("bash", "zsh", "fish"):
        assert "__complete" in hcp(env, "completion", shell).stdout
    script = hcp(env, "completion", "bash").stdout + "\nCOMP_WORDS=(hcp workloads sub); COMP_CWORD=2; _hcp; echo \"${COMPREPLY[*]}\""
    path = env | {"PATH": f"{HCP.parent}:{env['PATH']}"}
    done = subprocess.run(["bash", "-c", script], env=path, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.stdout.split() == ["submit", "submit-batch"]


def test_full_output_is_an_error(server, env):
    server.routes["GET", "/api/v1/policy"] = (200, {"policy": "threshold"})
    with open("/dev/full", "w") as full:
        run = subprocess.run([HCP, "policy", "get"], env=env, stdout=full, stderr=subprocess.PIPE, text=True, timeout=LIMIT_S)
    assert run.returncode == 1 and "cannot write" in run.stderr


def test_replay_starts_hcpd_beside(env, tmp_path):
    fake = tmp_path / "hcpd"
    fake.write_text("#!/bin/sh\necho \"$@\"\nexit 7\n")
    fake.chmod(0o755)
    run = hcp(env | {"HCP_BIN_DIR": str(tmp_path)}, "replay", "router", "--state", "s d")
    assert (run.returncode, run.stdout) == (7, "--replay s d --service router\n")
    run = hcp(env | {"HCP_BIN_DIR": str(tmp_path)}, "replay", "--to", "2026-01-02", "--from", "2026-01-01T10:00:00Z")
    assert run.stdout == "--replay var --from 2026-01-01T10:00:00Z --to 2026-01-02\n"
    run = hcp(env | {"HCP_BIN_DIR": str(tmp_path)}, "replay", "--service", "billing")
    assert run.stdout == "--replay var --service billing\n"
    run = hcp(env | {"HCP_BIN_DIR": str(tmp_path)}, "replay", "router", "--service", "billing")
    assert run.returncode == 2 and "name the service once" in run.stderr
