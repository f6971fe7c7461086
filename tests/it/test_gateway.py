"""The gateway from outside: REST, limits, live topics, portal files, restarts; joined and apart."""
import concurrent.futures
import gzip
import http.server
import json
import queue
import re
import socket
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path

import pytest
import requests
from websockets.sync.client import connect

from hcpd_process import Hcpd, wait_for

JOB = {"type": "ai_inference_batch", "model": "llama-3-70b", "device_class": "H100", "device_count": 1, "name": "job"}
JOHN, JANE, OPERATOR = "john@acme.com", "jane@globex.com", "operator@mara.com"


def raw(hcpd, data):
    """Bytes on a connection of their own; what comes back until it closes or says enough."""
    host, port = hcpd.url.removeprefix("http://").rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=10) as s:
        s.sendall(data)
        s.settimeout(5)
        got = b""
        try:
            while chunk := s.recv(65536):
                got += chunk
                if b"\r\n\r\n" in got:
                    break
        except TimeoutError:
            pass
    return got


def ws(hcpd, who, topics, since=None):
    query = f"topics={topics}&token={hcpd.login(who, 'customer123' if who in (JOHN, JANE) else 'operator123')}"
    if since is not None:
        query += f"&since={since}"
    return connect(hcpd.url.replace("http", "ws") + "/api/v1/ws?" + query, open_timeout=10, close_timeout=2)


def next_event(conn, topic=None, seconds=10):
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        e = json.loads(conn.recv(timeout=left))
        if e["topic"] != "heartbeat" and (topic is None or e["topic"] == topic):
            return e
    raise AssertionError(f"no {topic} event in {seconds} s")


def problem(reply, status, code, field=None):
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    body = reply.json()
    assert body["code"] == code and body["status"] == status and body["type"].endswith("/" + code), body
    assert body["detail"] and body["title"]
    if field is not None:
        assert body["field"] == field, body
    assert len(body["trace_id"]) == 32


# ---- tags, conditions, packing ----

ROOT = Path(__file__).resolve().parents[2]
ROUTES = tomllib.loads((ROOT / "spec/routes.toml").read_text())["route"]
ROWS = [(r, path) for r in ROUTES for path in [r["path"], *r.get("aliases", [])]]


def path_of(hcpd, path):
    """The path with its {id} or {name} filled in by something that exists."""
    if "{name}" in path:
        names = wait_for("a model", lambda: [m["name"] for m in hcpd.call("GET", "/api/v1/models").json()["models"]], 30)
        return path.replace("{name}", names[0])
    if path == "/api/v1/bids":  # the fleet and the node are two facilities, once both are there
        known = wait_for("a fleet", lambda: hcpd.call("GET", "/api/v1/fleet").json().get("classes"), 30)
        return path + "?facility=" + known[0]["facility"]
    if "{id}" not in path:
        return path + {"/api/v1/prices/history": "?symbol=btc_usd", "/api/v1/telemetry/series": "?metric=power_w"}.get(path, "")
    if "workloads" in path:
        made = hcpd.call("POST", "/api/v1/workloads", json=JOB).json()["id"]
    elif "decisions" in path:
        made = hcpd.call("GET", "/api/v1/decisions?limit=1").json()["decisions"][0]["id"]
    elif "plans" in path:
        made = wait_for("a plan", lambda: hcpd.call("GET", "/api/v1/plans?limit=1").json()["plans"], 30)[0]["id"]
    elif "resources" in path:
        made = hcpd.call("GET", "/api/v1/resources?limit=1").json()["devices"][0]["id"].replace("/", "%2F")
    else:
        made = hcpd.call("POST", "/api/v1/api-keys", json={"name": "k"}).json()["id"]
    return path.replace("{id}", made)


@pytest.fixture(scope="module")
def fed(program, tmp_path_factory):
    """hcpd with a market, a small fleet and a node with a model, so that there are decisions, devices and a model."""
    h = Hcpd(program("hcpd"), tmp_path_factory.mktemp("fed")).start()
    fleet = subprocess.Popen([str(program("hcp-sim")), "fleet", "--mesh", h.mesh, "--token-file", str(h.state / "machine.token"),
                              "--seed", "1", "--small"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    model = h.state / "hcp-generated-tiny"
    subprocess.run([sys.executable, ROOT / "scripts/get-model", "--generate", model], check=True, stdout=subprocess.DEVNULL)
    node = subprocess.Popen([str(program("hcp-agent")), "--mesh", h.mesh, "--token-file", str(h.state / "machine.token"),
                             "--model", str(model), "--state", str(h.state / "node"), "--threads", "1"],
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    now = time.time_ns()
    rows = [("electricity_rt", "HB_WEST", 30.0), ("btc_usd", "", 60000.0), ("difficulty", "", 80e12)]
    ticks = [{"symbol": s, "location": w, "value": v, "observed_at_ns": now, "source": "test", "sent_at_ns": now} for s, w, v in rows]
    assert h.call("POST", "/api/v1/market/ticks", "machine", json={"ticks": ticks}).status_code == 200
    try:
        wait_for("a decision", lambda: h.call("GET", "/api/v1/decisions?limit=1").json()["decisions"], 30)
        yield h
    finally:
        for child in (node, fleet):
            child.terminate()
            child.wait(10)
        assert h.stop() == 0


@pytest.mark.parametrize("route,path", [(r, p) for r, p in ROWS if r["method"] == "GET"], ids=lambda v: v if isinstance(v, str) else "")
def test_every_get_has_a_tag(fed, route, path):
    path = path_of(fed, path)
    reply = fed.call("GET", path)
    assert reply.status_code == 200, reply.text
    tag = reply.headers["etag"]
    assert re.fullmatch(r'(W/)?"[0-9a-f]+"', tag), tag
    assert reply.headers["cache-control"] == "private, no-cache"
    if "version" in reply.json() and isinstance(reply.json()["version"], int):
        assert tag == f'"{reply.json()["version"]}"'
    else:
        assert tag.startswith("W/") and ("Accept-Encoding" in reply.headers.get("vary", "")) == (len(reply.content) >= 1400)
    # What moves by itself may have moved; then the new tag is told with the new answer.
    for sent in (tag, "*", f'"x", {tag}', tag.removeprefix("W/")):
        again = fed.call("GET", path, headers={"if-none-match": sent})
        if again.status_code == 304:
            assert again.content == b"" and again.headers["etag"] and again.headers["cache-control"] == "private, no-cache"
            assert sent == "*" or again.headers["etag"] == tag
            break
        assert again.status_code == 200 and again.headers["etag"] != tag
    assert fed.call("GET", path, headers={"if-none-match": "*"}).status_code == 304
    other = fed.call("GET", path, headers={"if-none-match": '"nothing", W/"of the kind"'})
    assert other.status_code == 200 and other.content
    refused = fed.call("GET", path, None)
    assert refused.status_code == 401 and "etag" not in refused.headers and refused.headers["cache-control"] == "no-store"
    head = fed.call("HEAD", path)
    assert head.status_code == 200 and head.headers["etag"] and head.content == b""


@pytest.mark.parametrize("route,path", [(r, p) for r, p in ROWS if r["method"] != "GET"], ids=lambda v: v if isinstance(v, str) else "")
def test_every_change_heeds_if_match(fed, route, path):
    """A tag that nothing has keeps any change from being made; a version that the object has lets it through."""
    versioned = route["message"] in ("WorkloadCancel", "PolicySet")
    path, who = path_of(fed, path), "machine" if route["role"] == "machine" else "admin@mara.com"

    def change(if_match):
        return fed.call(route["method"], path, who, json={}, headers={"if-match": if_match})
    for none in ('"12345"', 'W/"1"', "garbage", '"a", "b"', ""):
        if route["role"] == "public":
            break  # they want a token first
        problem(change(none), 412, "conflict", "if-match")
    if versioned:
        read = fed.call("GET", path)
        done = change(f'"7", {read.headers["etag"]}')
        assert done.status_code == 200, done.text
        assert done.headers["etag"] == f'"{done.json()["version"]}"' and done.headers["cache-control"] == "no-store"
        problem(change(", ".join(f'"{i}"' for i in range(20))), 429, "limit_reached", "if-match")
    assert change("*").status_code != 412


def test_answers_to_get_are_packed_when_asked_for(hcpd):
    for _ in range(30):
        hcpd.call("POST", "/api/v1/workloads", json=JOB)
    path = "/api/v1/workloads?limit=30"
    for _ in range(50):  # what the jobs wait for may be told anew between the two
        plain = hcpd.call("GET", path, headers={"accept-encoding": "identity"})
        packed = hcpd.call("GET", path, headers={"accept-encoding": "br, gzip;q=0.5"}, stream=True)
        raw_bytes = packed.raw.read(decode_content=False)
        if packed.headers["etag"] == plain.headers["etag"]:
            break
    assert "content-encoding" not in plain.headers and packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(raw_bytes) == plain.content and len(raw_bytes) < len(plain.content) / 4
    assert packed.headers["etag"] == plain.headers["etag"] and "Accept-Encoding" in packed.headers["vary"]
    for no in ("gzip;q=0", "br", "*;q=0", ""):
        assert "content-encoding" not in hcpd.call("GET", path, headers={"accept-encoding": no}).headers
    # Not what is small, what a change answers, a secret, or an object whose strong tag names bytes.
    zipped = {"accept-encoding": "gzip"}
    jobs = {"workloads": [{**JOB, "name": "x" * 100}] * 10}
    answers = [hcpd.call("GET", "/api/v1/policy", headers=zipped), hcpd.call("POST", "/api/v1/workloads/batch", json=jobs, headers=zipped),
               login_as(hcpd), hcpd.call("POST", "/api/v1/api-keys", json={"name": "x" * 100}, headers=zipped)]
    assert len(answers[1].content) > 1400
    for a in answers:
        assert a.ok and "content-encoding" not in a.headers
    # Kept answers go out both ways from the same second on.
    for _ in range(2):
        for want in ("gzip", "identity"):
            r = hcpd.call("GET", "/metrics", None, headers={"accept-encoding": want})
            assert r.headers.get("content-encoding") == ("gzip" if want == "gzip" else None) and b"hcp_http_requests_total" in r.content


def test_kept_answers_are_packed_once(start_hcpd, tmp_path):
    h = start_hcpd("kept")
    now = time.time_ns()
    ticks = [{"symbol": "electricity_rt", "location": f"HB_{i}", "value": 30.0 + i, "observed_at_ns": now, "source": "t"} for i in range(30)]
    assert h.call("POST", "/api/v1/market/ticks", "machine", json={"ticks": ticks}).status_code == 200
    kinds = set()

    def ask(encoding):
        r = h.call("GET", "/api/v1/prices", headers={"accept-encoding": encoding})
        assert r.headers.get("content-encoding") == ("gzip" if encoding == "gzip" else None)
        kinds.add((encoding, r.headers["x-cache"]))
        return r.json()["prices"]
    for _ in range(4):
        assert len(ask("gzip")) >= 30 and len(ask("gzip")) == len(ask("identity"))
        time.sleep(0.3)
    assert {("gzip", "hit"), ("identity", "hit")} <= kinds


def test_portal_files_packed_by_the_build(start_hcpd, tmp_path):
    web = tmp_path / "web"
    (web / "assets").mkdir(parents=True)
    script = b"const words = 1;\n" * 500
    (web / "index.html").write_bytes(b"<html></html>")
    (web / "assets/app-1.js").write_bytes(script)
    (web / "assets/app-1.js.gz").write_bytes(gzip.compress(script))
    (web / "assets/data.tar.gz").write_bytes(b"its own file")
    h = start_hcpd("packed", "--web", web)
    plain = requests.get(h.url + "/assets/app-1.js", headers={"accept-encoding": "identity"}, timeout=10)
    packed = requests.get(h.url + "/assets/app-1.js", headers={"accept-encoding": "gzip"}, timeout=10)
    assert plain.content == packed.content == script
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"]) == len(script)
    assert packed.headers["content-encoding"] == "gzip" and packed.headers["content-type"] == plain.headers["content-type"]
    assert packed.headers["etag"] != plain.headers["etag"] and plain.headers["vary"] == packed.headers["vary"] == "Accept-Encoding"
    for r, encoding in ((plain, "identity"), (packed, "gzip")):
        same = requests.get(h.url + "/assets/app-1.js", timeout=10,
                            headers={"accept-encoding": encoding, "if-none-match": r.headers["etag"]})
        assert same.status_code == 304 and same.headers["etag"] == r.headers["etag"]
    assert requests.get(h.url + "/assets/app-1.js.gz", timeout=10).status_code == 404
    assert requests.get(h.url + "/assets/data.tar.gz", timeout=10).content == b"its own file"
    doc = [requests.get(h.url + "/api/v1/openapi.json", headers={"accept-encoding": e}, timeout=10) for e in ("gzip", "identity")]
    assert doc[0].json() == doc[1].json() and doc[0].headers["etag"] == doc[1].headers["etag"]
    assert doc[0].headers["content-encoding"] == "gzip"
    assert requests.get(h.url + "/api/v1/openapi.json", headers={"if-none-match": doc[0].headers["etag"]}, timeout=10).status_code == 304
    assert h.stop() == 0
    (web / "assets/app-1.js").write_bytes(script + b"changed")
    stale = subprocess.run([str(h.program), "--state", str(tmp_path / "s"), "--port", "0", "--mesh-port", "0", "--web", str(web)],
                           capture_output=True, text=True, timeout=20)
    assert stale.returncode == 1 and "app-1.js.gz is not the file beside it" in stale.stderr


# ---- who ----

def test_login_tells_who(hcpd):
    reply = requests.post(hcpd.url + "/api/v1/auth/login", json={"email": "John@Acme.com ", "password": "customer123"}, timeout=10)
    assert reply.status_code == 200
    body = reply.json()
    assert body["token_type"] == "Bearer" and body["expires_in"] == 900
    assert body["principal"]["role"] == "customer" and body["principal"]["customer_id"].startswith("cus-")
    me = hcpd.call("GET", "/api/v1/auth/me", JOHN).json()
    assert me["principal"]["email"] == JOHN and me["access_token"] == ""


def auth(hcpd, what, body=None, **kw):
    return requests.post(f"{hcpd.url}/api/v1/auth/{what}", json={} if body is None else body, timeout=20, **kw)


def login_as(hcpd, email=JOHN, password="customer123", **kw):
    reply = auth(hcpd, "login", {"email": email, "password": password, **kw})
    assert reply.status_code == 200, reply.text
    return reply


def test_refresh_tokens_are_good_once(hcpd):
    first = login_as(hcpd).json()
    assert first["refresh_token"].startswith("hcr_") and first["refresh_expires_in"] == 30 * 86400
    reply = auth(hcpd, "refresh", {"refresh_token": first["refresh_token"]})
    assert reply.status_code == 200 and reply.headers["cache-control"] == "no-store"
    second = reply.json()
    assert second["refresh_token"] not in ("", first["refresh_token"]) and second["principal"] == first["principal"]
    me = requests.get(hcpd.url + "/api/v1/auth/me", headers={"authorization": "Bearer " + second["access_token"]}, timeout=10)
    assert me.status_code == 200 and me.json()["principal"]["email"] == JOHN
    # A refresh token is no bearer.
    problem(requests.get(hcpd.url + "/api/v1/auth/me", headers={"authorization": "Bearer " + second["refresh_token"]}, timeout=10),
            401, "unauthenticated")
    # Sent again, the first ends the whole session, and the log says so without saying the token.
    problem(auth(hcpd, "refresh", {"refresh_token": first["refresh_token"]}), 401, "unauthenticated", "refresh_token")
    problem(auth(hcpd, "refresh", {"refresh_token": second["refresh_token"]}), 401, "unauthenticated", "refresh_token")
    log = hcpd.log()
    assert "refresh token of user " + first["principal"]["user_id"] in log
    assert not any(t[4:] in log for t in (first["refresh_token"], second["refresh_token"]))
    for bad, field in (({}, "refresh_token"), ({"refresh_token": "x" * 300}, "refresh_token"), ({"sha256": "AAAA"}, "refresh_token")):
        problem(auth(hcpd, "refresh", bad), 400, "invalid", field)
        problem(auth(hcpd, "logout", bad), 400, "invalid", field)
    problem(auth(hcpd, "refresh", {"refresh_token": "hcr_unknown"}), 401, "unauthenticated", "refresh_token")


def test_sessions_survive_a_restart_and_end(start_hcpd):
    h = start_hcpd("sessions", "--token-life", "2")
    one, two = login_as(h).json(), login_as(h).json()
    assert one["expires_in"] == 2
    h.kill()
    h.start()
    one = auth(h, "refresh", {"refresh_token": one["refresh_token"]}).json()
    assert auth(h, "logout", {"refresh_token": two["refresh_token"]}).status_code == 200
    problem(auth(h, "refresh", {"refresh_token": two["refresh_token"]}), 401, "unauthenticated", "refresh_token")
    assert auth(h, "logout", {"refresh_token": two["refresh_token"]}).status_code == 200
    # What the bearer tokens lose by time, the session keeps.
    bearer = {"authorization": "Bearer " + one["access_token"]}
    assert requests.get(h.url + "/api/v1/auth/me", headers=bearer, timeout=10).status_code == 200
    wait_for("the token to run out", lambda: requests.get(h.url + "/api/v1/auth/me", headers=bearer, timeout=10).status_code == 401)
    one = auth(h, "refresh", {"refresh_token": one["refresh_token"]}).json()
    bearer = {"authorization": "Bearer " + one["access_token"]}
    assert requests.get(h.url + "/api/v1/auth/me", headers=bearer, timeout=10).status_code == 200
    assert h.stop() == 0
    secrets = [t["refresh_token"][4:].encode() for t in (one, two)]
    for path in h.state.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert not any(s in data for s in secrets), path


def test_a_browsers_refresh_token_is_a_cookie(hcpd):
    reply = login_as(hcpd, cookie=True)
    assert reply.json()["refresh_token"] == ""
    parts = [p.strip() for p in reply.headers["set-cookie"].split(";")]
    assert parts[0].startswith("hcp_refresh=hcr_")
    assert set(parts[1:]) == {"Path=/api/v1/auth/", "Max-Age=2592000", "HttpOnly", "Secure", "SameSite=Strict"}
    cookie = {"cookie": "theme=dark; " + parts[0]}
    # Another origin's page may not use it, whatever the browser sends along.
    for head in ({"sec-fetch-site": "same-site"}, {"sec-fetch-site": "cross-site"}, {"origin": "http://evil.example"}, {"origin": "null"}):
        problem(auth(hcpd, "refresh", headers=cookie | head), 403, "forbidden", "origin")
        problem(auth(hcpd, "logout", headers=cookie | head), 403, "forbidden", "origin")
    renewed = auth(hcpd, "refresh", headers=cookie | {"sec-fetch-site": "same-origin"})
    assert renewed.status_code == 200 and renewed.json()["refresh_token"] == "" and renewed.json()["access_token"]
    cookie = {"cookie": renewed.headers["set-cookie"].split(";")[0], "origin": hcpd.url}
    gone = auth(hcpd, "logout", headers=cookie)
    assert gone.status_code == 200 and "hcp_refresh=;" in gone.headers["set-cookie"] and "Max-Age=0" in gone.headers["set-cookie"]
    problem(auth(hcpd, "refresh", headers=cookie), 401, "unauthenticated", "refresh_token")


def test_wrong_password_and_unknown_user_say_the_same(hcpd):
    replies = [requests.post(hcpd.url + "/api/v1/auth/login", json={"email": e, "password": "nope"}, timeout=10)
               for e in (OPERATOR, "nobody@mara.com")]
    for r in replies:
        problem(r, 401, "unauthenticated", "password")
    assert replies[0].json()["detail"] == replies[1].json()["detail"]


def test_five_failures_lock_an_email(hcpd):
    body = {"email": "locked@mara.com", "password": "nope"}
    for _ in range(5):
        problem(requests.post(hcpd.url + "/api/v1/auth/login", json=body, timeout=10), 401, "unauthenticated")
    problem(requests.post(hcpd.url + "/api/v1/auth/login", json=body, timeout=10), 429, "limit_reached", "email")


def test_credentials_are_needed_and_must_be_right(hcpd):
    reply = hcpd.call("GET", "/api/v1/status", None)
    problem(reply, 401, "unauthenticated", "authorization")
    assert reply.headers["www-authenticate"].startswith("Bearer")
    token = hcpd.login()
    head, body, sig = token.split(".")
    none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0"
    for wrong in ("x", "hcp_wrong", f"{head}.{body}.{sig[:-4]}AAAA", f"{none}.{body}.", f"{none}.{body}.{sig}"):
        problem(hcpd.call("GET", "/api/v1/status", None, headers={"authorization": f"Bearer {wrong}"}), 401, "unauthenticated")


def test_roles(hcpd):
    problem(hcpd.call("GET", "/api/v1/customers", JOHN), 403, "forbidden")
    assert [c["name"] for c in hcpd.call("GET", "/api/v1/customers", OPERATOR).json()["customers"]] == ["Acme", "Globex"]
    problem(hcpd.call("PUT", "/api/v1/policy", OPERATOR, json={"policy": "threshold"}), 403, "forbidden")
    problem(hcpd.call("POST", "/api/v1/market/ticks", OPERATOR, json={"ticks": []}), 403, "forbidden")
    problem(hcpd.call("POST", "/api/v1/emergency/stop", "machine", json={"reason": "x"}), 403, "forbidden")
    tick = {"symbol": "btc_usd", "value": 60000.0, "observed_at_ns": time.time_ns(), "source": "test", "sent_at_ns": time.time_ns()}
    assert hcpd.call("POST", "/api/v1/market/ticks", "machine", json={"ticks": [tick]}).json()["accepted"] == 1


def test_api_keys_live_and_end(hcpd):
    made = hcpd.call("POST", "/api/v1/api-keys", JOHN, json={"name": "ci", "prefix": "evil", "secret_sha256": "AAAA"})
    assert made.status_code == 201, made.text
    key = made.json()
    secret = key["secret"]
    assert secret.startswith("hcp_") and len(secret) > 40 and secret.startswith(key["prefix"])
    for headers in ({"authorization": f"Bearer {secret}"}, {"x-api-key": secret}):
        me = hcpd.call("GET", "/api/v1/auth/me", None, headers=headers)
        assert me.status_code == 200 and me.json()["principal"]["email"] == JOHN
    listed = hcpd.call("GET", "/api/v1/api-keys", JOHN).json()["keys"]
    assert listed[0]["id"] == key["id"] and listed[0]["secret"] == ""
    problem(hcpd.call("DELETE", f"/api/v1/api-keys/{key['id']}", JANE), 404, "not_found", "id")
    assert hcpd.call("DELETE", f"/api/v1/api-keys/{key['id']}", JOHN).json()["revoked"] is True
    for database in hcpd.state.glob("identity.db*"):
        assert secret.encode() not in database.read_bytes()
        assert b"customer123" not in database.read_bytes()


# ---- requests ----

def test_errors_name_the_field(hcpd):
    problem(hcpd.call("POST", "/api/v1/workloads", JOHN, json={**JOB, "priority": "high"}), 400, "invalid", "priority")
    problem(hcpd.call("POST", "/api/v1/workloads", JOHN, json={**JOB, "colour": 1}), 400, "invalid", "colour")
    problem(hcpd.call("POST", "/api/v1/workloads", JOHN, json={**JOB, "device_count": 2**40}), 400, "out_of_range", "device_count")
    problem(hcpd.call("GET", "/api/v1/workloads?cursor=zzz", JOHN), 400, "invalid", "cursor")
    problem(hcpd.call("POST", "/api/v1/workloads", JOHN, json={**JOB, "type": "poetry"}), 400, "invalid", "type")
    problem(hcpd.call("POST", "/api/v1/workloads", JOHN, data='{"type":', headers={"content-type": "application/json"}), 400,
            "parse_error")
    problem(hcpd.call("GET", "/api/v1/workloads?limit=ten", JOHN), 400, "invalid", "limit")
    problem(hcpd.call("GET", "/api/v1/workloads?bogus=1", JOHN), 400, "invalid", "bogus")
    bad = raw(hcpd, f"GET /api/v1/workloads?limit=%zz HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {hcpd.login(JOHN)}\r\n\r\n".encode())
    assert bad.startswith(b"HTTP/1.1 400") and b"percent-encoded" in bad
    problem(hcpd.call("POST", "/api/v1/workloads", JOHN, data="<xml/>", headers={"content-type": "text/xml"}), 415, "unsupported")
    problem(hcpd.call("GET", "/api/v1/workloads/wl-00000000000000000000000000", JOHN), 404, "not_found", "id")


def test_paths_and_methods(hcpd):
    problem(hcpd.call("GET", "/api/v1/nothing", JOHN), 404, "not_found")
    reply = hcpd.call("PATCH", "/api/v1/workloads", JOHN)
    problem_405 = reply.json()
    assert reply.status_code == 405 and problem_405["status"] == 405
    assert set(reply.headers["allow"].split(", ")) >= {"GET", "POST"}
    assert requests.head(hcpd.url + "/health", timeout=10).status_code == 200
    assert hcpd.call("GET", "/v1/workloads/submit", JOHN).status_code == 405
    assert hcpd.call("POST", "/v1/workloads/submit", JOHN, json=JOB).status_code == 201


@pytest.mark.parametrize("data", [
    b"GARBAGE\r\n\r\n", b"GET /health HTTP/9.9\r\n\r\n", b"GET /health HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
    b"POST /api/v1/auth/login HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET /health HTTP/1.1\r\nhost: a\r\nx: " + b"y" * 70000 + b"\r\n\r\n",
    b"POST /api/v1/auth/login HTTP/1.1\r\nhost: a\r\ncontent-length: 999999999\r\n\r\n",
])
def test_malformed_http_is_refused_and_harms_nobody(hcpd, data):
    got = raw(hcpd, data)
    assert got == b"" or int(got.split()[1]) >= 400, got[:200]
    assert requests.get(hcpd.url + "/health", timeout=10).status_code == 200


def test_deep_and_huge_json(hcpd):
    head = {"content-type": "application/json"}
    assert hcpd.call("POST", "/api/v1/workloads", JOHN, data="[" * 100000, headers=head).status_code == 400
    deep = '{"workloads":' + '[{"name":' * 40 + '""' + "}]" * 40 + "}"
    assert hcpd.call("POST", "/api/v1/workloads/batch", JOHN, data=deep, headers=head).status_code == 400
    assert hcpd.call("POST", "/api/v1/workloads", JOHN, data=b'{"name":"\xff\xfe"}', headers=head).status_code == 400
    assert hcpd.call("POST", "/api/v1/workloads", JOHN, data=b'{"name":"' + b"a" * (5 << 20) + b'"}', headers=head).status_code == 413


def test_idempotency_key(hcpd):
    head = {"idempotency-key": "one"}
    first = hcpd.call("POST", "/api/v1/workloads", JOHN, json=JOB, headers=head)
    again = hcpd.call("POST", "/api/v1/workloads", JOHN, json=JOB, headers=head)
    assert first.status_code == again.status_code == 201
    assert first.json()["id"] == again.json()["id"]
    assert first.headers["location"] == f"/api/v1/workloads/{first.json()['id']}"
    other = hcpd.call("POST", "/api/v1/workloads", JANE, json=JOB, headers=head)
    assert other.json()["id"] != first.json()["id"]
    problem(hcpd.call("POST", "/api/v1/workloads", JOHN, json={**JOB, "device_count": 2}, headers=head), 409, "conflict")
    problem(hcpd.call("POST", "/api/v1/workloads", JOHN, json=JOB, headers={"idempotency-key": "x" * 129}), 400, "invalid",
            "idempotency-key")


def test_customers_do_not_see_each_other(hcpd):
    made = hcpd.call("POST", "/api/v1/workloads", JOHN, json=JOB).json()
    problem(hcpd.call("GET", f"/api/v1/workloads/{made['id']}", JANE), 404, "not_found")
    problem(hcpd.call("DELETE", f"/api/v1/workloads/{made['id']}", JANE), 404, "not_found")
    assert made["id"] not in hcpd.call("GET", "/api/v1/workloads?limit=1000", JANE).text
    assert hcpd.call("GET", f"/api/v1/workloads/{made['id']}", OPERATOR).json()["id"] == made["id"]


def test_etag_and_long_poll(hcpd):
    made = hcpd.call("POST", "/api/v1/workloads", JOHN, json=JOB).json()
    path = f"/api/v1/workloads/{made['id']}"

    def settled():
        a = hcpd.call("GET", path, JOHN)
        time.sleep(0.3)
        b = hcpd.call("GET", path, JOHN)
        return b if a.headers["etag"] == b.headers["etag"] else None
    got = wait_for("the workload to settle", settled)
    same = hcpd.call("GET", path, JOHN, headers={"if-none-match": got.headers["etag"]})
    assert same.status_code == 304 and same.content == b""
    version = got.json()["version"]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        waiting = pool.submit(hcpd.call, "GET", f"{path}?index={version}&wait_ms=20000", JOHN)
        time.sleep(0.3)
        assert not waiting.done()
        assert hcpd.call("DELETE", path, JOHN).json()["state"] == "cancelled"
        changed = waiting.result(15).json()
    assert changed["version"] > version and changed["state"] == "cancelled"


def test_limits_are_told_and_kept(hcpd):
    reply = hcpd.call("GET", "/api/v1/status", JANE)
    assert reply.headers["ratelimit-limit"] == "1000" and int(reply.headers["ratelimit-remaining"]) < 1000
    assert "ratelimit-limit" not in hcpd.call("GET", "/api/v1/status").headers
    with requests.Session() as s:
        head = {"authorization": f"Bearer {hcpd.login(JANE, 'customer123')}"}
        statuses = [s.get(hcpd.url + "/api/v1/status", headers=head, timeout=10) for _ in range(1300)]
    refused = [r for r in statuses if r.status_code == 429]
    assert refused and int(refused[0].headers["retry-after"]) >= 1
    problem(refused[0], 429, "limit_reached")
    assert hcpd.call("GET", "/api/v1/status", JOHN).status_code == 200  # others are not touched


def test_cache(hcpd):
    seen = [hcpd.call("GET", "/api/v1/prices", JOHN).headers["x-cache"] for _ in range(10)]
    assert "hit" in seen
    assert hcpd.call("GET", "/api/v1/prices", OPERATOR).headers["x-cache"] in ("miss", "hit")
    assert "x-cache" not in hcpd.call("GET", "/api/v1/workloads", JOHN).headers


def test_trace_goes_through(hcpd):
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    back = hcpd.call("GET", "/api/v1/workloads", JOHN, headers={"traceparent": trace}).headers["traceparent"]
    assert back.split("-")[1] == trace.split("-")[1] and back.split("-")[2] != trace.split("-")[2]
    made_up = hcpd.call("GET", "/api/v1/workloads", JOHN, headers={"traceparent": "00-zz"}).headers["traceparent"]
    assert len(made_up) == 55 and made_up.split("-")[1] != "0" * 32


def test_no_cors_by_default(hcpd):
    reply = hcpd.call("GET", "/api/v1/status", JOHN, headers={"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in reply.headers


def test_cors_for_named_origins(start_hcpd):
    h = start_hcpd("cors", "--cors", "https://portal.example, https://two.example")
    head = {"origin": "https://two.example", "access-control-request-method": "POST"}
    ok = requests.options(h.url + "/api/v1/workloads", headers=head, timeout=10)
    assert ok.status_code == 204 and ok.headers["access-control-allow-origin"] == "https://two.example"
    assert "POST" in ok.headers["access-control-allow-methods"] and ok.headers["vary"] == "Origin"
    no = requests.options(h.url + "/api/v1/workloads", headers={**head, "origin": "https://evil.example"}, timeout=10)
    assert no.status_code == 403 and "access-control-allow-origin" not in no.headers


def test_models_and_embeddings_without_nodes(hcpd):
    assert hcpd.call("GET", "/v1/models", JOHN).json() == {"object": "list", "data": []}
    problem(hcpd.call("POST", "/v1/embeddings", JOHN, json={"input": "x"}), 400, "invalid", "model")
    problem(hcpd.call("POST", "/v1/embeddings", JOHN, data="nonsense"), 400, "parse_error")
    assert hcpd.call("POST", "/v1/embeddings", JOHN, json={"model": "m", "input": "x"}).status_code in (404, 503)
    problem(hcpd.call("POST", "/v1/embeddings", None, json={"model": "m", "input": "x"}), 401, "unauthenticated")


# ---- about itself ----

def test_openapi_names_every_route(hcpd):
    reply = requests.get(hcpd.url + "/api/v1/openapi.json", timeout=10)
    doc = reply.json()
    assert doc["openapi"] == "3.1.0"
    refs = set()

    def walk(v):
        if isinstance(v, dict):
            refs.update([v["$ref"]] if "$ref" in v else [])
            for x in v.values():
                walk(x)
        elif isinstance(v, list):
            for x in v:
                walk(x)
    walk(doc)
    for ref in refs:
        assert ref.rsplit("/", 1)[1] in doc["components"]["schemas"], ref
    for path, methods in doc["paths"].items():
        for method, op in methods.items():
            url = path.replace("{id}", "x")
            status = hcpd.call(method.upper(), url, None).status_code
            assert status == (400 if op["security"] == [] else 401), (method, path, status)
            for p in op["parameters"]:
                assert p["in"] in ("query", "path", "header") and p["name"]


def test_health_and_metrics(hcpd):
    health = requests.get(hcpd.url + "/health", timeout=10).json()
    assert health["status"] == "ok" and {"gateway", "identity", "orchestrator"} <= {s["name"] for s in health["services"]}
    status = hcpd.call("GET", "/api/v1/status").json()
    assert {s["name"] for s in status["services"]} == {s["name"] for s in health["services"]}
    text = requests.get(hcpd.url + "/metrics", timeout=10).text
    rows = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    key = 'hcp_http_requests_total{method="GET",route="/api/v1/status",status="200"}'
    assert float(rows[key]) >= 1
    assert float(rows['hcp_service_batches_total{service="identity"}']) >= 1
    buckets = [float(v) for k, v in rows.items() if k.startswith('hcp_http_request_seconds_bucket{method="GET",route="/api/v1/status"')]
    assert buckets == sorted(buckets) and buckets[-1] == float(
        rows['hcp_http_request_seconds_count{method="GET",route="/api/v1/status"}'])


def test_portal_files(start_hcpd, tmp_path):
    web = tmp_path / "web"
    (web / "assets").mkdir(parents=True)
    (web / "index.html").write_text("<html>portal</html>")
    (web / "assets" / "app-1.js").write_text("run()")
    (tmp_path / "secret.txt").write_text("secret")
    (web / "link.txt").symlink_to(tmp_path / "secret.txt")
    h = start_hcpd("portal", "--web", web)
    index = requests.get(h.url + "/", timeout=10)
    assert index.status_code == 200 and index.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in index.headers["content-security-policy"] and index.headers["cache-control"] == "no-cache"
    again = requests.get(h.url + "/", headers={"if-none-match": index.headers["etag"]}, timeout=10)
    assert again.status_code == 304
    assert requests.get(h.url + "/jobs/17", timeout=10).text == "<html>portal</html>"
    asset = requests.get(h.url + "/assets/app-1.js", timeout=10)
    assert asset.text == "run()" and "immutable" in asset.headers["cache-control"]
    assert requests.get(h.url + "/assets/none.js", timeout=10).status_code == 404
    for path in ("/../secret.txt", "/assets/../../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "//secret.txt",
                 "/assets/%2e%2e/%2e%2e/secret.txt", "/link.txt", "/index.html%00.js", "/.."):
        got = raw(h, f"GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".encode())
        assert b"secret" not in got.split(b"\r\n\r\n", 1)[-1], path
    assert requests.get(h.url + "/api/v1/none", timeout=10).status_code == 404
    assert requests.post(h.url + "/", timeout=10).status_code == 404


# ---- live ----

def test_live_topics(hcpd):
    with ws(hcpd, JOHN, "workload.events") as john, ws(hcpd, "operator@mara.com", "workload.events") as ops:
        mine = hcpd.call("POST", "/api/v1/workloads", JOHN, json={**JOB, "name": "live"}).json()
        event = next_event(john, "workload.events")
        assert event["type"] == "WorkloadChanged" and event["data"]["workload"]["id"] == mine["id"]
        assert event["id"] > 0 and event["at_ns"] > 0
        globex = next(c["id"] for c in hcpd.call("GET", "/api/v1/customers").json()["customers"] if c["name"] == "Globex")
        theirs = hcpd.call("POST", "/api/v1/workloads", json={**JOB, "customer_id": globex}).json()
        assert theirs["customer_id"] == globex
        seen = set()
        while not {mine["id"], theirs["id"]} <= seen:
            seen.add(next_event(ops, "workload.events")["data"]["workload"]["id"])
        hcpd.call("DELETE", f"/api/v1/workloads/{mine['id']}", JOHN)
        while True:
            event = next_event(john, "workload.events")
            assert event["data"]["workload"]["id"] == mine["id"]  # never another customer's
            if event["data"]["workload"]["state"] == "cancelled":
                break


def test_live_roles_and_frames(hcpd):
    for bad, who in (("optimizer.recommendation", JOHN), ("nonsense", OPERATOR), ("resources.metered", OPERATOR)):
        with pytest.raises(Exception, match="40[03]"):
            ws(hcpd, who, bad)
    with pytest.raises(Exception, match="401"):
        connect(hcpd.url.replace("http", "ws") + "/api/v1/ws?topics=market.price&token=wrong", open_timeout=10)
    with ws(hcpd, JOHN, "") as conn:
        conn.send(json.dumps({"subscribe": ["resources.devices"]}))
        assert next_event(conn)["topic"] == "error"
        conn.send("nonsense")
        assert next_event(conn)["topic"] == "error"
        conn.send(json.dumps({"subscribe": ["workload.events"]}))
        time.sleep(0.2)
        made = hcpd.call("POST", "/api/v1/workloads", JOHN, json=JOB).json()
        assert next_event(conn)["data"]["workload"]["id"] == made["id"]
        conn.send(json.dumps({"unsubscribe": ["workload.events"]}))
        time.sleep(0.3)
        while True:  # what was on its way
            try:
                conn.recv(timeout=0.2)
            except TimeoutError:
                break
        hcpd.call("DELETE", f"/api/v1/workloads/{made['id']}", JOHN)
        with pytest.raises(TimeoutError):
            conn.recv(timeout=0.5)


def test_live_resume_and_gap(hcpd):
    with ws(hcpd, JOHN, "workload.events") as conn:
        hcpd.call("POST", "/api/v1/workloads", JOHN, json=JOB)
        last = next_event(conn, "workload.events")["id"]
    missed = [hcpd.call("POST", "/api/v1/workloads", JOHN, json=JOB).json()["id"] for _ in range(20)]
    with ws(hcpd, JOHN, "workload.events", since=last) as conn:
        live = hcpd.call("POST", "/api/v1/workloads", JOHN, json=JOB).json()["id"]
        ids, seen = [], []
        while live not in seen:
            e = next_event(conn, "workload.events")
            ids.append(e["id"])
            seen.append(e["data"]["workload"]["id"])
        assert ids == sorted(set(ids)) and ids[0] > last
        assert set(missed) <= set(seen)
    with ws(hcpd, JOHN, "workload.events", since=10**15) as conn:
        gap = next_event(conn)
        assert gap["topic"] == "gap" and gap["data"]["to"] <= gap["data"]["from"]


# ---- life ----

def test_restart_keeps_users_sessions_and_work(start_hcpd):
    h = start_hcpd("restart")
    made = h.call("POST", "/api/v1/workloads", JOHN, json=JOB).json()
    secret = h.call("POST", "/api/v1/api-keys", JOHN, json={"name": "k"}).json()["secret"]
    token = h.login(JOHN)
    assert h.stop() == 0
    h.start()
    assert h.login(JOHN) == token  # the old token
    assert h.call("GET", f"/api/v1/workloads/{made['id']}", JOHN).json()["id"] == made["id"]
    assert h.call("GET", "/api/v1/auth/me", None, headers={"x-api-key": secret}).status_code == 200


def test_tls_on_both_ports_and_several_threads(start_hcpd, program, tmp_path):
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key,
                    "-out", cert, "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"],
                   check=True, capture_output=True)
    [mesh] = mesh_certs(program, tmp_path / "certs", "hcpd")
    h = start_hcpd("tls", "--threads", "3", "--tls-cert", cert, "--tls-key", key, *mesh)
    assert h.url.startswith("https://")
    token = requests.post(h.url + "/api/v1/auth/login", json={"email": JOHN, "password": "customer123"}, verify=str(cert),
                          timeout=10).json()["access_token"]
    head = {"authorization": f"Bearer {token}"}

    def one(n):  # a connection each, so that every thread gets some
        made = requests.post(h.url + "/api/v1/workloads", json={**JOB, "name": str(n)}, headers=head, verify=str(cert), timeout=20)
        got = requests.get(h.url + made.headers["location"], headers=head, verify=str(cert), timeout=20)
        return made.status_code == 201 and got.json()["name"] == str(n)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(pool.map(one, range(60)))
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(h.url + "/health", timeout=10)
    grpc = pytest.importorskip("grpc")
    ca, cert, key = (p.read_bytes() for p in mesh[1::2])
    with grpc.secure_channel(h.mesh, grpc.ssl_channel_credentials(ca, key, cert)) as channel:
        reply = channel.unary_unary("/hcp.v1.Mesh/Call")(b"\x08\x32", metadata=(("x-hcp-token", h.machine_token),), timeout=10)
        assert reply[:2] == b"\x08\x33"
    assert h.stop() == 0


def test_slow_readers_are_cut_and_others_are_not(hcpd):
    slow = socket.create_connection(hcpd.url.removeprefix("http://").split(":"), timeout=10)
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.sendall((f"GET /api/v1/ws?topics=workload.events&token={hcpd.login(OPERATOR, 'operator123')} HTTP/1.1\r\nhost: a\r\n"
                  "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n"
                  "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n").encode())
    assert b" 101 " in slow.recv(20)
    metric = "hcp_realtime_slow_clients_total"

    def cut():
        jobs = {"workloads": [{**JOB, "name": "x" * 120} for _ in range(1000)]}
        assert hcpd.call("POST", "/api/v1/workloads/batch", json=jobs).status_code == 201
        text = requests.get(hcpd.url + "/metrics", timeout=10).text
        return float(text.split(metric + " ")[1].split()[0]) >= 1
    with ws(hcpd, OPERATOR, "workload.events") as good:
        stop = threading.Event()

        def read():
            while not stop.is_set():
                try:
                    good.recv(timeout=0.2)
                except TimeoutError:
                    pass
        reader = threading.Thread(target=read)
        reader.start()
        try:
            wait_for("the slow reader to be cut", cut, 60)
        finally:
            stop.set()
            reader.join()
        good.send("x")
        while json.loads(good.recv(timeout=10))["topic"] != "error":
            pass
    slow.close()


def test_one_process_a_state_folder(start_hcpd, program):
    h = start_hcpd("lock")
    second = subprocess.run([program("hcpd"), "--state", h.state, "--port", "0", "--mesh-port", "0"], capture_output=True,
                            text=True, timeout=20)
    assert second.returncode == 1 and str(h.process.pid) in second.stderr


def test_kill_loses_no_acknowledged_work(start_hcpd):
    h = start_hcpd("kill")
    h.login(OPERATOR, "operator123")
    h.login(JOHN, "customer123")
    acknowledged, unsure = {}, set()

    def submit(n):
        key = f"key-{n}"
        try:
            r = h.call("POST", "/api/v1/workloads", JOHN, json=JOB, headers={"idempotency-key": key}, timeout=10)
        except requests.RequestException:
            unsure.add(key)
            return
        if r.status_code == 201:
            acknowledged[key] = r.json()["id"]
    for round_ in range(3):
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            jobs = [pool.submit(submit, round_ * 1000 + n) for n in range(300)]
            wait_for("some acknowledged work", lambda: len(acknowledged) > 60 * (round_ + 1))
            h.kill()
            concurrent.futures.wait(jobs)
        h.start()
    assert acknowledged and unsure
    known, cursor = set(), ""
    while True:
        page = h.call("GET", f"/api/v1/workloads?limit=1000&cursor={cursor}", OPERATOR).json()
        known |= {w["id"] for w in page["workloads"]}
        cursor = page["next_cursor"]
        if not cursor:
            break
    assert set(acknowledged.values()) <= known
    for key, made in list(acknowledged.items())[:20]:  # repeated: the same, not another
        again = h.call("POST", "/api/v1/workloads", JOHN, json=JOB, headers={"idempotency-key": key})
        assert again.json()["id"] == made
    # One each: what was not acknowledged is there once or not at all.
    assert len(known) <= len(acknowledged) + len(unsure)


def test_replay_is_identical(start_hcpd, program):
    h = start_hcpd("replay")
    for n in range(5):
        h.call("POST", "/api/v1/workloads", JOHN, json={**JOB, "name": f"w{n}"})
    h.call("POST", "/api/v1/api-keys", JOHN, json={"name": "k"})
    h.stop()
    for service in ("orchestrator", "identity"):
        done = subprocess.run([program("hcpd"), "--replay", h.state, "--service", service], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        report = json.loads(done.stdout)
        assert report["identical"] is True and report["service"] == service and report["batches"] >= 1


def test_options_are_checked(program):
    for args, word in ((["--port", "99999"], "--port"), (["--nonsense"], "--nonsense"), (["--services", "magic"], "--services"),
                       (["--peer", "router=x"], "--peer"), (["--threads", "0"], "--threads"), (["--state"], "--state"),
                       (["--replay", "/nowhere", "--service", "router"], "--replay"), (["--tls-cert", "x"], "--tls-key"),
                       (["--peer", "router=a:1"], "--peer")):
        done = subprocess.run([program("hcpd"), *args, "--check-config"] if "--replay" not in args else [program("hcpd"), *args],
                              capture_output=True, text=True, timeout=20)
        assert done.returncode == 2 and word in done.stderr, (args, done)
    assert subprocess.run([program("hcpd"), "--version"], capture_output=True, text=True, timeout=20).stdout.startswith("hcpd ")
    assert subprocess.run([program("hcpd"), "--check-config"], capture_output=True, timeout=20).returncode == 0


# ---- apart ----

REST = "orchestrator,optimizer,router,resources,billing,telemetry"


def mesh_certs(program, folder, *names):
    """By name the options of an hcpd whose mesh speaks mutual TLS."""
    def certs(*args):
        subprocess.run([program("hcp"), "certs", *args, "--dir", folder], check=True, capture_output=True, timeout=20)
    certs("init")
    for name in names:
        certs("issue", name, "--role", "service")
    return [["--mesh-ca", folder / "ca.crt", "--mesh-cert", folder / f"{n}.crt", "--mesh-key", folder / f"{n}.key"] for n in names]


@pytest.fixture(params=["plain", "tls"])
def apart(start_hcpd, tmp_path, program, request):
    """gateway and identity in one process, everything else in another."""
    back_tls, front_tls = mesh_certs(program, tmp_path / "certs", "back", "front") if request.param == "tls" else ([], [])
    back = start_hcpd("back", "--services", REST, *back_tls)
    front_args = ["--services", "gateway,realtime,identity", "--peer", f"{REST}={back.mesh}", "--token-file",
                  back.state / "machine.token", *front_tls]
    front = start_hcpd("front", *front_args)
    front.machine = back.machine_token
    wait_for("the peer", lambda: all(s["state"] == "ok" for s in requests.get(front.url + "/health", timeout=10).json()["services"]))
    return front, back


def test_apart_is_the_same(apart):
    front, back = apart
    made = front.call("POST", "/api/v1/workloads", JOHN, json=JOB, headers={"idempotency-key": "a"})
    assert made.status_code == 201, made.text
    assert front.call("POST", "/api/v1/workloads", JOHN, json=JOB, headers={"idempotency-key": "a"}).json()["id"] == made.json()["id"]
    problem(front.call("POST", "/api/v1/workloads", JOHN, json={**JOB, "priority": 99}), 400, "out_of_range", "priority")
    problem(front.call("GET", f"/api/v1/workloads/{made.json()['id']}", JANE), 404, "not_found", "id")
    with ws(front, JOHN, "workload.events") as conn:
        other = front.call("POST", "/api/v1/workloads", JOHN, json=JOB).json()
        while True:
            e = next_event(conn, "workload.events")
            if e["data"]["workload"]["id"] == other["id"]:
                break
        last = e["id"]
    # The other process dies; the front says so, and goes on when it is back, without losing an event.
    third = front.call("POST", "/api/v1/workloads", JOHN, json=JOB).json()
    back.kill()
    wait_for("the outage to be seen", lambda: front.call("GET", "/api/v1/workloads", JOHN).status_code == 503)
    health = requests.get(front.url + "/health", timeout=10)
    assert health.status_code == 503 and health.json()["status"] == "down"
    back.start()
    wait_for("the peer to be back", lambda: front.call("GET", "/api/v1/workloads", JOHN).status_code == 200)
    fourth = front.call("POST", "/api/v1/workloads", JOHN, json=JOB).json()
    with ws(front, JOHN, "workload.events", since=last) as conn:
        seen = []
        while fourth["id"] not in seen:
            seen.append(next_event(conn, "workload.events")["data"]["workload"]["id"])
        assert third["id"] in seen
    assert front.stop() == 0
    front.start()
    wait_for("the peer", lambda: front.call("GET", "/api/v1/workloads", JOHN).status_code == 200)


def field(number, value):
    """A protobuf field: int as varint, the rest as bytes."""
    def varint(v):
        out = b""
        while v > 127:
            out += bytes([v & 127 | 128])
            v >>= 7
        return out + bytes([v])
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


class Node(threading.Thread):
    """An inference endpoint that counts, and can be told to refuse."""

    def __init__(self, name):
        super().__init__(daemon=True)
        self.served, self.refuse, self.customers, self.name_ = 0, False, set(), name
        node = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                node.customers.add(self.headers.get("x-hcp-customer"))
                if not node.refuse:
                    node.served += 1
                answer = json.dumps({"data": [], "echo": json.loads(body)["input"]}).encode()
                self.send_response(503 if node.refuse else 200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def run(self):
        self.server.serve_forever()


# ---- services apart, on their own ports ----

OWN = [(r, service, path) for r in ROUTES for service, path in r.get("own", {}).items()]
DOCUMENTED = {"orchestrator": 8080, "optimizer": 8081, "router": 8082, "resources": 8083, "billing": 8084, "identity": 8085,
              "realtime": 8086}


@pytest.mark.parametrize("mesh", ["plain", "tls"])
def test_services_answer_on_their_own_ports(start_hcpd, program, tmp_path, mesh):
    others = "orchestrator,router,resources,billing,telemetry,identity"
    back_tls, apart_tls = mesh_certs(program, tmp_path / "certs", "back", "apart") if mesh == "tls" else ([], [])
    back = start_hcpd("back", "--services", others, *back_tls)
    token = ["--token-file", back.state / "machine.token"]
    apart = start_hcpd("apart", "--services", "optimizer,realtime", "--peer", f"{others}={back.mesh}", *token, *apart_tls)
    assert set(back.own) == set(others.split(",")) and set(apart.own) == {"optimizer", "realtime"} and not apart.url
    own = back.own | apart.own
    login = requests.post(own["identity"] + "/api/v1/auth/login", json={"email": "admin@mara.com", "password": "admin123"}, timeout=20)
    admin = {"authorization": "Bearer " + login.json()["access_token"]}
    customer = requests.post(own["identity"] + "/api/v1/auth/login", json={"email": JOHN, "password": "customer123"}, timeout=20)
    john = {"authorization": "Bearer " + customer.json()["access_token"]}

    def ask(service, method, path, who=admin, **kw):
        return requests.request(method, own[service] + path, headers=who, timeout=20, **kw)
    body = {"WorkloadSubmit": JOB, "Classify": {"needs_gpu": True}, "ProfitabilityCalculate": {"device_class": "S21"},
            "EmergencyStop": {"reason": "drill"}}
    assert len(OWN) == 13
    for route, service, path in OWN:
        path = path.replace("{id}", "nothing")
        kw = {"json": body.get(route["message"], {})} if route["method"] == "POST" else {}
        reply = ask(service, route["method"], path, **kw)
        if route["message"] in ("RecommendationGet", "ResourceGet", "BidsGet"):
            problem(reply, 404, "not_found")  # there is none yet, which the service says
            assert "there is nothing at this path" not in reply.text
        else:
            assert reply.status_code == route.get("status", 200), (path, reply.text)
        # Who is asked for at the gateway is asked for here.
        problem(ask(service, route["method"], path, {}, **kw), 401, "unauthenticated")
        if route["role"] != "customer":
            problem(ask(service, route["method"], path, john, **kw), 403, "forbidden")
        # Nobody else answers here, and the short path is no path of the gateway's.
        for other in own:
            if (other, path) not in {(s, p.replace("{id}", "nothing")) for _, s, p in OWN}:
                assert ask(other, route["method"], path, **kw).status_code == 404, (other, path)
    for route, service in (("/api/v1/prices", "optimizer"), ("/api/v1/workloads", "orchestrator"), ("/v1/billing/usage", "billing")):
        assert [s for s in own if ask(s, "GET", route).status_code == 200] == [service]
    for service in own:
        health = requests.get(own[service] + "/health", timeout=10)
        assert health.status_code == 200 and service in [s["name"] for s in health.json()["services"]]
        problem(ask(service, "GET", "/"), 404, "not_found")
        assert ask(service, "GET", "/v1/models").status_code == 404
    # Live topics on realtime's.
    address = own["realtime"].replace("http", "ws") + f"/api/v1/ws?topics=market.price&token={login.json()['access_token']}"
    with connect(address, open_timeout=10, close_timeout=2) as live:
        machine = {"authorization": "Bearer " + back.machine_token}
        ticks = [{"symbol": "btc_usd", "value": 60000.0, "observed_at_ns": time.time_ns(), "source": "t"}]
        assert ask("optimizer", "POST", "/api/v1/market/ticks", machine, json={"ticks": ticks}).status_code == 200
        assert next_event(live, "market.price")["data"]["ticks"][0]["value"] == 60000.0


def test_own_ports_can_be_changed_and_closed(start_hcpd, program, tmp_path, free_port):
    port = free_port()
    h = start_hcpd("moved", "--services", "optimizer,router", "--service-ports", f"optimizer={port}")
    assert h.own["optimizer"] == f"http://127.0.0.1:{port}" and h.own["router"] != h.own["optimizer"]
    closed = start_hcpd("closed", "--services", "optimizer", "--service-ports", "none")
    assert closed.own == {} and closed.url == ""
    assert start_hcpd("joined", "--services", "gateway,optimizer").own == {}  # the gateway answers for all

    def fails(*args):
        run = subprocess.run([str(program("hcpd")), "--state", str(tmp_path / "fails"), "--mesh-port", "0", *args],
                             capture_output=True, text=True, timeout=20)
        assert run.returncode != 0
        return run.stderr
    said = fails("--services", "optimizer", "--service-ports", f"optimizer={port}")
    assert f"--service-ports: port {port} of optimizer" in said and "optimizer=PORT, or none" in said
    for bad in ("optimizer", "magic=1", "optimizer=99999", ""):
        assert "--service-ports" in fails("--services", "optimizer", "--service-ports", bad)
    # Without the option it is the documented port: taken here, so that it is named.
    for service, documented in DOCUMENTED.items():
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                taken.bind(("127.0.0.1", documented))
                taken.listen()
            except OSError:
                pass  # somebody else has it
            assert f"port {documented} of {service}" in fails("--services", service)


@pytest.fixture
def fake_resources():
    """A peer that plays resources: NodesList is answered with one node, events come from a queue."""
    grpc = pytest.importorskip("grpc")
    events, nodes, seen = queue.Queue(), [], []

    def call(request, context):
        seen.append(dict(context.invocation_metadata()).get("x-hcp-token"))
        return field(1, 101) + field(2, b"".join(field(1, n) for n in nodes))

    def stream(request, context):
        seq = 0
        while context.is_active():
            try:
                body = events.get(timeout=0.1)
            except queue.Empty:
                continue
            seq += 1
            yield field(1, 102) + field(2, body) + field(4, "resources") + field(5, seq) + field(6, seq)
    handlers = {"Call": grpc.unary_unary_rpc_method_handler(call), "Events": grpc.unary_stream_rpc_method_handler(stream)}
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("hcp.v1.Mesh", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port, nodes, events, seen
    server.stop(0)


def test_embeddings_go_to_the_nodes_that_serve(start_hcpd, fake_resources):
    port, nodes, events, seen = fake_resources
    a, b = Node("a"), Node("b")
    a.start()
    b.start()
    nodes.append(field(1, "a") + field(5, 1) + field(9, a.url) + field(10, "mini"))
    h = start_hcpd("proxy", "--services", "gateway,identity,realtime", "--peer", f"resources=127.0.0.1:{port}")

    def models():
        return [m["id"] for m in h.call("GET", "/v1/models", JOHN).json()["data"]]

    def embed(n=1, model="mini"):
        return [h.call("POST", "/v1/embeddings", JOHN, json={"model": model, "input": str(i)}) for i in range(n)]
    wait_for("the list of nodes", lambda: models() == ["mini"])
    assert seen[0] == h.machine_token
    got = embed()[0]
    assert got.status_code == 200 and got.json()["echo"] == "0" and got.headers["x-hcp-node"] == "a"
    assert a.customers == {h.call("GET", "/api/v1/auth/me", JOHN).json()["principal"]["customer_id"]}
    # A second node comes up, serving: it is preferred to one that would have to switch.
    events.put(field(1, "b") + field(2, b.url) + field(3, "mini") + field(3, "big") + field(4, 1) + field(5, "b/0") + field(6, 1))
    wait_for("the second node", lambda: models() == ["mini", "big"] or set(models()) == {"mini", "big"})
    assert {r.headers["x-hcp-node"] for r in embed(5)} == {"b"}
    # It refuses: every request is tried once more elsewhere, then its breaker keeps us away.
    b.refuse = True
    assert all(r.status_code == 200 and r.headers["x-hcp-node"] == "a" for r in embed(12))
    # It is gone: only the other one is left, and nobody serves its model.
    events.put(field(1, "b") + field(2, b.url) + field(4, 0) + field(5, "b/0"))
    wait_for("the second node to go", lambda: models() == ["mini"])
    problem(embed(model="big")[0], 404, "not_found", "model")
    # Nobody listens at the preferred one: the other answers.
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{s.getsockname()[1]}"
        events.put(field(1, "c") + field(2, dead) + field(3, "mini") + field(3, "only-c") + field(4, 1) + field(5, "c/0") + field(6, 1))
        wait_for("the third node", lambda: "only-c" in models())
        assert [r.headers["x-hcp-node"] for r in embed(2)] == ["a", "a"]
    a.refuse = True
    problem(embed()[0], 503, "unavailable")


def test_mesh_wants_the_token(start_hcpd):
    grpc = pytest.importorskip("grpc")
    h = start_hcpd("mesh")
    with grpc.insecure_channel(h.mesh) as channel:
        call = channel.unary_unary("/hcp.v1.Mesh/Call")
        for metadata in ((), (("x-hcp-token", "wrong"),), (("authorization", "Bearer wrong"),)):
            with pytest.raises(grpc.RpcError) as e:
                call(b"", metadata=metadata, timeout=5)
            assert e.value.code() == grpc.StatusCode.UNAUTHENTICATED
        good = (("x-hcp-token", h.machine_token),)
        with pytest.raises(grpc.RpcError) as e:
            call(b"\xff\xff", metadata=good, timeout=5)
        assert e.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        # Envelope{type: 50 StatusGet, target: "orchestrator"}
        reply = call(b"\x08\x32\x7a\x0corchestrator", metadata=good, timeout=5)
        assert reply[:2] == b"\x08\x33"  # Status
        with pytest.raises(grpc.RpcError) as e:  # an event may not be called
            call(b"\x08\x2e", metadata=good, timeout=5)
        assert e.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        stream = channel.stream_stream("/hcp.v1.Agent/Connect")
        with pytest.raises(grpc.RpcError) as e:  # AgentUp{samples} before hello
            list(stream(iter([b"\x2a\x03\x0a\x01n"]), metadata=good, timeout=5))
        assert e.value.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNAVAILABLE)


class AgentStream:
    """An agent by hand: what is put goes up, what comes down is in `got`."""

    def __init__(self, grpc, channel, token):
        self.up, self.got, self.ended = queue.Queue(), queue.Queue(), threading.Event()
        self.call = channel.stream_stream("/hcp.v1.Agent/Connect")(iter(self.up.get, None), metadata=(("authorization", f"Bearer {token}"),))
        self.code = None

        def read():
            try:
                for m in self.call:
                    self.got.put(m)
            except grpc.RpcError:
                pass
            self.code = self.call.code()
            self.ended.set()
        threading.Thread(target=read, daemon=True).start()

    def hello(self, node, boot="b1"):
        device = field(1, "d0") + field(2, 1) + field(3, "H100") + field(4, 80) + field(5, 3) + field(6, "gpu")
        self.up.put(field(1, field(1, node) + field(2, node) + field(3, "texas-north") + field(4, "us-tx") + field(7, device) +
                          field(9, boot)))

    def close(self):
        self.up.put(None)


def test_agents_come_are_replaced_and_go(start_hcpd):
    grpc = pytest.importorskip("grpc")
    h = start_hcpd("agents")

    def node(name):
        return next((n for n in h.call("GET", "/api/v1/nodes").json()["nodes"] if n["id"] == name), None)
    with grpc.insecure_channel(h.mesh) as channel:
        first = AgentStream(grpc, channel, h.machine_token)
        first.hello("node-1")
        kinds = {first.got.get(timeout=10)[0] >> 3, first.got.get(timeout=10)[0] >> 3}
        assert kinds >= {1, 2}  # Welcome and Lease
        assert node("node-1")["connected"] and h.call("GET", "/api/v1/resources/node-1%2Fd0").json()["device_class"] == "H100"
        second = AgentStream(grpc, channel, h.machine_token)
        second.hello("node-1", "b2")
        assert first.ended.wait(10) and first.code == grpc.StatusCode.ABORTED
        second.got.get(timeout=10)
        time.sleep(0.3)
        assert node("node-1")["connected"]  # the end of the old stream does not count
        for bad in ("", "no de", "x" * 65, "../etc"):
            wrong = AgentStream(grpc, channel, h.machine_token)
            wrong.hello(bad)
            assert wrong.ended.wait(10) and wrong.code == grpc.StatusCode.INVALID_ARGUMENT, bad
        other = AgentStream(grpc, channel, h.machine_token)
        other.hello("node-2")
        other.got.get(timeout=10)
        other.up.put(field(2, field(1, "node-1") + field(2, "b2") + field(6, 9)))  # a report for somebody else
        assert other.ended.wait(10) and other.code == grpc.StatusCode.INVALID_ARGUMENT
        flood = AgentStream(grpc, channel, h.machine_token)
        for _ in range(3000):
            flood.hello("node-3")
        assert flood.ended.wait(20) and flood.code == grpc.StatusCode.RESOURCE_EXHAUSTED
        second.close()
        wait_for("the node to be gone", lambda: not node("node-1")["connected"])
