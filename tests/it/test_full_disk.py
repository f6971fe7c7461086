"""A full and a read-only disk, for real: a small tmpfs. Needs the right to mount; skipped without it."""
import subprocess

import pytest

from hcp_platform import BIN, Platform

JOB = {"type": "ai_inference_batch", "model": "m" * 200, "device_class": "H100"}


@pytest.fixture
def disk(tmp_path):
    """mount(options) puts a tmpfs at a folder of the test; it is gone afterwards."""
    where = tmp_path / "disk"
    where.mkdir()

    def mount(options):
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(where)], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"cannot mount a tmpfs: {done.stderr.strip()}")
        return where

    yield mount
    subprocess.run(["umount", str(where)], check=False, capture_output=True)


def degraded(platform, token):
    return [s["name"] for s in platform.call("GET", "/api/v1/status", token=token)[1]["services"] if s["state"] != "ok"]


def test_full_disk_refuses_clearly_and_recovers(program, disk):
    program("hcpd")
    p = Platform()
    p.state = disk("size=12m") / "state"
    p.state.mkdir()
    with p:
        p.hcpd()
        token = p.login()
        acknowledged = []
        refusals = []
        for _ in range(20000):
            status, reply = p.call("POST", "/api/v1/workloads", JOB, token=token)
            if status == 201:
                acknowledged.append(reply["id"])
            else:
                refusals.append((status, reply["code"]))
            if len(refusals) == 3:
                break
        assert refusals == [(503, "unavailable")] * 3 and acknowledged
        assert "orchestrator" in degraded(p, token)
        assert p.call("GET", f"/api/v1/workloads/{acknowledged[0]}", token=token)[0] == 200
        subprocess.run(["mount", "-o", "remount,size=64m", str(p.state.parent)], check=True)
        status, reply = p.wait("room again", 20, lambda: (lambda r: r if r[0] == 201 else None)(
            p.call("POST", "/api/v1/workloads", JOB, token=token)))
        acknowledged.append(reply["id"])
        p.wait("health again", 20, lambda: "orchestrator" not in degraded(p, token))
        p.kill(p.children[0][1])
        p.hcpd()
        token = p.login()
        missing = [i for i in acknowledged if p.call("GET", f"/api/v1/workloads/{i}", token=token)[0] != 200]
        assert not missing


def test_read_only_folder_is_named(program, disk):
    program("hcpd")
    where = disk("size=1m,ro")
    done = subprocess.run([str(BIN / "hcpd"), "--state", str(where / "state"), "--port", "0", "--mesh-port", "0"],
                          capture_output=True, text=True, timeout=20)
    assert done.returncode != 0
    assert "Read-only file system" in done.stderr and str(where) in done.stderr
