"""Shared by every Python test: where the build and the reference data are, and ports nobody else uses."""
import os
import signal
import socket
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Where tests run side by side, their runner claims a terminal of 80 columns; tables are for those who have one.
os.environ.pop("COLUMNS", None)

# A shell starts background jobs with SIGINT ignored, and programs inherit that; tests that interrupt one need it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def root():
    return ROOT


@pytest.fixture(scope="session")
def build(root):
    """The Meson build folder; tests that start programs find them below it."""
    return Path(os.environ.get("HCP_BUILD", root / "build"))


@pytest.fixture(scope="session")
def program(build):
    """program("hcpd") is the path of a built program; the test fails where it was not built."""
    def find(name):
        path = build / "src" / "cmd" / name
        if not path.exists():
            pytest.fail(f"{name} is not built in {build.name}/")
        return path
    return find


@pytest.fixture(scope="session")
def data():
    """Folder of the public market and fleet data; tests that need it are skipped without it."""
    path = Path(os.environ.get("HCP_DATA", ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"reference data is not in {path}")
    return path


@pytest.fixture
def free_port():
    """free_port() returns a loopback TCP port that was free a moment ago and differs from those given before."""
    given = set()

    def take():
        while True:
            with socket.socket() as s:
                s.bind(("127.0.0.1", 0))
                port = s.getsockname()[1]
            if port not in given:
                given.add(port)
                return port
    return take
