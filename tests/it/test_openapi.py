"""The document at /api/v1/openapi.json against the server that serves it: schemathesis draws requests from the one and
checks the answers of the other. Half a minute; every run draws the same."""
import subprocess
import sys
from pathlib import Path

import pytest
import requests

pytest.importorskip("schemathesis", reason="schemathesis is not installed")
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
LIMIT_S = 200


@pytest.mark.timeout(LIMIT_S + 60)
def test_answers_are_as_declared(start_hcpd):
    h = start_hcpd("openapi")
    document = requests.get(h.url + "/api/v1/openapi.json", timeout=10).json()
    assert document["openapi"] == "3.1.0" and len(document["paths"]) > 30
    # A login costs as much as a guesser shall pay; test_gateway.py has it.
    run = subprocess.run(
        [str(Path(sys.executable).parent / "schemathesis"), "run", h.url + "/api/v1/openapi.json",
         "-H", f"Authorization: Bearer {h.login()}", "--checks", CHECKS, "--phases", "coverage,fuzzing", "--max-examples", "5",
         "--seed", "1", "--generation-deterministic", "--request-timeout", "20",
         "--exclude-path", "/api/v1/auth/login", "--suppress-health-check", "all", "--no-color"],
        capture_output=True, text=True, timeout=LIMIT_S, cwd=h.state)
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-1000:]
    assert "Tested:" in run.stdout
    assert requests.get(h.url + "/health", timeout=10).json()["status"] == "ok"
