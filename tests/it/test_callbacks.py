"""Callbacks of workloads against a real HTTP server: order, signature, retries, crashes, addresses; pause and resume."""
import hashlib
import hmac
import http.server
import json
import socket
import subprocess
import threading
import time

import pytest

from hcpd_process import wait_for

JOB = {"type": "ai_inference_batch", "model": "llama-3-70b", "device_class": "H100", "device_count": 1, "name": "job"}
JOHN, JANE = "john@acme.com", "jane@globex.com"
ENDED = ("delivered", "given_up")


class Receiver:
    """Keeps every post. answers[path]: what to do with the first ones, 200 afterwards."""

    def __init__(self, port=0):
        self.posts, self.answers, self.lock = [], {}, threading.Lock()
        self.let_go = threading.Event()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                with receiver.lock:
                    receiver.posts.append((self.path, dict(self.headers.items()), body))
                    script = receiver.answers.get(self.path)
                    what = script.pop(0) if script else 200
                if what == "reset":
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                if what == "hang":
                    receiver.let_go.wait(30)
                    self.close_connection = True
                    return
                self.send_response(what)
                if what == 302:
                    self.send_header("location", f"http://127.0.0.1:{receiver.port}/elsewhere")
                if what == 200 and self.path == "/endless":  # an answer without an end; its status counts
                    self.send_header("transfer-encoding", "chunked")
                    self.end_headers()
                    try:
                        while not receiver.let_go.is_set():
                            self.wfile.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
                    except OSError:
                        pass
                    self.close_connection = True
                    return
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"

    def close(self):
        self.let_go.set()
        self.server.shutdown()
        self.server.server_close()

    def of(self, path):
        with self.lock:
            return [(head, json.loads(body)) for p, head, body in self.posts if p == path]

    def events(self, path):
        return [body["event"] for _, body in self.of(path)]


@pytest.fixture
def receiver():
    r = Receiver()
    yield r
    r.close()


def check_signature(secret, head, body):
    """As docs and README tell a customer to."""
    parts = [p.split("=", 1) for p in head["hcp-signature"].split(",")]
    t = next(v for k, v in parts if k == "t")
    assert abs(int(t) - time.time()) < 300
    want = hmac.new(secret.encode(), f"{t}.".encode() + body, hashlib.sha256).hexdigest()
    return want in [v for k, v in parts if k == "v1"]


def submit(hcpd, url, who=JOHN, **more):
    reply = hcpd.call("POST", "/api/v1/workloads", who, json={**JOB, "callback_url": url, **more})
    assert reply.status_code == 201, reply.text
    return reply.json()["id"]


def order(hcpd, workload, what, who=JOHN):
    reply = hcpd.call("POST", f"/api/v1/workloads/{workload}/{what}", who)
    assert reply.status_code == 200, reply.text
    return reply.json()


def cancel(hcpd, workload):
    assert hcpd.call("DELETE", f"/api/v1/workloads/{workload}", JOHN).status_code == 200


def callbacks(hcpd, workload, who=JOHN):
    reply = hcpd.call("GET", f"/api/v1/workloads/{workload}/callbacks", who)
    assert reply.status_code == 200, reply.text
    return reply.json()["callbacks"]


def settled(hcpd, *workloads):
    """The callbacks of each, once all are delivered or given up."""
    def probe():
        rows = [callbacks(hcpd, w) for w in workloads]
        return rows if all(c["state"] in ENDED for row in rows for c in row) else None
    return wait_for("callbacks to settle", probe, 40)


def test_a_life_is_told_in_order_and_signed(start_hcpd, program, receiver):
    h = start_hcpd("hcpd", "--callback-private")
    secret = h.call("GET", "/api/v1/callbacks/secret", JOHN).json()["secret"]
    # No devices yet: it waits, is held back, and goes on.
    w = submit(h, receiver.url("/life"))
    order(h, w, "pause")
    order(h, w, "resume")
    cancel(h, w)
    done = settled(h, w)[0]
    assert [c["state"] for c in done] == ["delivered"] * 3
    assert receiver.events("/life") == ["workload.paused", "workload.queued", "workload.cancelled"]
    versions = [body["workload"]["version"] for _, body in receiver.of("/life")]
    assert versions == sorted(versions)
    for (path, head, body), c in zip(receiver.posts, done):
        assert check_signature(secret, head, body), head
        assert not check_signature(secret, head, body + b" ")
        assert head["content-type"] == "application/json" and head["hcp-attempt"] == "1"
        assert head["hcp-delivery"] == c["id"] == json.loads(body)["id"]
    # The same object as the API shows, but for its devices.
    shown = h.call("GET", f"/api/v1/workloads/{w}", JOHN).json()
    assert receiver.of("/life")[-1][1]["workload"] == {**shown, "device_ids": []}


def test_secrets_belong_to_organisations_and_overlap(start_hcpd, receiver):
    h = start_hcpd("hcpd", "--callback-private")
    first = h.call("GET", "/api/v1/callbacks/secret", JOHN).json()
    assert first["secret"].startswith("whsec_") and first["previous_until_ns"] == 0
    assert h.call("GET", "/api/v1/callbacks/secret", JANE).json()["secret"] != first["secret"]
    assert h.call("GET", "/api/v1/callbacks/secret", None).status_code == 401
    second = h.call("POST", "/api/v1/callbacks/secret", JOHN).json()
    assert second["secret"] != first["secret"] and second["generation"] == first["generation"] + 1
    assert h.call("GET", "/api/v1/callbacks/secret", JOHN).json() == second
    w = submit(h, receiver.url("/two"))
    cancel(h, w)
    settled(h, w)
    _, head, body = receiver.posts[0]
    assert check_signature(first["secret"], head, body) and check_signature(second["secret"], head, body)
    # Neither secret lies on the disk: not in tables, journal or log.
    h.stop()
    for path in h.state.rglob("*"):
        if path.is_file():
            text = path.read_bytes()
            assert first["secret"].encode() not in text and second["secret"].encode() not in text, path


def test_failures_are_tried_again(start_hcpd, receiver):
    h = start_hcpd("hcpd", "--callback-private", "--callback-timeout-ms", "500")
    first = {"/500": [500], "/302": [302], "/reset": ["reset"], "/hang": ["hang"], "/410": [410]}
    receiver.answers = {k: list(v) for k, v in first.items()}
    ids = {path: submit(h, receiver.url(path)) for path in [*first, "/endless"]}
    for w in ids.values():
        cancel(h, w)
    rows = dict(zip(ids, settled(h, *ids.values())))
    for path in first:
        assert [(c["state"], c["tries"]) for c in rows[path]] == [("delivered", 2)], path
        posts = receiver.of(path)
        assert [head["hcp-attempt"] for head, _ in posts] == ["1", "2"], path
        assert posts[0][0]["hcp-delivery"] == posts[1][0]["hcp-delivery"]
        assert posts[0][1] == posts[1][1]  # the same bytes, signed anew
    assert [(c["state"], c["tries"]) for c in rows["/endless"]] == [("delivered", 1)]
    assert not receiver.of("/elsewhere"), "a redirect was followed"


def test_order_is_kept_behind_a_failure(start_hcpd, receiver):
    h = start_hcpd("hcpd", "--callback-private", "--callback-timeout-ms", "500")
    receiver.answers["/order"] = [503]
    w, other = submit(h, receiver.url("/order")), submit(h, receiver.url("/other"))
    order(h, w, "pause")
    wait_for("the first try", lambda: receiver.of("/order"))
    order(h, w, "resume")
    cancel(h, w)
    cancel(h, other)
    wait_for("others pass", lambda: receiver.of("/other"))
    settled(h, w, other)
    assert receiver.events("/order") == ["workload.paused", "workload.paused", "workload.queued", "workload.cancelled"]


def test_nobody_listens_then_somebody_does(start_hcpd):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    h = start_hcpd("hcpd", "--callback-private")
    w = submit(h, f"http://127.0.0.1:{port}/late")
    cancel(h, w)
    refused = wait_for("a refused try", lambda: [c for c in callbacks(h, w) if c["tries"] and c["state"] == "waiting"])
    assert "refused" in refused[0]["error"] and refused[0]["status"] == 0 and refused[0]["due_at_ns"] > 0
    assert callbacks(h, w, "operator@mara.com")
    assert h.call("GET", f"/api/v1/workloads/{w}/callbacks", JANE).status_code == 404
    receiver = Receiver(port)
    try:
        assert [c["state"] for c in settled(h, w)[0]] == ["delivered"]
        assert receiver.events("/late") == ["workload.cancelled"]
    finally:
        receiver.close()


def test_kill_between_commit_and_send(start_hcpd, program, receiver):
    """The first post hangs, so the second is committed and certainly not sent when the process dies."""
    h = start_hcpd("hcpd", "--callback-private")
    receiver.answers["/kill"] = ["hang"]
    w = submit(h, receiver.url("/kill"))
    order(h, w, "pause")
    wait_for("the first post", lambda: receiver.of("/kill"))
    cancel(h, w)
    assert [c["state"] for c in callbacks(h, w)] == ["sending", "waiting"]
    h.kill()
    assert receiver.events("/kill") == ["workload.paused"]
    h.start()
    assert [c["state"] for c in settled(h, w)[0]] == ["delivered"] * 2
    assert receiver.events("/kill") == ["workload.paused", "workload.paused", "workload.cancelled"]
    posts = receiver.of("/kill")
    assert posts[0][0]["hcp-delivery"] == posts[1][0]["hcp-delivery"] != posts[2][0]["hcp-delivery"]
    # What was sent and how it ended is in the journal: the same inputs give the same events.
    assert h.stop() == 0
    replayed = json.loads(replay(program, h.state))
    assert replayed["identical"] is True and replayed["messages"] > 0


def replay(program, state):
    done = subprocess.run([program("hcpd"), "--replay", state, "--service", "orchestrator"], capture_output=True, text=True,
                          timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_only_public_addresses(start_hcpd, receiver):
    h = start_hcpd("hcpd")
    for url in (receiver.url("/x"), "http://localhost/x", "http://a.localhost/x", "http://[::1]/x", "https://10.1.2.3/",
                "http://169.254.169.254/latest/meta-data", "http://192.168.1.1:8080/", "http://[fe80::1]/",
                "http://[::ffff:127.0.0.1]/", "http://0.0.0.0/", "ftp://example.com/", "http://u:p@example.com/",
                "http://[unix:/tmp/x]/", "http://example.com:0/"):
        reply = h.call("POST", "/api/v1/workloads", JOHN, json={**JOB, "callback_url": url})
        assert (reply.status_code, reply.json()["field"]) == (400, "callback_url"), (url, reply.text)
    # Names are judged when they are connected to; these are 127.0.0.1 to the resolver, and no address by the grammar.
    made = [submit(h, f"http://{host}:{receiver.port}/x") for host in ("127.1", "2130706433", "0x7f.1")]
    for w in made:
        cancel(h, w)
    for row in settled(h, *made):
        assert [(c["state"], c["tries"], c["error"]) for c in row] == [("given_up", 1, "its address is not a public one")]
    assert receiver.posts == []


def test_pause_gives_devices_back_and_costs_nothing(start_hcpd, program, receiver):
    h = start_hcpd("hcpd", "--callback-private")
    fleet = subprocess.Popen([program("hcp-sim"), "fleet", "--mesh", h.mesh, "--token-file", h.state / "machine.token",
                              "--seed", "1", "--small"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        w = submit(h, receiver.url("/run"), duration_s=3600)
        path = f"/api/v1/workloads/{w}"

        def state():
            return h.call("GET", path, JOHN).json()["state"]

        def held():
            rows = h.call("GET", "/api/v1/resources?limit=1000").json()["devices"]
            return [d["id"] for d in rows if d["allocation_id"]]

        def used():
            lines = h.call("GET", "/api/v1/billing/usage", JOHN).json()["lines"]
            return sum(line["quantity"] for line in lines if line["workload_id"] == w)
        wait_for("it runs", lambda: state() == "running", 30)
        wait_for("usage", lambda: used() > 0, 20)
        assert held()
        paused = order(h, w, "pause")
        assert paused["state"] == "paused" and paused["device_ids"] == [] and 0 < paused["remaining_ns"] < 3600 * 10**9
        wait_for("its devices to be given back", lambda: not held(), 20)
        again = order(h, w, "pause")
        assert again["version"] == paused["version"]

        def still():
            before = used()
            time.sleep(1.2)
            return used() == before
        wait_for("the meter to stand still", still, 20)
        refused = h.call("POST", f"{path}/resume", JANE)
        assert refused.status_code == 404
        at_pause = used()
        order(h, w, "resume")
        wait_for("it runs again", lambda: state() == "running", 30)
        wait_for("usage again", lambda: used() > at_pause, 20)
        refused = h.call("POST", f"{path}/resume", JOHN)
        assert refused.status_code == 409 and refused.json()["code"] == "wrong_state"
        assert refused.json()["detail"] == "a workload that is running cannot resume: it can pause or cancel"
        cancel(h, w)
        refused = h.call("POST", f"{path}/pause", JOHN)
        assert refused.status_code == 409 and "final" in refused.json()["detail"]
        settled(h, w)
        assert receiver.events("/run") == [f"workload.{e}" for e in (
            "scheduled", "started", "paused", "queued", "scheduled", "started", "cancelled")]
        history = [t["to"] for t in h.call("GET", f"{path}/history", JOHN).json()["transitions"]]
        assert history == ["queued", "scheduled", "running", "paused", "queued", "scheduled", "running", "cancelled"]
    finally:
        fleet.terminate()
        fleet.wait(20)
