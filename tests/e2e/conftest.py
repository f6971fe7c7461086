"""A running platform for the browser: hcpd with the built portal, a small simulated site and a market."""
import time

import pytest

from hcp_platform import ROOT, Platform

PORTAL = ROOT / "web" / "dist"


@pytest.fixture(scope="session")
def hcp_url(program):
    program("hcpd")
    program("hcp-sim")
    if not (PORTAL / "index.html").exists():
        pytest.fail("the portal is not built: run `make web`")
    with Platform() as p:
        p.hcpd("--web", PORTAL)
        mesh, token = f"127.0.0.1:{p.mesh}", p.state / "machine.token"
        p.start("hcp-sim", "fleet", "--mesh", mesh, "--token-file", token, "--seed", 1, "--small")
        p.start("hcp-sim", "market", "--mesh", mesh, "--token-file", token, "--seed", 1, "--speed", 900)
        admin = p.login()
        p.wait("the first decision", 30, lambda: p.call("GET", "/api/v1/decisions?limit=1", token=admin)[1]["decisions"])
        yield f"http://127.0.0.1:{p.port}"


def past_ticks(days, end_ns):
    """Quarter-hourly prices of so many days before a moment, with a dear evening every third day, and the network's."""
    hour = 3600 * 10**9
    start = end_ns // hour * hour - days * 24 * hour

    def tick(symbol, value, start_ns, seconds, location=""):
        return {"symbol": symbol, "location": location, "value": value, "interval_start_ns": start_ns, "interval_s": seconds,
                "observed_at_ns": start_ns + seconds * 10**9, "source": "test"}

    for day in range(days):
        at = start + day * 24 * hour
        rows = [tick("difficulty", 9e13, at - 24 * hour, 86400)]
        for q in range(96):
            dear = day % 3 == 0 and 70 <= q < 78
            rows.append(tick("electricity_rt", 400.0 if dear else 25.0 + q % 10, at + q * hour // 4, 900, "HB_WEST"))
            if q % 4 == 3:
                rows.append(tick("btc_usd", 90000.0 + 10 * day, at + (q - 3) * hour // 4, 3600))
        yield sorted(rows, key=lambda r: r["observed_at_ns"])


@pytest.fixture(scope="session")
def with_a_past(program):
    """A platform that knows 40 days of prices, and whose market stands still."""
    program("hcpd")
    program("hcp-sim")
    if not (PORTAL / "index.html").exists():
        pytest.fail("the portal is not built: run `make web`")
    with Platform() as p:
        p.hcpd("--web", PORTAL)
        p.start("hcp-sim", "fleet", "--mesh", f"127.0.0.1:{p.mesh}", "--token-file", p.state / "machine.token", "--seed", 1, "--small")
        admin = p.login()
        p.wait("the fleet", 30, lambda: p.call("GET", "/api/v1/fleet", token=admin)[1].get("classes"))
        for rows in past_ticks(40, time.time_ns()):
            status, reply = p.call("POST", "/api/v1/market/ticks", {"ticks": rows}, token=admin)
            assert status == 200 and reply["accepted"] == len(rows), reply
        yield p


@pytest.fixture
def short_lived(program):
    """A platform whose bearer tokens last three seconds."""
    program("hcpd")
    if not (PORTAL / "index.html").exists():
        pytest.fail("the portal is not built: run `make web`")
    with Platform() as p:
        p.hcpd("--web", PORTAL, "--token-life", 3)
        yield p
