"""hcp-sim as a program: market, fleet and pool, against a mesh made with grpcio and a miner made with hashlib."""
import hashlib
import http.server
import importlib
import json
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent import futures
from datetime import datetime, timezone

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIMIT_S = 60
TICKS, TICKS_RESULT, PRICES_GET, PRICES = 10, 11, 13, 14
TOKEN = "machines-know-this"


def wait_for(check, what, limit_s=LIMIT_S):
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        found = check()
        if found:
            return found
        time.sleep(0.02)
    pytest.fail(f"waited {limit_s} s for {what}")


@pytest.fixture(scope="module")
def pb(tmp_path_factory):
    """The platform's messages, compiled for Python without the options that only C needs."""
    pytest.importorskip("google.protobuf")
    folder = tmp_path_factory.mktemp("pb")
    text = (ROOT / "spec/proto/hcp.proto").read_text()
    text = re.sub(r'^(import "protobuf-c/.*|option \(pb_c_file\).*)$', "", text, flags=re.M)
    (folder / "hcp_sim_test.proto").write_text(text)
    try:
        subprocess.run(["protoc", f"--proto_path={folder}", f"--python_out={folder}", "hcp_sim_test.proto"], check=True)
    except FileNotFoundError:
        pytest.skip("protoc is not installed")
    sys.path.insert(0, str(folder))
    return importlib.import_module("hcp_sim_test_pb2")


class Mesh:
    """hcpd's mesh port as far as feeds and agents see it."""

    def __init__(self, pb, port=0):
        grpc = pytest.importorskip("grpc")
        self.pb, self.lock = pb, threading.Lock()
        self.envelopes, self.ticks, self.tokens = [], [], set()
        self.nodes, self.reports, self.switches, self.downs = {}, {}, [], {}
        self.lease_ms, self.number, self.open = 15000, 0, True
        self.market = pb.Prices()  # what it knows of the market
        mesh = self

        class Handler(grpc.GenericRpcHandler):
            def service(self, details):
                mesh.tokens.add(dict(details.invocation_metadata).get("x-hcp-token"))
                if details.method == "/hcp.v1.Mesh/Call":
                    return grpc.unary_unary_rpc_method_handler(mesh.call)
                if details.method == "/hcp.v1.Agent/Connect":
                    return grpc.stream_stream_rpc_method_handler(mesh.connect)
                return None

        self.server = grpc.server(futures.ThreadPoolExecutor(max_workers=450), handlers=(Handler(),),
                                  options=(("grpc.so_reuseport", 0),))
        self.port = self.server.add_insecure_port(f"127.0.0.1:{port}")
        assert self.port
        self.server.start()

    def stop(self):
        self.open = False
        self.server.stop(0).wait(10)

    def call(self, body, context):
        envelope = self.pb.Envelope.FromString(body)
        if (envelope.type, envelope.target) == (PRICES_GET, "optimizer"):
            return self.pb.Envelope(type=PRICES, body=self.market.SerializeToString()).SerializeToString()
        assert (envelope.type, envelope.target) == (TICKS, "optimizer")
        ticks = self.pb.Ticks.FromString(envelope.body).ticks
        with self.lock:
            self.envelopes.append((time.time_ns(), ticks))
            self.ticks.extend(ticks)
        result = self.pb.TicksResult(accepted=len(ticks))
        return self.pb.Envelope(type=TICKS_RESULT, body=result.SerializeToString()).SerializeToString()

    def connect(self, requests, context):
        down = self.downs_of(None)
        threading.Thread(target=self.read, args=(requests, down), daemon=True).start()
        while self.open and context.is_active():
            while down:
                yield down.pop(0).SerializeToString()
            time.sleep(0.02)

    def downs_of(self, node_id):
        return [] if node_id is None else self.downs[node_id]

    def read(self, requests, down):
        pb, node_id = self.pb, None
        try:
            for body in requests:
                up = pb.AgentUp.FromString(body)
                kind = up.WhichOneof("kind")
                with self.lock:
                    if kind == "hello":
                        node_id = up.hello.node_id
                        self.nodes[node_id] = up.hello
                        self.downs[node_id] = down
                        welcome = pb.Welcome(node_id=node_id, now_ns=time.time_ns(), report_ms=500)
                        down.append(pb.AgentDown(welcome=welcome))
                    elif kind == "report":
                        self.reports.setdefault(node_id, []).append(up.report)
                        del self.reports[node_id][:-3]
                    elif kind == "switch_report":
                        self.switches.append(up.switch_report)
                    if kind in ("hello", "report") and self.lease_ms:
                        self.number += 1
                        lease = pb.Lease(node_id=node_id, ttl_ms=self.lease_ms, number=self.number)
                        down.append(pb.AgentDown(lease=lease))
        except Exception:  # the stream ended
            pass

    def command(self, node_id, switch_id, mode):
        items = [self.pb.SwitchItem(device_id=d.id, to=mode) for d in self.nodes[node_id].devices]
        command = self.pb.SwitchCommand(switch_id=switch_id, node_id=node_id, items=items,
                                        deadline_ns=time.time_ns() + 30 * 10**9)
        with self.lock:
            self.downs[node_id].append(self.pb.AgentDown(switch_command=command))


@pytest.fixture
def mesh(pb):
    m = Mesh(pb)
    yield m
    m.stop()


class Program:
    def __init__(self, path, *args):
        self.process = subprocess.Popen([str(path), *map(str, args)], stderr=subprocess.PIPE, text=True)
        self.lines = []
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stderr:
            self.lines.append(json.loads(line)["message"])

    def said(self, pattern):
        for line in list(self.lines):
            found = re.search(pattern, line)
            if found:
                return found
        return None

    def stop(self):
        """SIGTERM ends it cleanly and soon."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=10) == 0
        self.reader.join(timeout=10)  # its last lines may still be in the pipe
        return self.lines


@pytest.fixture
def start(program):
    """start(*args) runs hcp-sim and returns it; what still runs at the end is ended."""
    started = []

    def run(*args):
        started.append(Program(program("hcp-sim"), *args))
        return started[-1]
    yield run
    for p in started:
        if p.process.poll() is None:
            p.process.kill()
        p.process.wait(timeout=10)


@pytest.fixture
def token(tmp_path):
    path = tmp_path / "machine.token"
    path.write_text(TOKEN + "\n")
    return path


def ns(text):
    return int(datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()) * 10**9


def test_usage(program):
    for args, code in (([], 2), (["--help"], 0), (["nothing"], 2), (["pool", "--port", "x"], 2),
                       (["market", "--help"], 0), (["market", "--speed", "0"], 2), (["fleet", "--spec", "X:1"], 1)):
        done = subprocess.run([program("hcp-sim"), *args], capture_output=True, timeout=20, check=False)
        assert done.returncode == code, (args, done.stderr)


def test_market_once_sends_the_state(start, mesh, token, data):
    p = start("market", "--mesh", f"127.0.0.1:{mesh.port}", "--token-file", token, "--data", data,
              "--from", "2024-06-15T12:07:00Z", "--once")
    assert p.process.wait(timeout=LIMIT_S) == 0
    assert mesh.tokens == {TOKEN}
    symbols = {(t.symbol, t.location) for t in mesh.ticks}
    assert {("electricity_rt", "HB_WEST"), ("btc_usd", ""), ("difficulty", ""), ("gpu_rate", "H100")} <= symbols
    price = [t for t in mesh.ticks if t.symbol == "electricity_rt"]
    assert [t.interval_start_ns for t in price] == [ns("2024-06-15T11:45:00")]
    assert all(t.observed_at_ns <= ns("2024-06-15T12:07:00") for t in mesh.ticks)


def test_market_replays_in_order_and_in_time(start, mesh, token, data):
    begin = time.time_ns()
    p = start("market", "--mesh", f"127.0.0.1:{mesh.port}", "--token-file", token, "--data", data, "--speed", 3600,
              "--from", "2021-02-15T00:00:00Z", "--to", "2021-02-15T06:00:00Z", "--location", "HB_WEST,HB_NORTH")
    assert p.process.wait(timeout=LIMIT_S) == 0
    west = [t for t in mesh.ticks if (t.symbol, t.location) == ("electricity_rt", "HB_WEST")]
    # 24 quarter-hours end within the six hours, and one was known at the start.
    starts = [t.interval_start_ns for t in west]
    assert starts == [ns("2021-02-14T23:45:00") + i * 900 * 10**9 for i in range(25)]
    assert any(t.value > 8000 for t in west)
    for at, ticks in mesh.envelopes:
        market = ns("2021-02-15T00:00:00") + (at - begin) * 3600
        assert all(t.observed_at_ns <= market for t in ticks)
        assert all(begin <= t.sent_at_ns <= at for t in ticks)
    observed = [t.observed_at_ns for t in mesh.ticks]
    assert observed == sorted(observed)
    # Values of one instant travel together: both points of a quarter-hour in one request.
    assert all(len({(t.symbol, t.location) for t in ticks}) > 1 for _, ticks in mesh.envelopes)


def test_market_resends_the_newest_values_after_a_break(start, pb, token):
    first = Mesh(pb)
    p = start("market", "--mesh", f"127.0.0.1:{first.port}", "--token-file", token, "--seed", 3, "--speed", 600)
    wait_for(lambda: len(first.ticks) > 20, "ticks")
    newest = max(t.observed_at_ns for t in first.ticks)
    first.stop()
    wait_for(lambda: p.said("hcpd is away|no answer"), "the loss to be noticed")
    second = Mesh(pb, first.port)
    try:
        wait_for(lambda: second.envelopes, "the feed to come back")
        ticks = second.envelopes[0][1]
        by_key = {(t.symbol, t.location): t for t in ticks}
        assert len(by_key) == len(ticks)
        assert {("electricity_rt", "HB_WEST"), ("btc_usd", ""), ("difficulty", ""), ("gpu_rate", "H100")} <= set(by_key)
        assert by_key["btc_usd", ""].observed_at_ns >= newest
        p.stop()
    finally:
        second.stop()


def test_a_new_market_goes_on_where_the_platform_is(start, mesh, pb, token, data):
    known, now = ns("2021-02-15T03:00:00"), ns("2021-02-15T04:00:00")
    mesh.market = pb.Prices(market_time_ns=now, prices=[pb.Price(symbol="btc_usd", value=1, observed_at_ns=known)])
    p = start("market", "--mesh", f"127.0.0.1:{mesh.port}", "--token-file", token, "--data", data, "--speed", 3600,
              "--from", "2021-02-15T00:00:00Z", "--to", "2021-02-15T06:00:00Z", "--location", "HB_WEST")
    assert p.process.wait(timeout=LIMIT_S) == 0
    west = [t for t in mesh.ticks if (t.symbol, t.location) == ("electricity_rt", "HB_WEST")]
    # What was known by then comes once more, the eight quarter-hours after it in time.
    assert [t.interval_start_ns for t in west] == [now - 900 * 10**9 + i * 900 * 10**9 for i in range(9)]
    assert {"btc_usd", "difficulty"} <= {t.symbol for t in mesh.envelopes[0][1]}
    assert p.said("the platform's market is at 2021-02-15T04:00:00Z")


def test_a_simulated_market_started_anew_is_taken(start, mesh, pb, token):
    ahead = time.time_ns() - 200 * 86400 * 10**9  # of where it would begin
    mesh.market = pb.Prices(market_time_ns=ahead, prices=[pb.Price(symbol="btc_usd", value=1, observed_at_ns=ahead)])
    p = start("market", "--mesh", f"127.0.0.1:{mesh.port}", "--token-file", token, "--seed", 3, "--speed", 3600)
    wait_for(lambda: len(mesh.envelopes) > 2, "ticks")
    assert all(t.observed_at_ns > ahead for _, ticks in mesh.envelopes[1:] for t in ticks)
    assert p.stop()


def rss_mib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0


def cpu_s(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_small_fleet_switches_and_falls_to_safe(start, mesh, pb, token):
    mesh.lease_ms = 4000
    p = start("fleet", "--mesh", f"127.0.0.1:{mesh.port}", "--token-file", token, "--small")
    wait_for(lambda: len(mesh.nodes) == 2 and len(mesh.reports) == 2, "two nodes")
    gpu, asic = "texas-north-h100-001", "texas-north-s21-001"
    assert set(mesh.nodes) == {gpu, asic}
    assert mesh.tokens == {TOKEN}
    hello = mesh.nodes[gpu]
    assert (hello.facility, hello.region, len(hello.devices)) == ("texas-north", "us-tx", 8)
    assert len(mesh.nodes[asic].devices) == 20
    mesh.command(gpu, "sw-1", pb.SERVE)
    report = wait_for(lambda: mesh.switches, "the switch")[0]
    assert (report.switch_id, report.ok, report.evidence) == ("sw-1", True, "served_request")
    phases = {x.phase: x.duration_ns for x in report.phases}
    assert phases["switch"] >= 50 * 10**6
    assert time.time_ns() - 60 * 10**9 < report.served_at_ns <= time.time_ns()
    mesh.command(asic, "sw-2", pb.OFF)
    wait_for(lambda: len(mesh.switches) == 2, "the second switch")
    assert mesh.switches[1].ok
    last = wait_for(lambda: [r for r in mesh.reports[gpu][-1:] if r.readings[0].mode == pb.SERVE], "a reading")[0]
    energy = sum(m.energy_j for m in last.meters)
    later = wait_for(lambda: [r for r in mesh.reports[gpu][-1:] if r.seq > last.seq + 3], "later reports")[0]
    spent_j, passed_s = sum(m.energy_j for m in later.meters) - energy, (later.at_ns - last.at_ns) / 1e9
    watts = sum(r.power_w for r in later.readings)
    assert watts > 8 * 70 and abs(spent_j / passed_s - watts) < watts * 0.1
    mesh.lease_ms = 0
    wait_for(lambda: mesh.reports[gpu][-1].readings[0].mode == pb.SAFE, "SAFE without a lease", 30)
    assert p.stop()


def test_default_fleet_is_small(start, mesh, token, record_property):
    p = start("fleet", "--mesh", f"127.0.0.1:{mesh.port}", "--token-file", token)
    wait_for(lambda: len(mesh.reports) == 172, "172 nodes to report")
    assert sum(len(n.devices) for n in mesh.nodes.values()) == 15896
    seqs = {n: r[-1].seq for n, r in mesh.reports.items()}
    before, began = cpu_s(p.process.pid), time.monotonic()
    wait_for(lambda: all(mesh.reports[n][-1].seq > s + 4 for n, s in seqs.items()), "all nodes to go on")
    cpu = (cpu_s(p.process.pid) - before) / (time.monotonic() - began)
    rss = rss_mib(p.process.pid)
    record_property("rss_mib", rss)
    record_property("cpu", cpu)
    print(f"default fleet: {rss:.1f} MiB, {100 * cpu:.1f} % of a core at a report every 500 ms")
    if "san" not in os.path.basename(os.environ.get("HCP_BUILD", "")):  # a sanitizer needs memory of its own
        assert rss <= 25
    p.stop()


# ---- customers ----

class Rest:
    """The REST API as far as customers see it: login, submission, lists. Jobs end by their duration."""

    def __init__(self):
        self.jobs, self.keys, self.logins, self.unauthorised = [], set(), 0, 0
        rest = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self, status, body):
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.path == "/api/v1/auth/login":
                    rest.logins += 1
                    ok = body == {"email": "john@acme.com", "password": "secret"}
                    return self.answer(200 if ok else 401, {"access_token": f"t{rest.logins}"} if ok else {})
                # The first token expires at once.
                if self.headers["Authorization"] in (None, "Bearer t1"):
                    rest.unauthorised += 1
                    return self.answer(401, {})
                assert self.path == "/api/v1/workloads"
                assert self.headers["Idempotency-Key"] not in rest.keys
                rest.keys.add(self.headers["Idempotency-Key"])
                rest.jobs.append((time.monotonic() + body["duration_s"], body))
                return self.answer(201, {"id": f"wl-{len(rest.jobs)}"})

            def do_GET(self):
                now = time.monotonic()
                active = [{"id": str(i)} for i, (end, _) in enumerate(rest.jobs) if end > now]
                running = "state=running" in self.path
                return self.answer(200, {"workloads": active if running else []})

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def test_demand_logs_in_again_and_keeps_the_target_running(start, tmp_path):
    secret = tmp_path / "password"
    secret.write_text("secret\n")
    rest = Rest()
    try:
        p = start("demand", "--url", f"http://127.0.0.1:{rest.port}", "--email", "john@acme.com", "--password-file",
                  secret, "--target", 8, "--median-s", 600)
        wait_for(lambda: sum(end > time.monotonic() for end, _ in rest.jobs) >= 7, "jobs")
        assert rest.logins >= 2 and rest.unauthorised >= 1
        for _, body in rest.jobs:
            assert body["type"] in ("ai_inference_realtime", "ai_inference_batch", "model_training")
            assert body["model"] == "all-MiniLM-L6-v2" and 1 <= body["priority"] <= 10
            assert 1 <= body["device_count"] <= 8 and body["duration_s"] >= 5
        assert len(rest.jobs) <= 16
        p.stop()
    finally:
        rest.server.shutdown()
        rest.server.server_close()


# ---- pool ----

def sha256d(data):
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


class Miner:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.file = self.socket.makefile("r")
        self.id, self.job, self.difficulty, self.jobs = 0, None, None, 0

    def close(self):
        self.file.close()
        self.socket.close()

    def take(self):
        message = json.loads(self.file.readline())
        if message.get("method") == "mining.notify":
            self.job = message["params"]
            self.jobs += 1
        elif message.get("method") == "mining.set_difficulty":
            self.difficulty = message["params"][0]
        return message

    def ask(self, method, *params):
        self.id += 1
        self.socket.sendall((json.dumps({"id": self.id, "method": method, "params": params}) + "\n").encode())
        while True:
            message = self.take()
            if message.get("id") == self.id and "method" not in message:
                return message["result"], message["error"]

    def join(self, worker):
        configured, _ = self.ask("mining.configure", ["version-rolling"], {"version-rolling.mask": "ffffffff",
                                                                           "version-rolling.min-bit-count": 2})
        assert configured["version-rolling.mask"] == "1fffe000"
        (_, self.extranonce1, self.size), _ = self.ask("mining.subscribe", "test")
        assert self.ask("mining.authorize", worker, "x")[0] is True
        while not self.job:
            self.take()

    def mine(self, worker):
        """Independent of our C: header from the job's own fields."""
        job, prev, coinb1, coinb2, branches, version, nbits, ntime, _ = self.job
        extranonce2 = "00" * self.size
        root = sha256d(bytes.fromhex(coinb1 + self.extranonce1 + extranonce2 + coinb2))
        for branch in branches:
            root = sha256d(root + bytes.fromhex(branch))
        prev = b"".join(bytes.fromhex(prev[i:i + 8])[::-1] for i in range(0, 64, 8))
        bits = 0x00402000
        head = struct.pack("<I", int(version, 16) | bits) + prev + root
        head += struct.pack("<II", int(ntime, 16), int(nbits, 16))
        target = int(0xFFFF * 2**208 / self.difficulty)
        state = hashlib.sha256(head[:64])
        for nonce in range(1 << 24):
            inner = state.copy()
            inner.update(head[64:] + struct.pack("<I", nonce))
            if int.from_bytes(hashlib.sha256(inner.digest()).digest(), "little") <= target:
                return [worker, job, extranonce2, ntime, f"{nonce:08x}", f"{bits:08x}"]
        return pytest.fail("no share was found")


def test_pool_with_an_independent_miner(start, tmp_path):
    log = tmp_path / "shares.jsonl"
    p = start("pool", "--port", 0, "--http", 0, "--difficulty", 1e-6, "--share-log", log, "--job-s", 1, "--block-s", 0)
    port = int(wait_for(lambda: p.said(r"stratum on port (\d+)"), "the pool")[1])
    stats_port = int(wait_for(lambda: p.said(r"http port (\d+)"), "the statistics")[1])
    miner = Miner(port)
    miner.join("acc.rig1")
    assert miner.difficulty == 1e-6
    share = miner.mine("acc.rig1")
    assert miner.ask("mining.submit", *share) == (True, None)
    assert miner.ask("mining.submit", *share)[1][0] == 22
    nonce = f"{int(share[4], 16) ^ 1:08x}"
    assert miner.ask("mining.submit", *share[:4], nonce, share[5])[1][0] == 23
    assert miner.ask("mining.submit", share[0], "none", *share[2:])[1][0] == 21
    assert miner.ask("mining.submit", "other", *share[1:])[1][0] == 24
    before = miner.jobs
    while miner.jobs == before:
        miner.take()
    assert miner.job[8] is False
    # The older job still counts, since no block was found meanwhile.
    assert miner.ask("mining.submit", *miner.mine("acc.rig1"))[0] is True
    miner.close()
    with urllib.request.urlopen(f"http://127.0.0.1:{stats_port}/stats", timeout=10) as answer:
        stats = json.load(answer)
    worker = stats["workers"][0]
    assert worker["worker"] == "acc.rig1" and worker["accepted"] == stats["accepted"] == 2
    assert (worker["rejected"]["duplicate"], worker["rejected"]["low_difficulty"]) == (1, 1)
    assert (worker["rejected"]["stale"], worker["rejected"]["refused"]) == (1, 1)
    assert worker["hash_rate_hs"] > 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(x["worker"], x["difficulty"], x["block"]) for x in lines] == [("acc.rig1", 1e-6, False)] * 2
    assert all(int(x["hash"], 16) <= 0xFFFF * 2**208 / 1e-6 for x in lines)
    assert any("2 shares accepted" in line for line in p.stop())


def test_pool_voids_jobs_when_the_network_finds_a_block(start):
    p = start("pool", "--port", 0, "--difficulty", 1e-6, "--block-s", 1)
    port = int(wait_for(lambda: p.said(r"stratum on port (\d+)"), "the pool")[1])
    miner = Miner(port)
    miner.join("rig")
    share, old = miner.mine("rig"), miner.job
    while miner.job is old or not miner.job[8]:
        miner.take()
    assert miner.job[1] != old[1]
    assert miner.ask("mining.submit", *share)[1][0] == 21
    miner.close()
    p.stop()
