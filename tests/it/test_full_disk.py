"""A full and a read-only disk, for real: a small tmpfs. Needs the right to mount; skipped without it."""
import os
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


def test_base_copies_leave_the_room_that_commits_need(program, disk):
    program("hcpd")
    p = Platform()
    p.state = disk("size=64m") / "state"
    p.state.mkdir()
    with p:
        hcpd = p.hcpd()
        token = p.login()
        for _ in range(1000):
            assert p.call("POST", "/api/v1/workloads", JOB, token=token)[0] == 201
        p.kill(hcpd)
        # Room for as much as is there, and for no copy beside it.
        room = (p.state / "orchestrator.db").stat().st_size
        with open(p.state.parent / "filler", "wb") as f:
            disk_now = os.statvfs(p.state)
            os.posix_fallocate(f.fileno(), 0, disk_now.f_bavail * disk_now.f_frsize - room)
        p.hcpd("--base-kib", 16)
        token = p.login()
        assert p.call("POST", "/api/v1/workloads", JOB, token=token)[0] == 201
        p.wait("a refusal", 20, lambda: "no base copy: base the disk has" in p.log("hcpd"))
        assert p.call("POST", "/api/v1/workloads", JOB, token=token)[0] == 201
        assert not list((p.state / "bases" / "orchestrator").glob("*"))
        assert "orchestrator" not in degraded(p, token)


def test_read_only_folder_is_named(program, disk):
    program("hcpd")
    where = disk("size=1m,ro")
    done = subprocess.run([str(BIN / "hcpd"), "--state", str(where / "state"), "--port", "0", "--mesh-port", "0"],
                          capture_output=True, text=True, timeout=20)
    assert done.returncode != 0
    assert "Read-only file system" in done.stderr and str(where) in done.stderr
