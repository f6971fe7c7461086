"""Starts the real programs in a state folder of their own and talks to them; for tests and benches."""
import base64
import http.client
import json
import os
import re
import signal
import socket
import struct
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(os.environ.get("HCP_BUILD", ROOT / "build")) / "src/cmd"
MODEL = Path(os.environ.get("HCP_MODEL", ROOT / "var/models/all-MiniLM-L6-v2"))
START_S, STOP_S = 20, 15


class Platform:
    def __init__(self):
        self.dir = tempfile.TemporaryDirectory(prefix="hcp-run-")
        self.state = Path(self.dir.name)
        self.children = []  # (name, process) in the order of their start
        self.commands = {}  # process id -> (name, args), to start it again
        self.port = self.mesh = 0
        self.token = ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for _, child in reversed(self.children):
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
        for _, child in reversed(self.children):
            try:
                child.wait(STOP_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self.dir.cleanup()

    def start(self, name, *args):
        """A program of ours; its log goes to the state folder."""
        log = open(self.state / f"{args[0] if name == 'hcp-sim' else name}.log", "ab")
        child = subprocess.Popen([str(BIN / name), *map(str, args)], stdout=subprocess.PIPE, stderr=log, text=True)
        self.children.append((name, child))
        self.commands[child.pid] = (name, args)
        return child

    def kill(self, child):
        """kill -9, and wait until it is gone."""
        child.kill()
        child.wait()
        child.stdout.close()
        self.children = [(n, c) for n, c in self.children if c is not child]

    def again(self, child):
        """The same program with the same arguments, after kill."""
        name, args = self.commands.pop(child.pid)
        return self.hcpd() if name == "hcpd" else self.start(name, *args)

    def certs(self):
        """Makes what `hcp up` makes; to be called first. tls(name) are then the options of a program."""
        def make(*args):
            subprocess.run([str(BIN / "hcp"), "certs", *args, "--dir", self.state / "certs"], check=True, capture_output=True,
                           timeout=START_S)
        make("init")
        make("issue", "hcpd", "--role", "service")
        make("issue", "market", "--role", "feed")
        make("issue", "fleet", "--nodes", "texas-north-*")
        make("issue", "agent", "--nodes", "local-agent")

    def tls(self, name, kind="--tls"):
        c = self.state / "certs"
        return [f"{kind}-ca", c / "ca.crt", f"{kind}-cert", c / f"{name}.crt", f"{kind}-key", c / f"{name}.key"]

    def hcpd(self, *args):
        """Ports are chosen at the first start and kept, so that everyone finds it again."""
        child = self.start("hcpd", "--state", self.state, "--port", self.port, "--mesh-port", self.mesh, *args)
        line = child.stdout.readline()
        found = re.search(r"ready http://[\d.]+:(\d+)(?: mesh [\d.]+:(\d+))?", line)
        if not found:
            raise RuntimeError(f"hcpd did not start: {line!r} {self.log('hcpd')[-500:]}")
        self.port, self.mesh = (int(g or 0) for g in found.groups())
        self.token = (self.state / "machine.token").read_text().strip()
        return child

    def agent(self, pool, *args):
        return self.start("hcp-agent", "--mesh", f"127.0.0.1:{self.mesh}", "--token-file", self.state / "machine.token",
                          "--pool", f"127.0.0.1:{pool}", "--model", MODEL, "--state", self.state / "agent", *args)

    def log(self, name):
        path = self.state / f"{name}.log"
        return path.read_text() if path.exists() else ""

    def call(self, method, path, body=None, token=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            head = {"authorization": f"Bearer {token or self.token}", **(headers or {})}
            if body is not None:
                head["content-type"] = "application/json"
            connection.request(method, path, json.dumps(body) if body is not None else None, head)
            reply = connection.getresponse()
            text = reply.read()
        finally:
            connection.close()
        return reply.status, json.loads(text) if text else None

    def login(self, email="admin@mara.com", password="admin123"):
        status, reply = self.call("POST", "/api/v1/auth/login", {"email": email, "password": password}, token="none")
        if status != 200:
            raise RuntimeError(f"login: {status} {reply}")
        return reply["access_token"]

    def tick(self, values, sent_at_ns=0):
        """values: (symbol, location, value) rows of one instant."""
        now = time.time_ns()
        rows = [{"symbol": s, "location": l, "value": v, "observed_at_ns": now, "source": "bench",
                 "sent_at_ns": sent_at_ns or now} for s, l, v in values]
        return self.call("POST", "/api/v1/market/ticks", {"ticks": rows})

    def wait(self, what, seconds, probe):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            got = probe()
            if got:
                return got
            time.sleep(0.02)
        raise RuntimeError(f"waited {seconds} s for {what}")


class Live:
    """A WebSocket subscription with nothing but the standard library."""

    def __init__(self, platform, topics, token):
        self.sock = socket.create_connection(("127.0.0.1", platform.port), timeout=30)
        key = base64.b64encode(os.urandom(16)).decode()
        self.sock.sendall((f"GET /api/v1/ws?topics={topics}&token={token} HTTP/1.1\r\nhost: 127.0.0.1\r\n"
                           f"upgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-key: {key}\r\n"
                           "sec-websocket-version: 13\r\n\r\n").encode())
        self.buffer = b""
        while b"\r\n\r\n" not in self.buffer:
            self._more()
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        if b" 101 " not in head.split(b"\r\n")[0]:
            raise RuntimeError(f"websocket refused: {head[:200]!r}")

    def _more(self):
        got = self.sock.recv(1 << 16)
        if not got:
            raise RuntimeError("websocket closed")
        self.buffer += got

    def _take(self, n):
        while len(self.buffer) < n:
            self._more()
        taken, self.buffer = self.buffer[:n], self.buffer[n:]
        return taken

    def next(self):
        while True:
            first, second = self._take(2)
            n = second & 127
            if n == 126:
                n = struct.unpack(">H", self._take(2))[0]
            elif n == 127:
                n = struct.unpack(">Q", self._take(8))[0]
            payload = self._take(n)
            if first & 15 == 1:
                return json.loads(payload)
            if first & 15 == 9:
                self.sock.sendall(bytes([0x8A, 0x80 | n]) + b"\0\0\0\0" + payload)

    def close(self):
        self.sock.close()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def rss_mib(pid):
    """Resident memory that is this process's alone or shared in part (PSS), in MiB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0


def memory_mib(pids):
    """
    What these processes would hold with nobody else on the machine, in MiB: their own pages, and each part of a file
    that is mapped once, as much of it as the one of them that uses it most. (Proportional sets shrink while others
    run the same programs and libraries.)
    """
    own_kib, files = 0, {}
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
            words = line.split()
            if not words[0].endswith(":"):
                key = (" ".join(words[5:]), words[2]) if len(words) > 5 and words[5].startswith("/") else None
                rss = 0
            elif words[0] == "Rss:":
                rss = int(words[1])
            elif words[0] == "Pss:" and not key:
                own_kib += int(words[1])
            elif words[0] == "Anonymous:" and key:
                own_kib += int(words[1])
                files[key] = max(files.get(key, 0), rss - int(words[1]))
    return (own_kib + sum(files.values())) / 1024


def family(pid):
    """The process and its descendants."""
    found, queue = [], [pid]
    while queue:
        at = queue.pop()
        found.append(at)
        try:
            for task in Path(f"/proc/{at}/task").iterdir():
                queue += [int(c) for c in (task / "children").read_text().split()]
        except OSError:
            pass
    return found


def quantile(values, q):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]
