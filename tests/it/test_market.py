"""hcpd --market: every kind of source against a server that answers in its documented shape, and with its faults."""
import json
import subprocess
import time
from datetime import datetime, timedelta, timezone

import pytest

from hcpd_process import wait_for
from market_servers import (Ercot, Live, Web, aws_signature_ok, azure_item, binance_trade, certificates, coinbase_ticker,
                            reply, spot_history)

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def web():
    server = Web()
    yield server
    server.stop()


@pytest.fixture
def live():
    server = Live()
    yield server
    server.stop()


@pytest.fixture
def market(start_hcpd, tmp_path):
    """market(source, …) starts hcpd with these sources; they are JSON, which is YAML."""
    started = []

    def start(*sources, name="hcpd", **top):
        path = tmp_path / f"{name}.yaml"
        path.write_text(json.dumps({**top, "sources": list(sources)}))
        started.append(start_hcpd(name, "--market", path))
        return started[-1]
    yield start
    for h in started:
        if h.process.poll() is None:
            assert h.stop() == 0, h.log()[-3000:]


def prices(hcpd):
    got = hcpd.call("GET", "/api/v1/prices").json()
    got["by"] = {(p["symbol"], p.get("location", "")): p for p in got.get("prices", []) if p.get("observed_at_ns")}
    got["source"] = {s["name"]: s for s in got.get("sources", [])}
    return got


def wait_price(hcpd, symbol, value, location="", source=None, seconds=20):
    def probe():
        p = prices(hcpd)["by"].get((symbol, location))
        return p if p and abs(p.get("value", 0) - value) < 1e-9 * max(1, abs(value)) and \
            (source is None or p["source"] == source) else None
    return wait_for(f"{symbol} = {value} of {source}", probe, seconds)


def wait_state(hcpd, name, *states, seconds=20):
    return wait_for(f"{name} is {states}", lambda: (s := prices(hcpd)["source"].get(name)) and s["state"] in states and s,
                    seconds)


def ws(server):
    return f"ws://127.0.0.1:{server.port}"


# ---- exchanges --------------------------------------------------------------------------------------------------------

def test_coinbase_websocket_subscribes_reconnects_and_falls_back(market, live, web):
    web.routes["/api/v3/ticker/price"] = reply({"symbol": "BTCUSDT", "price": "61000.00"})
    h = market({"name": "live", "kind": "coinbase-ws", "url": ws(live), "every": "100ms", "stale": "2s", "stall": "3s"},
               {"name": "polled", "kind": "binance-rest", "url": web.url, "priority": 2, "every": "1s"})
    wait_for("a subscription", lambda: live.heard)
    assert live.heard[0] == {"type": "subscribe", "product_ids": ["BTC-USD"], "channels": ["ticker", "heartbeat"]}
    live.say({"type": "subscriptions", "channels": []})
    live.say({"type": "heartbeat", "sequence": 90, "product_id": "BTC-USD"})
    live.say(coinbase_ticker(1.0, "ETH-USD"))
    live.say(coinbase_ticker(60000))
    first = wait_price(h, "btc_usd", 60000, source="live")
    assert not first.get("fallback") and not first.get("stale")
    # Silence: the value grows old, the next one speaks and says why; then the connection is given up and made anew.
    second = wait_price(h, "btc_usd", 61000, source="polled")
    assert second["fallback"].startswith("live is ")
    wait_for("a second subscription", lambda: len(live.heard) >= 2)
    wait_for("its connection", lambda: live.say(coinbase_ticker(60100)))
    assert not wait_price(h, "btc_usd", 60100, source="live").get("fallback")
    log = h.log()
    assert "falls back to polled" in log and "silent for 3 s" in log and "live speaks" in log


def test_coinbase_websocket_survives_garbage_and_drops(market, live):
    h = market({"name": "live", "kind": "coinbase-ws", "url": ws(live), "every": "100ms"})
    wait_for("a subscription", lambda: live.heard)
    live.say("{not json")
    wait_for("a new connection", lambda: len(live.heard) >= 2)
    wait_for("its connection", lambda: live.say({"type": "error", "message": "Failed to subscribe", "reason": "no"}))
    wait_for("another", lambda: len(live.heard) >= 3)
    live.drop()
    wait_for("yet another", lambda: len(live.heard) >= 4)
    wait_for("its connection", lambda: live.say(coinbase_ticker(50000)))
    wait_price(h, "btc_usd", 50000)
    assert "the server says: Failed to subscribe" in h.log() or prices(h)["source"]["live"]["failures"] >= 3


@pytest.mark.parametrize("unit", [1000, 1000000])
def test_binance_websocket(market, live, unit):
    h = market({"name": "b", "kind": "binance-ws", "url": ws(live) + "/ws", "every": "100ms"})
    wait_for("a connection", lambda: live.paths)
    assert live.paths[0] == "/ws/btcusdt@trade"
    live.say(binance_trade(70000.5, unit=unit))
    wait_price(h, "btc_usd", 70000.5)
    live.say({"stream": "btcusdt@trade", "data": binance_trade(70001, unit=unit)})
    wait_price(h, "btc_usd", 70001)
    live.say({"e": "serverShutdown", "E": int(time.time() * 1000)})
    wait_for("a new connection", lambda: len(live.paths) >= 2)


def test_an_outlier_is_held_back_until_three_agree(market, live):
    h = market({"name": "b", "kind": "binance-ws", "url": ws(live), "every": "100ms", "max_jump": 1.2})
    wait_for("a connection", lambda: live.say(binance_trade(50000)))
    wait_price(h, "btc_usd", 50000)
    live.say(binance_trade(99999))
    wait_for("the refusal", lambda: "too far" in prices(h)["source"]["b"].get("problem", ""))
    time.sleep(0.3)
    live.say(binance_trade(50010))
    wait_price(h, "btc_usd", 50010)


def test_coinbase_rest_and_a_stale_answer(market, web):
    old = datetime.now(timezone.utc) - timedelta(hours=1)
    web.routes["/products/BTC-USD/ticker"] = reply({"price": "59000", "time": old.isoformat().replace("+00:00", "Z")})
    h = market({"name": "c", "kind": "coinbase-rest", "url": web.url, "every": "1s"})
    wait_state(h, "c", "stale")
    assert ("btc_usd", "") not in prices(h)["by"]
    now = datetime.now(timezone.utc).isoformat().replace("+00:00", "Z")
    web.routes["/products/BTC-USD/ticker"] = reply({"ask": "1", "bid": "1", "price": "59001.5", "time": now})
    wait_price(h, "btc_usd", 59001.5, source="c")
    assert web.requests[0][3].get("user-agent", "").startswith("hcpd/")


def test_binance_rest_does_not_take_another_symbol(market, web):
    web.routes["/api/v3/ticker/price"] = reply({"symbol": "ETHUSDT", "price": "4000"})
    h = market({"name": "b", "kind": "binance-rest", "url": web.url, "every": "1s"})
    assert "ETHUSDT" in wait_state(h, "b", "failing", "open")["problem"]
    web.routes["/api/v3/ticker/price"] = reply(only_price())
    wait_price(h, "btc_usd", 60000)
    assert "symbol=BTCUSDT" in web.requests[0][2]


# ---- faults of any polled source --------------------------------------------------------------------------------------

def only_price(value=60000):
    return {"symbol": "BTCUSDT", "price": f"{value}"}


FAULTS = {
    "server error": reply({"code": 1}, 500),
    "unavailable": reply({}, 503),
    "garbage": reply(b"<html>maintenance</html>"),
    "wrong type": reply({"usd": {"a": 1}}),
    "missing": reply({"eur": 1}),
    "not a number": reply({"usd": "nan"}),
    "out of bounds": reply({"usd": 10000}),
    "huge": reply(b'"' + b"a" * 100000 + b'"'),
    "empty": reply(b""),
    "cut": lambda request: (200, {}, None),
    "truncated": lambda request: (200, {"content-length": "500"}, b'{"usd":1'),
    "slow": lambda request: (time.sleep(4), (200, {}, b'{"usd":50}'))[1],
    "redirect": reply(b"", 302, location="http://127.0.0.1:1/"),
}


def test_faults_let_the_next_source_speak_and_are_healed(market, web):
    """Each fault at a settlement point of its own, all at once."""
    web.routes["/second"] = reply({"usd": 60})
    sources = []
    for i, fault in enumerate(FAULTS.values()):
        web.routes[f"/{i}"] = fault
        both = {"kind": "json", "symbol": "electricity_rt", "location": f"P{i}", "path": "/usd", "every": "1s", "stale": "5s"}
        sources += [{"name": f"first{i}", "url": f"{web.url}/{i}", "deadline": "2s", "max_bytes": 65536, **both},
                    {"name": f"second{i}", "url": web.url + "/second", "priority": 2, **both}]
    h = market(*sources)
    for i, name in enumerate(FAULTS):
        wait_price(h, "electricity_rt", 60, f"P{i}", f"second{i}")
        first = wait_state(h, f"first{i}", "failing", "open")
        assert first["problem"] and first["failures"] >= 1, name
        wait_for(f"the reason of {name}", lambda: prices(h)["by"]["electricity_rt", f"P{i}"].get("fallback", "")
                 .startswith(f"first{i} is "))
    wait_for("the status", lambda: prices(h)["source"]["first0"]["problem"] == "HTTP status 500")
    for i in range(len(FAULTS)):
        web.routes[f"/{i}"] = reply({"usd": 50 + i})
    for i in range(len(FAULTS)):
        healed = wait_price(h, "electricity_rt", 50 + i, f"P{i}", f"first{i}", 45)
        assert not healed.get("fallback")


def test_a_limit_is_obeyed(market, web):
    path = "/api/v3/ticker/price"
    web.routes[path] = [reply({}, 429, retry_after="3"), reply(only_price())]
    h = market({"name": "b", "kind": "binance-rest", "url": web.url, "every": "1s"})
    wait_state(h, "b", "limited")
    wait_price(h, "btc_usd", 60000)
    first, second = web.sent(path)[:2]
    assert second[0] - first[0] >= 3


def test_the_circuit_opens_and_tries_again(market, web):
    path = "/api/v3/ticker/price"
    web.routes[path] = reply({}, 500)
    h = market({"name": "b", "kind": "binance-rest", "url": web.url, "every": "1s"})
    wait_state(h, "b", "open")
    asked = web.count(path)
    assert asked <= 6
    time.sleep(3)
    assert web.count(path) == asked


def test_an_unchanged_answer_is_asked_for_by_its_tag(market, web):
    def tagged(request):
        if request.headers.get("if-none-match") == '"v1"':
            return 304, {"etag": '"v1"'}, b""
        return 200, {"etag": '"v1"'}, b"901234"
    web.routes["/api/blocks/tip/height"] = tagged
    h = market({"name": "tip", "kind": "mempool-height", "url": web.url, "every": "1s"})
    first = wait_price(h, "block_height", 901234)
    later = wait_for("a confirmation", lambda: (p := prices(h)["by"]["block_height", ""])
                     and int(p["observed_at_ns"]) > int(first["observed_at_ns"]) + 10**9 and p)
    assert later["value"] == 901234 and not later.get("stale")


# ---- the Bitcoin network ----------------------------------------------------------------------------------------------

def test_mempool(market, web):
    web.routes["/api/v1/mining/hashrate/3d"] = reply({
        "hashrates": [{"timestamp": 1, "avgHashrate": 7e20}], "difficulty": [{"time": 1, "height": 2, "difficulty": 3}],
        "currentHashrate": 7.1e20, "currentDifficulty": 110568428300952.69})
    web.routes["/api/v1/mining/blocks/fees/24h"] = reply(
        [{"avgHeight": 1 + i, "timestamp": 5, "avgFees": f, "USD": 60000} for i, f in enumerate((1000000, 3000000))])
    web.routes["/api/blocks/tip/height"] = reply(b"901235\n")
    h = market(*({"name": k, "kind": f"mempool-{k}", "url": web.url + "/"} for k in ("difficulty", "fees", "height")))
    wait_price(h, "difficulty", 110568428300952.69)
    wait_price(h, "block_fees_btc", 0.02)
    wait_price(h, "block_height", 901235)


# ---- ERCOT ------------------------------------------------------------------------------------------------------------

@pytest.fixture
def ercot(web, tmp_path):
    (tmp_path / "ercot").write_text("# account\nusername = someone@example.com\npassword = p%w&=+ ord\n"
                                    "subscription_key = the-key\n")
    e = Ercot(web)
    e.common = {"url": web.url + "/api", "token_url": web.url + "/token", "credentials": str(tmp_path / "ercot")}
    return e


def test_ercot_real_time_and_day_ahead(market, web, ercot):
    ercot.pages = 3
    h = market({"name": "rt", "kind": "ercot-rt", "location": "HB_WEST", "every": "2s", **ercot.common},
               {"name": "da", "kind": "ercot-dam", "location": "HB_WEST", "every": "2s", **ercot.common})
    now = datetime.now(timezone.utc)
    rt = wait_price(h, "electricity_rt", 31.5, "HB_WEST", "rt")
    assert abs(int(rt["observed_at_ns"]) / 1e9 - now.replace(minute=now.minute // 15 * 15, second=0).timestamp()) < 910
    wait_price(h, "electricity_da", 42.0, "HB_WEST", "da")
    points = h.call("GET", "/api/v1/prices/history?symbol=electricity_rt&location=HB_WEST").json()["points"]
    assert len(points) == 1 and int(points[0]["at_ns"]) % (900 * 10**9) == 0
    hours = h.call("GET", "/api/v1/prices/history?symbol=electricity_da&location=HB_WEST").json()["points"]
    assert len(hours) == 18  # this hour and what comes; nothing of what is over
    assert ercot.issued == 1, "one login for both"
    asked = web.sent(Ercot.RT)[0][2]
    assert "settlementPoint=HB_WEST" in asked and "deliveryDateFrom=20" in asked and "page=1" in asked
    log = h.log()
    for secret in ("the-key", "p%w", "someone@", "eyJ."):
        assert secret not in log


def test_ercot_token_ends(market, web, ercot):
    ercot.life = "2"
    h = market({"name": "rt", "kind": "ercot-rt", "location": "HB_WEST", "every": "1s", **ercot.common})
    wait_price(h, "electricity_rt", 31.5, "HB_WEST")
    wait_for("a new login before the token ends", lambda: ercot.issued >= 3)
    assert prices(h)["source"]["rt"].get("failures", 0) == 0
    # Ended early, on the server: one more login, no failure.
    ercot.life = 3600
    wait_for("a long token", lambda: ercot.issued >= 4 or ercot.life == 3600)
    issued = ercot.issued
    ercot.tokens = set()
    wait_for("a new login after a refusal", lambda: ercot.issued > issued)
    ercot.price = 77.0
    wait_price(h, "electricity_rt", 77.0, "HB_WEST")
    assert prices(h)["source"]["rt"].get("failures", 0) == 0


def test_ercot_wrong_password(market, web, ercot, tmp_path):
    (tmp_path / "ercot").write_text("username = someone@example.com\npassword = wrong\nsubscription_key = the-key\n")
    h = market({"name": "rt", "kind": "ercot-rt", "location": "HB_WEST", "every": "1s", **ercot.common})
    assert "login: HTTP status 400" in wait_state(h, "rt", "failing", "open")["problem"]
    assert "wrong" not in h.log()


# ---- GPU rates --------------------------------------------------------------------------------------------------------

def test_aws_spot(market, web, tmp_path):
    secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
    (tmp_path / "aws").write_text("[default]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = " + secret +
                                  "\naws_session_token = a/b+c==\n")
    signed = []

    def answer(request):
        signed.append(aws_signature_ok(request, secret, "us-east-1"))
        if not signed[-1]:
            return 401, {}, b"<Response><Errors><Error><Code>AuthFailure</Code></Error></Errors></Response>"
        assert request.form["Action"] == "DescribeSpotPriceHistory" and request.form["InstanceType.1"] == "p5.48xlarge"
        if "NextToken" not in request.form:
            return 200, {}, spot_history([("p5.48xlarge", "Linux/UNIX", "16.0", "us-east-1a"),
                                          ("p5.48xlarge", "Windows", "99.0", "us-east-1a"),
                                          ("p4d.24xlarge", "Linux/UNIX", "88.0", "us-east-1a")], "page+2/&amp;=")
        assert request.form["NextToken"] == "page+2/&="
        return 200, {}, spot_history([("p5.48xlarge", "Linux/UNIX", "24.0", "us-east-1b"),
                                      ("p5.48xlarge", "Linux/UNIX", "20.0", "us-east-1c")])
    web.routes["/"] = answer
    h = market({"name": "aws", "kind": "aws-spot", "url": web.url, "location": "H100", "region": "us-east-1",
                "instance": "p5.48xlarge", "credentials": str(tmp_path / "aws")})
    wait_price(h, "gpu_rate", 2.5, "H100", "aws")
    assert signed and all(signed)
    assert secret not in h.log()


def test_azure_retail(market, web):
    def answer(request):
        if "$skip" in request.query:
            return 200, {}, json.dumps({"Items": [azure_item(20.0)], "NextPageLink": None}).encode()
        assert "armSkuName eq 'Standard_ND96isr_H100_v5'" in request.query["$filter"]
        return 200, {}, json.dumps({
            "Items": [azure_item(98.0, sku="ND96isr H100 v5"), azure_item(10.0, sku="ND96isr H100 v5 Low Priority"),
                      azure_item(40.0, product="Virtual Machines NDsr H100 v5 Series Windows"),
                      azure_item(1.0, type="Reservation")],
            "NextPageLink": web.url + "/api/retail/prices?$filter=x eq 'y'&$skip=1000"}).encode()
    web.routes["/api/retail/prices"] = answer
    h = market({"name": "az", "kind": "azure-retail", "url": web.url + "/api/retail/prices", "location": "H100",
                "region": "eastus", "instance": "Standard_ND96isr_H100_v5", "spot": True})
    wait_price(h, "gpu_rate", 2.5, "H100", "az")


def test_azure_does_not_follow_a_link_elsewhere(market, web):
    web.routes["/p"] = reply({"Items": [azure_item(20.0)], "NextPageLink": "http://127.0.0.1:1/p"})
    h = market({"name": "az", "kind": "azure-retail", "url": web.url + "/p", "location": "H100", "region": "eastus",
                "instance": "Standard_ND96isr_H100_v5", "spot": True})
    assert "another server" in wait_state(h, "az", "failing", "open")["problem"]


# ---- any JSON ---------------------------------------------------------------------------------------------------------

def test_json_with_a_path_a_scale_and_a_key(market, web, tmp_path):
    (tmp_path / "key").write_text("value = s3cret\n")
    now = int(time.time())
    start = now // 900 * 900 - 900
    seen = []

    def answer(request):
        seen.append(request.headers.get("x-api-key"))
        return 200, {}, json.dumps({"rows": [{"usd_per_kwh": v, "start": start - 900 * (2 - i)}
                                             for i, v in enumerate((0.01, 0.02, 0.03))]}).encode()
    web.routes["/energy"] = answer
    web.routes["/gpu"] = reply({"offers": [{"usd": v, "a/b": {"~": 1}} for v in (3, 1, 2.5)]})
    h = market({"name": "meter", "kind": "json", "symbol": "electricity_rt", "location": "HOME", "url": web.url + "/energy",
                "path": "/rows/*/usd_per_kwh", "time_path": "/rows/*/start", "interval": "15m", "scale": 1000,
                "header": "x-api-key", "credentials": str(tmp_path / "key"), "stale": "1h"},
               {"name": "offers", "kind": "json", "symbol": "gpu_rate", "location": "A100", "url": web.url + "/gpu",
                "path": "/offers/*/usd", "pick": "median"})
    wait_price(h, "electricity_rt", 30, "HOME", "meter")
    wait_price(h, "gpu_rate", 2.5, "A100", "offers")
    assert seen[0] == "s3cret" and "s3cret" not in h.log()


# ---- TLS, settings, and what it is all for ------------------------------------------------------------------------------

def test_tls_is_verified(market, tmp_path):
    ca, context = certificates(tmp_path)
    web, live = Web(context), Live(context)
    web.routes["/api/blocks/tip/height"] = reply(b"800000")
    try:
        sources = ({"name": "tip", "kind": "mempool-height", "url": f"https://localhost:{web.port}"},
                   {"name": "live", "kind": "coinbase-ws", "url": f"wss://localhost:{live.port}", "every": "100ms"},
                   {"name": "wrong-name", "kind": "mempool-height", "url": f"https://127.0.0.1:{web.port}", "priority": 2})
        h = market(*sources, ca_file=str(ca))
        wait_price(h, "block_height", 800000, source="tip")
        wait_for("a connection", lambda: live.say(coinbase_ticker(60000)))
        wait_price(h, "btc_usd", 60000, source="live")
        assert wait_state(h, "wrong-name", "failing", "open")["problem"]
        assert h.stop() == 0
        unknown = market(*sources, name="unknown")  # the system's store does not know this CA
        for name in ("tip", "live"):
            assert "certificate" in wait_state(unknown, name, "failing", "open")["problem"]
        assert not prices(unknown)["by"]
    finally:
        web.stop()
        live.stop()


WRONG = {
    "sources:\n- name: a\n  kind: coinbase-ws\n  priority: abc\n": ("priority", "line 4"),
    "sources:\n- name: a\n  kind: coinbase-ws\n  every: 1s\n  evry: 1s\n": ("evry", "line 5"),
    "sources:\n- kind: coinbase-ws\n": ("name", "line 2"),
    "sources:\n- name: a\n  kind: none\n": ("sources[0].kind", "line 3"),
    "sources:\n- name: a\n  kind: coinbase-ws\n- name: b\n  kind: coinbase-ws\n  every: 5x\n": ("sources[1].every", "line 6"),
    "sources:\n- name: a\n  kind: coinbase-ws\n\n- name: a\n  kind: coinbase-ws\n": ("sources[1].name", "line 5"),
    "sources:\n- name: a\n  kind: aws-spot\n  location: H100\n": ("region", "required"),
    "sources:\n- name: a\n  kind: coinbase-ws\n  path: /x\n": ("path", "means nothing"),
    "sources:\n- name: a\n  kind: coinbase-ws\n  url: https://x\n": ("url", "wss://"),
    "sources:\n- name: a\n  kind: ercot-rt\n  location: HB_WEST\n  url: http://x.example\n  credentials: /x\n": ("url", "TLS"),
    "sources:\n- name: a\n  kind: json\n  symbol: btc_usd\n  url: http://x\n  path: x\n": ("path", "begin with '/'"),
    "sources:\n- name: a\n  kind: mempool-fees\n  min: 2\n  max: 1\n": ("max", "below"),
    "sources: {}\n": ("sources", "line 1"),
    "": ("--market", "no sources"),
    "sources: [\n": ("--market", "line"),
}


@pytest.mark.parametrize("text", WRONG)
def test_wrong_settings_name_file_line_and_field(program, tmp_path, text):
    path = tmp_path / "m.yaml"
    path.write_text(text)
    for args in (["--check-config"], ["--state", tmp_path / "s"]):
        done = subprocess.run([program("hcpd"), "--market", path, *args], capture_output=True, text=True, timeout=20)
        assert done.returncode != 0
        for word in (*WRONG[text], "m.yaml"):
            assert word in done.stderr, done.stderr
    assert not (tmp_path / "s" / "machine.token").exists(), "nothing is half done"


def test_the_example_is_right(program, tmp_path, root):
    text = (root / "deploy/market.example.yaml").read_text()
    for name in ("ercot", "energy", "aws"):
        (tmp_path / f"{name}.credentials").write_text("value = x\n")
    path = tmp_path / "m.yaml"
    path.write_text(text.replace("/etc/hcp", str(tmp_path)))
    done = subprocess.run([program("hcpd"), "--market", path, "--check-config"], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr


def test_live_sources_alone_drive_a_decision(market, start_hcpd, program, web, ercot, tmp_path):
    """hcpd with --market, and a fleet: no simulator of the market."""
    web.routes["/api/v3/ticker/price"] = reply(only_price(60000))
    web.routes["/api/v1/mining/hashrate/3d"] = reply({"currentDifficulty": 9e13})
    web.routes["/api/v1/mining/blocks/fees/24h"] = reply([{"avgFees": 2000000}])
    ercot.price = 20.0
    h = market({"name": "btc", "kind": "binance-rest", "url": web.url, "every": "1s"},
               {"name": "difficulty", "kind": "mempool-difficulty", "url": web.url},
               {"name": "fees", "kind": "mempool-fees", "url": web.url},
               {"name": "rt", "kind": "ercot-rt", "location": "HB_WEST", "every": "1s", **ercot.common})
    wait_price(h, "electricity_rt", 20.0, "HB_WEST")
    fleet = subprocess.Popen([program("hcp-sim"), "fleet", "--mesh", h.mesh, "--token-file", h.state / "machine.token",
                              "--spec", "S21:20"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        def decision():
            got = h.call("GET", "/api/v1/recommendation")
            return got.status_code == 200 and got.json().get("targets") and got.json()
        mining = wait_for("a decision to mine", lambda: (d := decision()) and sum(t.get("mine", 0) for t in d["targets"]) and d)
        assert any(p.get("source") == "rt" and p["value"] == 20 for p in mining["inputs"])
        ercot.price = 4000.0
        wait_for("a decision to curtail", lambda: (d := decision()) and
                 sum(t.get("idle", 0) for t in d["targets"]) == 20 and d, 40)
    finally:
        fleet.terminate()
        fleet.wait(15)
    assert h.stop() == 0
    replay = subprocess.run([program("hcpd"), "--replay", h.state, "--service", "optimizer"], capture_output=True, text=True,
                            timeout=60)
    assert replay.returncode == 0, replay.stdout + replay.stderr
