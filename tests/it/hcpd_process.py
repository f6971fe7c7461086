"""hcpd as the tests of this folder use it: the real program on free ports in a state folder of its own."""
import re
import signal
import subprocess
import time

import pytest
import requests

START_S, STOP_S = 20, 15
READY = re.compile(r"hcpd ready(?: (?P<url>https?://\S+))? mesh (?P<mesh>\S+)(?P<own>.*)")


class Hcpd:
    """One process. Ports are chosen at the first start and kept, so that clients find it again."""

    def __init__(self, program, state, *args):
        self.program, self.state, self.args = program, state, args
        self.url = self.mesh = ""
        self.own = {}  # service: address of its own port
        self.process = None
        self.tokens = {}
        state.mkdir(parents=True, exist_ok=True)

    def start(self):
        port = self.url.rsplit(":", 1)[1] if self.url else "0"
        mesh_port = self.mesh.rsplit(":", 1)[1] if self.mesh else "0"
        with open(self.state / "hcpd.log", "ab") as log:
            self.process = subprocess.Popen(
                [str(self.program), "--state", str(self.state), "--port", port, "--mesh-port", mesh_port, "--service-ports", "any",
                 *map(str, self.args)],
                stdout=subprocess.PIPE, stderr=log, text=True)
        found = READY.match(self.process.stdout.readline())
        if not found:
            self.process.wait(START_S)
            pytest.fail(f"hcpd did not start: {self.log()[-1000:]}")
        self.url, self.mesh = found["url"] or "", found["mesh"]
        self.own = dict(re.findall(r"(\w+) (https?://\S+)", found["own"]))
        return self

    def stop(self):
        """SIGTERM; the exit status."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                pytest.fail(f"hcpd did not stop in {STOP_S} s")
        self.process.stdout.close()
        return self.process.returncode

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def log(self):
        return (self.state / "hcpd.log").read_text()

    @property
    def machine_token(self):
        return (self.state / "machine.token").read_text().strip()

    def login(self, email="admin@mara.com", password="admin123"):
        if email not in self.tokens:
            reply = requests.post(f"{self.url}/api/v1/auth/login", json={"email": email, "password": password}, timeout=20)
            assert reply.status_code == 200, reply.text
            self.tokens[email] = reply.json()["access_token"]
        return self.tokens[email]

    def call(self, method, path, who="admin@mara.com", **kw):
        """A REST call as one of the first users; who=None: without credentials, "machine": with the machine token."""
        passwords = {"admin@mara.com": "admin123", "operator@mara.com": "operator123", "john@acme.com": "customer123",
                     "jane@globex.com": "customer123"}
        headers = kw.pop("headers", {})
        if who:
            token = self.machine_token if who == "machine" else self.login(who, passwords[who])
            headers = {"authorization": f"Bearer {token}", **headers}
        return requests.request(method, self.url + path, headers=headers, timeout=kw.pop("timeout", 40), **kw)


def wait_for(what, probe, seconds=10):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        got = probe()
        if got:
            return got
        time.sleep(0.02)
    pytest.fail(f"waited {seconds} s for {what}")
