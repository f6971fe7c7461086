"""Fixtures that start hcpd."""
import pytest

from hcpd_process import Hcpd


@pytest.fixture
def start_hcpd(program, tmp_path):
    """start_hcpd("name", *args) starts a process; all are stopped at the end."""
    started = []

    def start(name="hcpd", *args, state=None):
        h = Hcpd(program("hcpd"), state or tmp_path / name, *args)
        started.append(h)
        return h.start()
    yield start
    for h in reversed(started):
        if h.process and h.process.poll() is None:
            h.stop()


@pytest.fixture(scope="module")
def hcpd(program, tmp_path_factory):
    """One process with every service, shared by the tests of a file."""
    h = Hcpd(program("hcpd"), tmp_path_factory.mktemp("hcpd")).start()
    yield h
    assert h.stop() == 0
