"""A running platform for the browser: hcpd with the built portal, a small simulated site and a market."""
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


@pytest.fixture
def short_lived(program):
    """A platform whose bearer tokens last three seconds."""
    program("hcpd")
    if not (PORTAL / "index.html").exists():
        pytest.fail("the portal is not built: run `make web`")
    with Platform() as p:
        p.hcpd("--web", PORTAL, "--token-life", 3)
        yield p
