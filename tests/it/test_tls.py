"""TLS of the mesh: the real programs with certificates that `hcp certs` made, and everything that must not get in."""
import json
import os
import re
import socket
import ssl
import subprocess
import time

import pytest

from hcpd_process import Hcpd, wait_for

LIMIT_S = 20


def envelope(number):
    return bytes([1 << 3, number, 15 << 3 | 2, 9]) + b"optimizer"  # type and target


PRICES_GET, POLICY_GET = envelope(13), envelope(26)


class Site:
    """An authority, programs that show its certificates, and what they say."""

    def __init__(self, program, folder):
        self.program, self.folder, self.dir, self.children = program, folder, folder / "certs", []
        self.certs("init")
        for name, *args in (("hcpd", "--role", "service"), ("fleet", "--nodes", "texas-north-*"), ("market", "--role", "feed"),
                            ("gpu-01",)):
            self.certs("issue", name, *args)

    def certs(self, *args, dir=None, fails=False):
        run = subprocess.run([self.program("hcp"), "certs", *map(str, args), "--dir", dir or self.dir, "-o", "json"],
                             capture_output=True, text=True, timeout=LIMIT_S)
        assert (run.returncode != 0) == fails, (args, run.stderr)
        return run.stderr if fails else json.loads(run.stdout)

    def files(self, name, ca=None, dir=None):
        dir = dir or self.dir
        return ca or self.dir / "ca.crt", dir / f"{name}.crt", dir / f"{name}.key"

    def of_hcpd(self, name="hcpd", **kw):
        ca, cert, key = self.files(name, **kw)
        return ["--mesh-ca", ca, "--mesh-cert", cert, "--mesh-key", key]

    def of_client(self, name, **kw):
        ca, cert, key = self.files(name, **kw)
        return ["--tls-ca", ca, "--tls-cert", cert, "--tls-key", key]

    def start(self, name, *args, log=None):
        """A child with a log of its own; returns it, its log is child.said()."""
        path = self.folder / (log or f"{args[0]}-{len(self.children)}.log")
        with open(path, "wb") as out:
            child = subprocess.Popen([str(self.program(name)), *map(str, args)], stdout=subprocess.DEVNULL, stderr=out)
        child.said = path.read_text
        self.children.append(child)
        return child

    def fleet(self, h, *args, spec="S21:2", token=None):
        return self.start("hcp-sim", "fleet", "--mesh", h.mesh, "--token-file", token or h.state / "machine.token", "--spec", spec,
                          *args)

    def stop(self):
        for child in self.children:
            if child.poll() is None:
                child.terminate()
        for child in self.children:
            child.wait(LIMIT_S)

    def context(self, name, version=None):
        ca, cert, key = self.files(name)
        context = ssl.create_default_context(cafile=ca)
        context.load_cert_chain(cert, key)
        context.set_alpn_protocols(["h2"])
        if version:
            context.minimum_version = context.maximum_version = version
        return context

    def server_cert(self, h):
        """The certificate that hcpd shows, DER."""
        with connect(h) as plain, self.context("gpu-01").wrap_socket(plain, server_hostname="127.0.0.1") as s:
            return s.getpeercert(binary_form=True)


def connect(h):
    host, port = h.mesh.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=LIMIT_S)


def nodes(h):
    """The connected ones."""
    return {n["id"] for n in h.call("GET", "/api/v1/nodes").json().get("nodes", []) if n["connected"]}


@pytest.fixture
def site(program, tmp_path):
    s = Site(program, tmp_path)
    yield s
    s.stop()


@pytest.fixture
def secure(site, start_hcpd):
    return start_hcpd("hcpd", *site.of_hcpd())


def test_all_programs_over_mutual_tls(site, secure, program, tmp_path):
    h = secure
    fleet = site.fleet(h, *site.of_client("fleet"), spec="H100:8,S21:2")
    market = site.start("hcp-sim", "market", "--mesh", h.mesh, "--token-file", h.state / "machine.token", *site.of_client("market"))
    agent = site.start("hcp-agent", "--mesh", h.mesh, "--token-file", h.state / "machine.token", "--state", tmp_path / "agent",
                       "--pool", "127.0.0.1:1", "--threads", "1", *site.of_client("gpu-01"), log="agent.log")
    wanted = {"gpu-01", "texas-north-h100-001", "texas-north-s21-001"}
    wait_for("all nodes", lambda: wanted <= nodes(h), LIMIT_S)
    wait_for("prices", lambda: h.call("GET", "/api/v1/prices").json()["healthy"], LIMIT_S)
    assert (tmp_path / "agent" / "node-id").read_text() == "gpu-01"  # its name is the certificate's
    health = h.call("GET", "/health", None).json()
    assert health["status"] == "ok" and health["mesh"]["tls"] and health["mesh"]["certificate"] == "ok"
    # hcpd dies, and all are there again when it is.
    h.kill()
    wait_for("the loss to be told", lambda: "no control plane" in agent.said() and "the stream ended" in fleet.said(), LIMIT_S)
    h.start()
    wait_for("all nodes again", lambda: wanted <= nodes(h), LIMIT_S)
    assert [c.poll() for c in (fleet, market, agent)] == [None] * 3
    assert "refused" not in h.log()


def test_the_name_in_the_hello_is_the_certificate_s(site, secure, program, tmp_path):
    h = secure
    liar = site.fleet(h, "--node", "gpu-02", *site.of_client("gpu-01"))
    wait_for("the refusal", lambda: "the certificate is not for the node of this hello" in liar.said(), LIMIT_S)
    wait_for("the log", lambda: "calls itself node gpu-02, and its certificate is for node gpu-01: refused" in h.log())
    other = site.fleet(h, "--node", "north-dakota-1", *site.of_client("fleet"))
    wait_for("the refusal", lambda: "the certificate is not for the node of this hello" in other.said(), LIMIT_S)
    honest = site.fleet(h, "--node", "gpu-01", *site.of_client("gpu-01"))
    wait_for("the honest one", lambda: nodes(h) == {"gpu-01"}, LIMIT_S)
    assert "refused" not in honest.said()
    # The agent looks before it connects.
    (tmp_path / "a").mkdir()
    for args, word in ((["--node-id", "gpu-02"], "is for node gpu-01, and this is node gpu-02"),):
        run = subprocess.run([program("hcp-agent"), "--mesh", h.mesh, "--state", tmp_path / "a", "--pool", "127.0.0.1:1", *args,
                              *site.of_client("gpu-01")], capture_output=True, text=True, timeout=LIMIT_S)
        assert run.returncode == 2 and f"tls-cert: {word}" in run.stderr


def test_a_certificate_is_for_its_role(site, secure):
    h = secure
    token = ["--token-file", h.state / "machine.token"]
    fleet = site.fleet(h, *site.of_client("market"))
    wait_for("a feed is no node", lambda: "the certificate is not for this" in fleet.said(), LIMIT_S)
    market = site.start("hcp-sim", "market", "--mesh", h.mesh, *token, *site.of_client("gpu-01"))
    wait_for("a node is no feed", lambda: "the certificate is not for this" in market.said(), LIMIT_S)
    assert not h.call("GET", "/api/v1/prices").json()["healthy"] and nodes(h) == set()
    # The token is still asked for.
    wrong = site.folder / "wrong.token"
    wrong.write_text("0" * 64)
    guess = site.fleet(h, *site.of_client("fleet"), token=wrong)
    wait_for("the token", lambda: "the machine token is missing or wrong" in guess.said(), LIMIT_S)
    assert nodes(h) == set()


def test_calls_and_events_by_role(site, secure):
    grpc = pytest.importorskip("grpc")
    token = (("x-hcp-token", secure.machine_token),)

    def ask(name, path, body=b"", stream=False):
        ca, cert, key = (p.read_bytes() for p in site.files(name))
        with grpc.secure_channel(secure.mesh, grpc.ssl_channel_credentials(ca, key, cert)) as channel:
            with pytest.raises(grpc.RpcError) as e:
                call = channel.stream_stream(path)(iter([body]), metadata=token, timeout=5) if stream else None
                list(call) if stream else channel.unary_unary(path)(body, metadata=token, timeout=5)
            return e.value.code(), e.value.details()
    denied = grpc.StatusCode.PERMISSION_DENIED
    assert ask("gpu-01", "/hcp.v1.Mesh/Call")[0] == denied
    for name in ("gpu-01", "market"):
        assert ask(name, "/hcp.v1.Mesh/Events", stream=True)[0] == denied
    for name in ("hcpd", "market"):
        assert ask(name, "/hcp.v1.Agent/Connect", stream=True)[0] == denied
    # A feed's certificate is let in, and then only for ticks and prices.
    assert ask("market", "/hcp.v1.Mesh/Call", b"\xff")[0] == grpc.StatusCode.INVALID_ARGUMENT
    code, text = ask("market", "/hcp.v1.Mesh/Call", POLICY_GET)
    assert code == denied and "ticks" in text
    ca, cert, key = (p.read_bytes() for p in site.files("market"))
    with grpc.secure_channel(secure.mesh, grpc.ssl_channel_credentials(ca, key, cert)) as channel:
        assert channel.unary_unary("/hcp.v1.Mesh/Call")(PRICES_GET, metadata=token, timeout=5)[:2] == b"\x08\x0e"


def expired(site, name):
    """A certificate for a node that this authority signed once, and that is over."""
    run = lambda *a: subprocess.run(["openssl", *map(str, a)], check=True, capture_output=True, cwd=site.dir)
    (site.dir / "index.txt").touch()
    (site.dir / "old.cnf").write_text(
        "[ca]\ndefault_ca=site\n[site]\ndatabase=index.txt\nnew_certs_dir=.\nrand_serial=yes\ndefault_md=sha256\npolicy=any\n"
        f"x509_extensions=ext\n[any]\ncommonName=supplied\n[ext]\nsubjectAltName=URI:hcp:node/{name}\n"
        "extendedKeyUsage=clientAuth\n")
    run("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}", "-keyout", f"{name}.key",
        "-out", "old.csr")
    run("ca", "-batch", "-config", "old.cnf", "-cert", "ca.crt", "-keyfile", "ca.key", "-in", "old.csr", "-out", f"{name}.crt",
        "-notext", "-startdate", "20200101000000Z", "-enddate", "20200201000000Z")


def test_who_is_not_let_in(site, secure, tmp_path):
    h, stranger = secure, tmp_path / "stranger"
    site.certs("init", dir=stranger)
    site.certs("issue", "gpu-01", dir=stranger)
    expired(site, "gpu-03")
    # What the client is started with; what it must say; what hcpd must log.
    cases = {
        "plain": ([], "before it said a word: does it want TLS?", "the peer does not speak TLS"),
        "unknown authority": (site.of_client("gpu-01", dir=stranger), "the peer refuses our certificate: an authority that it does "
                              "not trust has signed it", "the certificate of 'gpu-01' is not taken: unable to get local issuer"),
        "untrusted hcpd": (site.of_client("gpu-01", ca=stranger / "ca.crt"), "the certificate of 'hcpd' is not taken: ",
                           "the peer refuses our certificate"),
        "expired": (site.of_client("gpu-03"), "the peer refuses our certificate: it has expired",
                    "the certificate of 'gpu-03' is not taken: certificate has expired"),
    }
    for name, (args, client, server) in cases.items():
        child = site.fleet(h, "--node", "gpu-01", *args)
        wait_for(f"{name}: client", lambda: client in child.said(), LIMIT_S)
        wait_for(f"{name}: hcpd", lambda: server in h.log(), LIMIT_S)
        child.terminate()
        child.wait(LIMIT_S)
    assert nodes(h) == set()
    # Without any certificate, and with a TLS that is too old.
    bare = ssl.create_default_context(cafile=site.dir / "ca.crt")
    with connect(h) as plain, pytest.raises(ssl.SSLError, match="(?i)certificate.required"):
        with bare.wrap_socket(plain, server_hostname="127.0.0.1") as s:
            s.recv(1)
    with connect(h) as plain, pytest.raises(ssl.SSLError, match="(?i)protocol.version"):
        site.context("gpu-01", ssl.TLSVersion.TLSv1_2).wrap_socket(plain, server_hostname="127.0.0.1")
    wait_for("the log", lambda: "TLS 1.3 is needed" in h.log() or re.search(r"more connections were refused", h.log()))


def test_hcpd_must_be_who_it_is_called(site, start_hcpd, program, tmp_path):
    site.certs("issue", "elsewhere", "--role", "service", "--hosts", "hcp.example.com")
    away = start_hcpd("away", *site.of_hcpd("elsewhere"))
    child = site.fleet(away, "--node", "gpu-01", *site.of_client("gpu-01"))
    wait_for("the name", lambda: "the certificate of 'elsewhere' is not taken: IP address mismatch" in child.said(), LIMIT_S)
    # A node's certificate cannot stand in for hcpd: hcpd itself does not take it, and nobody believes who shows it.
    run = subprocess.run([program("hcpd"), "--state", tmp_path / "posing", "--port", "0", "--mesh-port", "0",
                          *site.of_hcpd("gpu-01")], capture_output=True, text=True, timeout=LIMIT_S)
    assert run.returncode == 1 and "--mesh-cert: is for node gpu-01; a service's is needed" in run.stderr
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*site.files("gpu-01")[1:])
    with socket.create_server(("127.0.0.1", 0)) as server:
        child = site.start("hcp-sim", "fleet", "--mesh", f"127.0.0.1:{server.getsockname()[1]}", "--spec", "S21:1",
                           *site.of_client("gpu-01"))
        with server.accept()[0] as plain, pytest.raises(ssl.SSLError):
            context.wrap_socket(plain, server_side=True).recv(1)
        wait_for("the purpose", lambda: "the certificate of 'gpu-01' is not taken: unsuitable certificate purpose" in child.said(),
                 LIMIT_S)
    # TLS to a plain port.
    plain = start_hcpd("plain")
    child = site.fleet(plain, "--node", "gpu-01", *site.of_client("gpu-01"))
    wait_for("the plain port", lambda: "the peer does not speak TLS" in child.said(), LIMIT_S)
    assert plain.call("GET", "/health", None).json()["mesh"] == {"tls": False}


def test_services_apart_let_in_services_only(site, start_hcpd):
    site.certs("issue", "front", "--role", "service")
    back = start_hcpd("back", "--services", "orchestrator,router,resources,optimizer,billing,telemetry", *site.of_hcpd())
    peer = ["--services", "gateway,realtime,identity", "--peer", f"optimizer,resources={back.mesh}", "--token-file",
            back.state / "machine.token"]
    front = start_hcpd("front", *peer, *site.of_hcpd("front"))
    wait_for("the peer", lambda: front.call("GET", "/api/v1/nodes").status_code == 200, LIMIT_S)
    # One without certificates learns why it is alone.
    plain = start_hcpd("plain", *peer)
    wait_for("why", lambda: re.search(r"peer \S+ is away: .*does it want TLS", plain.log()), LIMIT_S)


def test_silence_hangs_nobody(site, secure):
    with socket.socket() as mute, connect(secure) as silent:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        child = site.start("hcp-sim", "fleet", "--mesh", f"127.0.0.1:{mute.getsockname()[1]}", "--spec", "S21:1",
                           *site.of_client("fleet"))
        assert silent.recv(1) == b""  # hcpd ends it: the socket's own limit is longer
        wait_for("both to be told", lambda: "the TLS handshake took too long" in child.said(), LIMIT_S)
        wait_for("both to be told", lambda: "the TLS handshake took too long" in secure.log(), LIMIT_S)


def test_renewed_files_are_taken_without_a_restart(site, secure):
    h = secure
    fleet = site.fleet(h, "--node", "gpu-01", *site.of_client("gpu-01"))
    wait_for("the node", lambda: nodes(h) == {"gpu-01"}, LIMIT_S)
    first = site.server_cert(h)
    site.certs("renew", "hcpd")
    second = site.server_cert(h)
    assert first != second and "changed certificate files are taken" in h.log()
    assert fleet.poll() is None and nodes(h) == {"gpu-01"} and "ended" not in fleet.said()  # what stands stays
    # A key without its certificate: the pair before stays, until the certificate is there, too.
    pair = {end: (site.dir / f"hcpd.{end}").read_bytes() for end in ("crt", "key")}
    site.certs("renew", "hcpd")
    new = {end: (site.dir / f"hcpd.{end}").read_bytes() for end in ("crt", "key")}
    (site.dir / "hcpd.crt").write_bytes(pair["crt"])
    assert site.server_cert(h) == second
    assert "changed certificate files are not taken, key_file" in h.log()
    (site.dir / "hcpd.crt").write_bytes(b"garbage")
    assert site.server_cert(h) == second
    (site.dir / "hcpd.crt").write_bytes(new["crt"])
    assert site.server_cert(h) == ssl.PEM_cert_to_DER_cert(new["crt"].decode())
    # The client's, too: expired ones are replaced while it tries.
    h.kill()
    site.certs("renew", "gpu-01")
    h.start()
    wait_for("the node again", lambda: "changed certificate files are taken" in fleet.said() and nodes(h) == {"gpu-01"}, LIMIT_S)


def test_the_authority_changes_without_an_outage(site, secure, tmp_path):
    site.certs("init", dir=tmp_path / "next")
    site.certs("issue", "gpu-01", dir=tmp_path / "next")
    old, new = (site.dir / "ca.crt").read_bytes(), (tmp_path / "next" / "ca.crt").read_bytes()
    (tmp_path / "both.crt").write_bytes(new + old)
    (tmp_path / "both.crt").rename(site.dir / "ca.crt")
    site.fleet(secure, "--node", "gpu-01", *site.of_client("gpu-01", dir=tmp_path / "next"))
    site.fleet(secure, "--node", "texas-north-1", *site.of_client("fleet"))
    wait_for("one of each", lambda: nodes(secure) == {"gpu-01", "texas-north-1"}, LIMIT_S)


def test_an_end_that_is_near_is_told(site, start_hcpd):
    site.certs("issue", "soon", "--role", "service", "--days", "5")
    site.certs("issue", "gpu-05", "--days", "3")
    h = start_hcpd("hcpd", *site.of_hcpd("soon"))
    wait_for("the log", lambda: re.search(r"the certificate of this process ends at \S+, in [45] days: renew it", h.log()))
    health = h.call("GET", "/health", None)
    assert health.status_code == 200 and health.json()["status"] == "degraded"
    assert health.json()["mesh"]["certificate"] == "expiring"
    left_s = int(re.search(r"^hcp_mesh_certificate_end_seconds (\d+)$", h.call("GET", "/metrics", None).text, re.M)[1]) - time.time()
    assert 4 * 86400 < left_s <= 5 * 86400
    site.fleet(h, "--node", "gpu-05", *site.of_client("gpu-05"))
    wait_for("the node's", lambda: re.search(r"the certificate of gpu-05 ends at \S+, in [23] days: renew it", h.log()), LIMIT_S)
    site.certs("renew", "soon", "--days", "90")
    site.server_cert(h)
    wait_for("health", lambda: h.call("GET", "/health", None).json()["status"] == "ok")


def test_options_go_together(site, program, tmp_path):
    def fails(*argv):
        run = subprocess.run([program(argv[0]), *map(str, argv[1:])], capture_output=True, text=True, timeout=LIMIT_S)
        assert run.returncode != 0
        return run.stderr
    ca, cert, key = site.files("hcpd")
    assert "--mesh-ca: certificate, key and authority" in fails("hcpd", "--mesh-cert", cert, "--mesh-key", key, "--check-config")
    assert "--mesh-cert: " in fails("hcpd", "--mesh-ca", ca, "--check-config")
    hcpd = ["hcpd", "--state", tmp_path / "s", "--port", 0, "--mesh-port", 0, "--mesh-ca", ca]
    assert "--mesh-key: " in fails(*hcpd, "--mesh-cert", cert, "--mesh-key", site.dir / "market.key")
    assert "--mesh-cert: /nowhere: " in fails(*hcpd, "--mesh-cert", "/nowhere", "--mesh-key", key)
    assert "tls-key: " in fails("hcp-agent", "--mesh", "127.0.0.1:1", "--state", tmp_path / "a", "--pool", "127.0.0.1:1",
                                "--tls-ca", ca, "--tls-cert", cert)
    assert "tls-ca: " in fails("hcp-sim", "fleet", "--small", "--tls-cert", cert, "--tls-key", key)


def test_certs_command(site):
    said = site.certs("init", fails=True)
    assert "ca.crt is there already" in said
    assert "gpu-01.crt is there already" in site.certs("issue", "gpu-01", fails=True)
    assert {c["name"]: c["for"] for c in site.certs("list")} == {
        "ca": "authority", "hcpd": "service", "fleet": "node texas-north-*", "market": "feed", "gpu-01": "node gpu-01"}
    assert all(os.stat(k).st_mode & 0o777 == 0o600 for k in site.dir.glob("*.key"))
    assert site.certs("renew") == []  # nothing is due
    old = site.dir.joinpath("gpu-01.key").read_bytes()
    assert site.certs("renew", "gpu-01")[0]["for"] == "node gpu-01" and site.dir.joinpath("gpu-01.key").read_bytes() != old
    site.certs("issue", "gpu-01", "--force", "--nodes", "gpu-01,gpu-02")
    for args, word in ((["issue", "a/b"], "name"), (["issue", "ca"], "name"), (["issue", "x", "--nodes", "a*b"], "nodes"),
                       (["issue", "x", "--role", "service", "--hosts", "a,DNS:b"], "hosts"), (["issue", "x", "--days", "3651"], "days"),
                       (["issue", "x", "--role", "feed", "--nodes", "a"], "nodes"), (["renew", "nobody"], "nobody"),
                       (["renew", "ca"], "name")):
        assert word in site.certs(*args, fails=True), args
    assert not list(site.dir.glob("x.*"))
    assert "hcp certs init" in site.certs("issue", "x", dir=site.folder / "empty", fails=True)
    (site.dir / "ca.key").write_text("garbage")
    assert "ca.key" in site.certs("issue", "x", fails=True)
