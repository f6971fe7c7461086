"""`hcp up` with small scripts in place of the programs: order, restart, stop, lock, and nothing left behind."""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
HCP = pathlib.Path(os.environ.get("HCP_BUILD", ROOT / "build")).resolve() / "src" / "cmd" / "hcp"
LIMIT_S = 60

pytestmark = pytest.mark.skipif(not HCP.exists(), reason=f"{HCP} is not built")

# Records how it was started, then behaves as told by files in the directory of the scripts.
CHILD = """#!/bin/sh
here=$(dirname "$0")
echo "$(basename "$0") $$ $*" >> "$here/started"
echo "hello from $(basename "$0") $1"
trap 'echo "$(basename "$0") $1" >> "$here/stopped"; exit 0' TERM
[ -e "$here/stubborn-$1" ] && trap '' TERM INT
[ -e "$here/dies-$1" ] && { rm "$here/dies-$1"; exit 3; }
[ -e "$here/always-dies-$1" ] && { echo "sad story"; exit 4; }
sleep 1000 &
echo $! >> "$here/grandchildren"
while :; do wait; done
"""

# hcpd answers GET /health once the file "ready" exists.
HCPD = """#!%s
import http.server, os, pathlib, signal, sys
here = pathlib.Path(__file__).parent
with open(here / "started", "a") as f:
    f.write("hcpd %%d %%s\\n" %% (os.getpid(), " ".join(sys.argv[1:])))
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" and (here / "ready").exists() else 503)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *a):
        pass
def stop(*a):
    with open(here / "stopped", "a") as f:
        f.write("hcpd\\n")
    os._exit(0)
signal.signal(signal.SIGTERM, stop)
port = int(sys.argv[sys.argv.index("--port") + 1])
http.server.HTTPServer(("127.0.0.1", port), H).serve_forever()
""" % sys.executable


def wait_for(check, what):
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        found = check()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited in vain for {what}")


def is_alive(pid):
    try:
        # A zombie waiting for its parent has ended.
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Platform:
    def __init__(self, tmp_path):
        self.bin = tmp_path / "bin"
        self.state = tmp_path / "state"
        self.bin.mkdir()
        for name, text in (("hcpd", HCPD), ("hcp-sim", CHILD), ("hcp-agent", CHILD)):
            (self.bin / name).write_text(text)
            (self.bin / name).chmod(0o755)
        (self.bin / "ready").touch()
        with socket.socket() as a, socket.socket() as b, socket.socket() as c:
            for s in (a, b, c):
                s.bind(("127.0.0.1", 0))
            self.port, self.mesh, self.pool = (s.getsockname()[1] for s in (a, b, c))
        self.processes = []

    def up(self, *flags):
        env = {k: v for k, v in os.environ.items() if not k.startswith("HCP_")} | {"HCP_BIN_DIR": str(self.bin)}
        out = open(self.bin / f"out{len(self.processes)}", "w")
        err = open(self.bin / f"err{len(self.processes)}", "w")
        p = subprocess.Popen([HCP, "up", "--state", str(self.state), "--port", str(self.port), "--mesh-port", str(self.mesh),
                              "--pool-port", str(self.pool), "--devices", "small", *flags],
                             env=env, stdout=out, stderr=err, cwd=self.bin.parent)
        self.processes.append(p)
        return p

    def out(self, i=0):
        return (self.bin / f"out{i}").read_text()

    def err(self, i=0):
        return (self.bin / f"err{i}").read_text()

    def lines(self, name):
        f = self.bin / name
        return f.read_text().splitlines() if f.exists() else []

    def started(self):
        """name with first argument -> process ids, in order."""
        found = {}
        for line in self.lines("started"):
            program, pid, args = line.split(" ", 2)
            found.setdefault("hcpd" if program == "hcpd" else f"{program} {args.split()[0]}", []).append(int(pid))
        return found

    def wait_up(self):
        wait_for(lambda: "HCP is up" in self.out() or self.processes[0].poll() is not None, "the summary")
        assert "HCP is up" in self.out(), self.err()
        wait_for(lambda: len(self.lines("grandchildren")) >= 4, "all children")

    def wait_gone(self):
        """`up` has waited for its children; what those had started got the same signal, and the kernel takes its time."""
        wait_for(lambda: not [pid for pid in self.all_pids() if is_alive(pid)], "the end of the children's children")

    def all_pids(self):
        return [pid for pids in self.started().values() for pid in pids] + [int(p) for p in self.lines("grandchildren")]

    def close(self):
        for p in self.processes:
            if p.poll() is None:
                p.kill()
                p.wait(LIMIT_S)
        for pid in self.all_pids():
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def platform(tmp_path):
    p = Platform(tmp_path)
    yield p
    p.close()


def test_starts_in_order_tells_and_stops_in_reverse(platform):
    (platform.bin / "ready").unlink()
    p = platform.up("--speed", "5", "--data", str(platform.bin))
    wait_for(lambda: "hcpd" in platform.started(), "hcpd")
    time.sleep(0.5)
    assert list(platform.started()) == ["hcpd"]  # the others wait for its health
    (platform.bin / "ready").touch()
    platform.wait_up()
    started = {line.split(" ", 2)[0] + " " + line.split(" ", 2)[2].split()[0]: line.split(" ", 2)[2]
               for line in platform.lines("started")}
    state = str(platform.state)
    assert started["hcpd --state"].startswith(f"--state {state} --port {platform.port} --mesh-port {platform.mesh} --web /")
    def tls(name):
        certs = f"{state}/certs"
        return f"--tls-ca {certs}/ca.crt --tls-cert {certs}/{name}.crt --tls-key {certs}/{name}.key"
    assert tls("hcpd").replace("--tls", "--mesh") in started["hcpd --state"]
    assert started["hcp-sim market"] == (f"market --mesh 127.0.0.1:{platform.mesh} --token-file {state}/machine.token {tls('market')} "
                                         f"--data {platform.bin} --from 2024-08-01 --speed 5")
    assert tls("fleet") in started["hcp-sim fleet"] and tls("agent") in started["hcp-agent --mesh"]
    assert started["hcp-sim fleet"].endswith("--seed 1 --small")
    assert started["hcp-sim pool"] == f"pool --port {platform.pool}"
    assert f"--pool 127.0.0.1:{platform.pool} --model /" in started["hcp-agent --mesh"]
    assert started["hcp-agent --mesh"].endswith(f" --state {state}/agent")
    assert f"--email jane@globex.com --password-file {state}/demand.password" in started["hcp-sim demand"]
    out = platform.out()
    assert f"http://127.0.0.1:{platform.port}/api/v1" in out and f"ws://127.0.0.1:{platform.port}/api/v1/ws" in out and state in out
    assert "hello from hcp-sim pool" in (platform.state / "log" / "pool.log").read_text()
    wait_for(lambda: len(platform.lines("grandchildren")) == 5, "all five, each with its trap set")
    p.send_signal(signal.SIGINT)
    assert p.wait(LIMIT_S) == 0
    assert platform.lines("stopped") == ["hcp-agent --mesh", "hcp-sim demand", "hcp-sim fleet", "hcp-sim market",
                                         "hcp-sim pool", "hcpd"]
    platform.wait_gone()


def test_simulated_market_and_no_sim(platform):
    p = platform.up("--no-sim")
    wait_for(lambda: "HCP is up" in platform.out(), "the summary")
    assert list(platform.started()) == ["hcpd"]
    p.terminate()
    assert p.wait(LIMIT_S) == 0


def test_a_dead_child_comes_back(platform):
    (platform.bin / "dies-fleet").touch()
    p = platform.up()
    platform.wait_up()
    wait_for(lambda: len(platform.started().get("hcp-sim fleet", [])) == 2, "the restart")
    assert "fleet died (exit status 3)" in platform.err()
    first = platform.started()["hcp-agent --mesh"][0]
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: len(platform.started()["hcp-agent --mesh"]) == 2, "the agent's restart")
    wait_for(lambda: "restart 1" in platform.err(), "the word of it")
    assert "agent died (signal 9)" in platform.err()
    p.terminate()
    assert p.wait(LIMIT_S) == 0
    platform.wait_gone()


def test_pauses_grow_and_the_log_is_shown(platform):
    (platform.bin / "always-dies-pool").touch()
    p = platform.up()
    wait_for(lambda: platform.err().count("pool died") >= 3, "three deaths")
    pauses = [float(x) for x in re.findall(r"pool died \(exit status 4\); again in ([0-9.]+) s", platform.err())]
    assert pauses[:3] == [0.5, 1.0, 2.0] and "sad story" in platform.err()
    p.terminate()
    assert p.wait(LIMIT_S) == 0


def test_stubborn_child_is_killed_after_its_grace(platform):
    (platform.bin / "stubborn-pool").touch()
    p = platform.up("--grace", "1")
    platform.wait_up()
    p.send_signal(signal.SIGINT)
    assert p.wait(LIMIT_S) == 0
    assert "pool does not end; killing it" in platform.err()
    assert platform.lines("stopped")[-1] == "hcpd"
    platform.wait_gone()


def test_second_ctrl_c_ends_the_patience(platform):
    (platform.bin / "stubborn-fleet").touch()
    p = platform.up("--grace", "600")
    platform.wait_up()
    p.send_signal(signal.SIGINT)
    wait_for(lambda: "stopping fleet" in platform.err(), "the stop")
    p.send_signal(signal.SIGINT)
    assert p.wait(LIMIT_S) == 0
    platform.wait_gone()


def test_nothing_survives_a_killed_supervisor(platform):
    p = platform.up()
    platform.wait_up()
    children = [pid for pids in platform.started().values() for pid in pids]
    p.kill()
    p.wait(LIMIT_S)
    wait_for(lambda: not [pid for pid in children if is_alive(pid)], "the kernel to kill the children")


def test_second_up_is_refused(platform):
    p = platform.up()
    platform.wait_up()
    second = platform.up()
    assert second.wait(LIMIT_S) == 1
    assert f"process {p.pid}" in platform.err(1) and platform.out(1) == ""
    assert p.poll() is None
    p.terminate()
    assert p.wait(LIMIT_S) == 0
    third = platform.up("--no-sim")
    wait_for(lambda: "HCP is up" in platform.out(2), "the third")
    third.terminate()
    assert third.wait(LIMIT_S) == 0


@pytest.mark.parametrize("which,flag", (("port", "--port"), ("mesh", "--mesh-port"), ("pool", "--pool-port")))
def test_a_taken_port_is_named_and_nothing_starts(platform, which, flag):
    with socket.socket() as s:
        s.bind(("127.0.0.1", getattr(platform, which)))
        s.listen()
        assert platform.up().wait(LIMIT_S) == 1
    assert f"port {getattr(platform, which)} is in use" in platform.err() and flag in platform.err()
    assert not platform.started()


def test_logs_are_turned_over_at_start(platform):
    for _ in range(2):
        p = platform.up("--no-sim")
        i = len(platform.processes) - 1
        wait_for(lambda: "HCP is up" in platform.out(i), "the summary")
        p.terminate()
        assert p.wait(LIMIT_S) == 0
    assert sorted(f.name for f in (platform.state / "log").iterdir()) == ["hcpd.log", "hcpd.log.1"]


def test_logins_come_from_the_file(platform):
    platform.state.mkdir()
    (platform.state / "logins.txt").write_text("admin@example.com  first-password\x1b[2J\n")
    p = platform.up("--no-sim")
    wait_for(lambda: "HCP is up" in platform.out(), "the summary")
    assert "admin@example.com  first-password?[2J" in platform.out()
    p.terminate()
    assert p.wait(LIMIT_S) == 0


def test_missing_program_and_bad_flags(platform):
    (platform.bin / "hcp-agent").unlink()
    assert platform.up().wait(LIMIT_S) == 1
    assert "hcp-agent" in platform.err(0) and not platform.started()
    assert platform.up("--data", "/nowhere").wait(LIMIT_S) == 2
    assert platform.up("--port", "0").wait(LIMIT_S) == 2


def test_ctrl_c_while_waiting_for_hcpd(platform):
    (platform.bin / "ready").unlink()
    p = platform.up()
    wait_for(lambda: "hcpd" in platform.started(), "hcpd")
    p.send_signal(signal.SIGINT)
    assert p.wait(LIMIT_S) == 0
    assert platform.out() == ""
    platform.wait_gone()


def test_a_log_that_grew_too_large_is_turned_over(platform):
    p = platform.up()
    platform.wait_up()
    log = platform.state / "log" / "hcpd.log"
    os.truncate(log, 65 << 20)  # sparse
    os.kill(platform.started()["hcp-sim pool"][0], signal.SIGKILL)  # wakes the supervisor
    wait_for(lambda: log.stat().st_size == 0, "the log to be emptied")
    assert (platform.state / "log" / "hcpd.log.1").stat().st_size == 65 << 20
    p.terminate()
    assert p.wait(LIMIT_S) == 0


def listed(platform):
    run = subprocess.run([HCP, "certs", "list", "--dir", platform.state / "certs", "-o", "json"], capture_output=True, text=True,
                         timeout=LIMIT_S)
    return {c["name"]: c for c in json.loads(run.stdout)}


def up_and_down(platform):
    p = platform.up("--no-sim")
    i = len(platform.processes) - 1
    wait_for(lambda: "HCP is up" in platform.out(i) or p.poll() is not None, "the summary")
    p.terminate()
    return p.wait(LIMIT_S), platform.err(i)


def test_certificates_are_made_kept_and_renewed(platform):
    assert up_and_down(platform)[0] == 0
    first, folder = listed(platform), platform.state / "certs"
    assert {n: c["for"] for n, c in first.items()} == {"ca": "authority", "hcpd": "service", "market": "feed",
                                                       "fleet": "node texas-north-*", "agent": "node local-agent"}
    assert all((folder / f"{n}.key").stat().st_mode & 0o777 == 0o600 for n in first)
    # The next start takes them as they are, but for the agent's, whose id has become another.
    (platform.state / "agent").mkdir()
    (platform.state / "agent" / "node-id").write_text("node-of-old\n")
    before = {n: (folder / f"{n}.crt").read_bytes() for n in first}
    assert up_and_down(platform)[0] == 0
    changed = {n for n in first if (folder / f"{n}.crt").read_bytes() != before[n]}
    assert changed == {"agent"} and listed(platform)["agent"]["for"] == "node node-of-old"
    # Without the authority's key what is there is used, and what is not there is named.
    (folder / "ca.key").unlink()
    assert up_and_down(platform)[0] == 0
    (folder / "fleet.key").unlink()
    status, said = up_and_down(platform)
    assert status == 1 and "fleet.crt is missing, and so is ca.key" in said
