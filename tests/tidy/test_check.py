"""tools/check counts what the programs print."""
import importlib.machinery
import importlib.util
from pathlib import Path

import pytest

CHECK = Path(__file__).resolve().parent.parent.parent / "tools" / "check"


@pytest.fixture(scope="module")
def check():
    loader = importlib.machinery.SourceFileLoader("hcp_check", str(CHECK))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("hcp_check", loader))
    loader.exec_module(module)
    return module


MIXED = """[==========] Running 4 test(s).
[ RUN      ] one
[       OK ] one
[ RUN      ] two
[  ERROR   ] --- 0x1 != 0x2
[   LINE   ] --- a.c:3: error: Failure!
[  FAILED  ] two
[ RUN      ] three
[  SKIPPED ] three
[ RUN      ] four
[       OK ] four
[==========] 4 test(s) run.
[  PASSED  ] 2 test(s).
[  SKIPPED ] 1 test(s), listed below:
[  SKIPPED ] three
[  FAILED  ] 1 test(s), listed below:
[  FAILED  ] two
"""


def counted(check, **row):
    result = check.Result()
    check.count_program(result, {"name": "p", "stdout": "", "stderr": "", "returncode": 0, **row})
    return result.passed, result.failed, result.skipped


def test_cases_are_counted_singly(check):
    assert counted(check, result="FAIL", stdout=MIXED, returncode=1) == (2, 1, 1)


def test_a_crash_half_way_is_one_failure(check):
    assert counted(check, result="FAIL", stdout=MIXED.split("[ RUN      ] two")[0], returncode=-11) == (1, 1, 0)


def test_failing_status_with_all_cases_passed_is_a_failure(check):
    assert counted(check, result="FAIL", stdout="[       OK ] one\n", stderr="leak", returncode=1) == (1, 1, 0)


def test_a_program_without_cases_is_one_case(check):
    assert counted(check, result="OK", stdout="12 seeds") == (1, 0, 0)
    assert counted(check, result="SKIP", returncode=77) == (0, 0, 1)
    assert counted(check, result="TIMEOUT", returncode=-15) == (0, 1, 0)


def test_last_line_names_skips_only_where_there_are_some(check):
    result = check.Result()
    result.passed = 3
    assert result.line() == "3 passed, 0 failed"
    result.skipped = 1
    assert result.line() == "3 passed, 0 failed, 1 skipped"


def test_junit_reports_are_counted(check, tmp_path):
    report = tmp_path / "r.xml"
    report.write_text('<testsuites><testsuite><testcase classname="a" name="ok"/>'
                      '<testcase classname="a" name="bad"><failure message="m">trace</failure></testcase>'
                      '<testcase classname="a" name="err"><error>boom</error></testcase>'
                      '<testcase classname="a" name="sk"><skipped/></testcase></testsuite></testsuites>')
    result = check.Result()
    check.count_junit(result, report)
    assert (result.passed, result.failed, result.skipped) == (1, 2, 1)
    assert result.failures == [("a::bad", "trace"), ("a::err", "boom")]
