#!/usr/bin/env python3
"""GATEWAY-GET, GATEWAY-POST, PERF-5: requests a second through the gateway, loaded by wrk.

GATEWAY-GET reads prices with a bearer token (the gateway's cache answers most), GATEWAY-POST submits workloads, each
durable before its answer, with no devices connected: the jobs queue. Both are pinned so that the server has one core
and wrk the other. PERF-5 is the mix of MIX: reads that the gateway may not answer from its cache and durable
submissions, hcpd and wrk sharing all cores.

Peers, in the same run with the same load: of the GET, nginx with one worker on the same core and a fixed body of the
same length; of the POST, SQLite and PostgreSQL writing rows of the same length on the same disk.
"""
import argparse
import contextlib
import json
import os
import pwd
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from hcp_platform import Platform, free_port, quantile  # noqa: E402

SECONDS, CONNECTIONS, JOBS = 8, 64, 200
POST_SECONDS = 3  # a customer may have 100,000 unfinished workloads, so longer would measure refusals
PEER_SECONDS, PG_CLIENTS = 4, 16
SERVER_CPU, LOAD_CPU = "0", "1"
BODY = '{"type":"ai_inference_batch","model":"llama-3-70b","device_class":"H100","device_count":1}'
POST_LUA = """
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.headers["authorization"] = "Bearer %s"
wrk.body = '""" + BODY + """'
"""
# Of ten requests eight read one workload, one lists twenty, one submits: no route of these has cache_ms.
MIX_LUA = """
local ids = { %s }
local head = { ["content-type"] = "application/json", ["authorization"] = "Bearer %s" }
local n, id = 0, 0
request = function()
  n = n + 1
  if n %% 10 == 0 then return wrk.format("POST", "/api/v1/workloads", head, '""" + BODY + """') end
  if n %% 10 == 5 then return wrk.format("GET", "/api/v1/workloads?limit=20", head) end
  id = id %% #ids + 1
  return wrk.format("GET", "/api/v1/workloads/" .. ids[id], head)
end
"""
UNITS = {"us": 1e-3, "ms": 1, "s": 1e3}
NGINX_CONF = """
daemon off; master_process off; worker_processes 1; pid {dir}/nginx.pid; error_log {dir}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 3600;
  client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u;
  scgi_temp_path {dir}/s;
  server {{ listen 127.0.0.1:{port}; location / {{ default_type application/json; return 200 "{body}"; }} }}
}}
"""
NGINX_BODY_MAX = 4000  # a word of its configuration may not be longer


def wrk(args, url, pinned=True, seconds=SECONDS):
    command = (["taskset", "-c", LOAD_CPU] if pinned else []) + ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}",
                                                                 "--latency", *args, url]
    out = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30).stdout
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    at = {q: float(v) * UNITS[u] for q, v, u in re.findall(r"(50|99)%\s+([\d.]+)(us|ms|s)\b", out)}
    if bad:  # a refusal is quicker than an answer: figures with some in them would flatter
        raise RuntimeError(f"{url}: {bad.group(1)} answers were refusals\n{out}")
    return {"per_second": float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1)), "p50_ms": at["50"],
            "p99_ms": at["99"]}


def report(name, metrics, peer=None, absent=None):
    line = {"id": name, "metrics": metrics}
    if peer:
        line["peer"] = peer
    elif absent:
        line["peer_absent"] = absent
    print(json.dumps(line), flush=True)


def nginx(length):
    """(peer, None) or (None, why not)."""
    program = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if not program:
        return None, "nginx is not installed"
    if length > NGINX_BODY_MAX:
        return None, f"a body of {length} bytes does not go into nginx's configuration"
    with tempfile.TemporaryDirectory(prefix="hcp-nginx-") as folder:
        port = free_port()
        conf = Path(folder) / "nginx.conf"
        conf.write_text(NGINX_CONF.format(dir=folder, port=port, body="x" * length))
        child = subprocess.Popen(["taskset", "-c", SERVER_CPU, program, "-e", f"{folder}/error.log", "-p", folder,
                                  "-c", str(conf)])
        try:
            url = f"http://127.0.0.1:{port}/"
            for _ in range(100):
                with contextlib.suppress(OSError):
                    if len(urllib.request.urlopen(url, timeout=5).read()) == length:
                        return {"name": "nginx, fixed body", "metrics": wrk([], url)}, None
                time.sleep(0.05)
            raise RuntimeError(f"nginx did not answer: {(Path(folder) / 'error.log').read_text()[-300:]}")
        finally:
            child.terminate()
            child.wait(10)


def sqlite_rows(folder, row, group):
    """Rows a second in transactions of `group` rows: WAL, every commit on the disk."""
    path = Path(folder) / f"peer{group}.db"
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("CREATE TABLE job(id INTEGER PRIMARY KEY, at INTEGER, body TEXT)")
    rows, begin = 0, time.monotonic()
    while time.monotonic() - begin < PEER_SECONDS:
        db.execute("BEGIN")
        db.executemany("INSERT INTO job(at, body) VALUES (?, ?)", [(time.time_ns(), row)] * group)
        db.execute("COMMIT")
        rows += group
    took = time.monotonic() - begin
    db.close()
    return rows / took


def pg_programs():
    """The folder of PostgreSQL's programs, or None."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[4]))
    near = shutil.which("initdb")
    folder = found[-1].parent if found else Path(near).resolve().parent if near else None
    return folder if folder and all((folder / n).exists() for n in ("initdb", "postgres", "pgbench")) else None


def postgres_rows(row):
    """Rows a second of single inserts by PG_CLIENTS clients, every commit on the disk; a text where there is none."""
    programs = pg_programs()
    if not programs:
        return "PostgreSQL with pgbench is not installed"
    as_other = []
    if os.geteuid() == 0:  # it refuses to run as root
        try:
            as_other = ["setpriv", f"--reuid={pwd.getpwnam('postgres').pw_uid}", "--clear-groups"]
        except KeyError:
            return "PostgreSQL does not run as root, and there is no user postgres"
    with tempfile.TemporaryDirectory(prefix="hcp-pg-") as folder:
        if as_other:
            shutil.chown(folder, "postgres")
        script = Path(folder) / "insert.sql"
        script.write_text(f"INSERT INTO job(at, body) VALUES (1, '{row}');\n")
        script.chmod(0o644)

        def tool(name, *args):
            return subprocess.run([*as_other, str(programs / name), *args], cwd=folder, capture_output=True, text=True,
                                  timeout=60, check=True).stdout
        tool("initdb", "-D", f"{folder}/data", "-A", "trust", "-U", "bench", "-N")
        child = subprocess.Popen([*as_other, str(programs / "postgres"), "-D", f"{folder}/data", "-k", folder,
                                  "-c", "listen_addresses="], cwd=folder, stderr=subprocess.DEVNULL)
        where = ["-h", folder, "-U", "bench", "postgres"]
        try:
            make = "CREATE TABLE job(id bigserial PRIMARY KEY, at bigint, body text)"
            for _ in range(100):
                if subprocess.run(["psql", "-q", "-c", make, *where], capture_output=True).returncode == 0:
                    break
                time.sleep(0.1)
            out = tool("pgbench", "-n", "-M", "prepared", "-c", str(PG_CLIENTS), "-j", "1", "-T", str(PEER_SECONDS), "-f",
                       str(script), *where)
            return float(re.search(r"tps = ([\d.]+)", out).group(1))
        finally:
            child.terminate()
            child.wait(30)


def storage(folder, row):
    """What a database does with the rows of the POST: one a commit, and as many a commit as there are connections."""
    metrics = {"per_second": sqlite_rows(folder, row, CONNECTIONS), "single_per_second": sqlite_rows(folder, row, 1)}
    name = f"SQLite, {CONNECTIONS} rows a commit"
    rate = postgres_rows(row)
    if isinstance(rate, str):
        print(rate, file=sys.stderr)
    else:
        metrics["postgresql_per_second"] = rate
        name += f"; PostgreSQL, {PG_CLIENTS} clients"
    return {"name": name, "metrics": metrics}


def accept_to_run():
    """Accepted to running on a simulated fleet with room, from the workloads' own stamps: the switch is in it."""
    with Platform() as p:
        p.hcpd()
        p.start("hcp-sim", "fleet", "--mesh", f"127.0.0.1:{p.mesh}", "--token-file", p.state / "machine.token",
                "--spec", "H100:512", "--seed", 1)
        admin = p.login()
        p.wait("the fleet", 30, lambda: sum(c["healthy"] for c in p.call("GET", "/api/v1/fleet", token=admin)[1]["classes"]
                                            ) >= 512)
        body = {"type": "ai_inference_realtime", "model": "llama-3-70b", "device_class": "H100", "device_count": 1}
        ids = [p.call("POST", "/api/v1/workloads", body, token=admin)[1]["id"] for _ in range(JOBS)]
        took = []
        for i in ids:
            w = p.wait(f"{i} to run", 30, lambda i=i: (lambda w: w if w["state"] == "running" else None)(
                p.call("GET", f"/api/v1/workloads/{i}", token=admin)[1]))
            took.append((w["started_at_ns"] - w["created_at_ns"]) / 1e6)
        return quantile(took, 0.99)


def get(p, admin):
    url = f"http://127.0.0.1:{p.port}/api/v1/prices"
    metrics = wrk(["-H", f"authorization: Bearer {admin}"], url)
    ask = urllib.request.Request(url, headers={"authorization": f"Bearer {admin}"})
    report("GATEWAY-GET", metrics, *nginx(len(urllib.request.urlopen(ask, timeout=10).read())))


def post(p, admin):
    lua = p.state / "post.lua"
    lua.write_text(POST_LUA % admin)
    metrics = wrk(["-s", str(lua)], f"http://127.0.0.1:{p.port}/api/v1/workloads", seconds=POST_SECONDS)
    metrics["accept_to_run_p99_ms"] = accept_to_run()
    report("GATEWAY-POST", metrics, storage(p.state, BODY))


def mix(p, admin):
    ids = [p.call("POST", "/api/v1/workloads", json.loads(BODY), token=admin)[1]["id"] for _ in range(JOBS)]
    lua = p.state / "mix.lua"
    lua.write_text(MIX_LUA % (",".join(f'"{i}"' for i in ids), admin))
    report("PERF-5", wrk(["-s", str(lua)], f"http://127.0.0.1:{p.port}/", pinned=False))


def main():
    kinds = {"get": get, "post": post, "mix": mix}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=list(kinds))
    args = parser.parse_args()
    for name, measure in kinds.items():
        if args.only not in (None, name):
            continue
        with Platform() as p:
            child = p.hcpd()
            if name != "mix":
                subprocess.run(["taskset", "-a", "-cp", SERVER_CPU, str(child.pid)], check=True, capture_output=True)
            admin = p.login()
            p.tick([("electricity_rt", "HB_WEST", 30.0), ("btc_usd", "", 60000.0), ("difficulty", "", 80e12)])
            measure(p, admin)


if __name__ == "__main__":
    main()
