"""Every rule of tools/tidy with a tree that breaks it and one that does not."""
import json
import subprocess
import sys
from pathlib import Path

import pytest

TIDY = Path(__file__).resolve().parent.parent.parent / "tools" / "tidy"


@pytest.fixture
def tidy(tmp_path):
    """tidy({path: text}) is what tools/tidy finds there: {rule: [finding, …]} of the rules that found something."""
    def check(files):
        for path, text in files.items():
            full = tmp_path / path
            full.parent.mkdir(parents=True, exist_ok=True)
            full.write_text(text)
        for folder in {Path(p).parent for p in files if p.startswith("src/") and p.count("/") > 1}:
            readme = tmp_path / folder / "README.md"
            if "no_readme" not in str(folder) and not readme.exists():
                readme.write_text("# A folder\n")
        done = subprocess.run([sys.executable, str(TIDY), "--root", str(tmp_path), "--json"], capture_output=True,
                              text=True)
        report = json.loads(done.stdout.splitlines()[-1])
        found = {rule: rows for rule, rows in report["rules"].items() if rows}
        assert done.returncode == (1 if found else 0)
        return found
    return check


def long_function(lines):
    return "int f(void)\n{\n" + "\tg();\n" * (lines - 2) + "}\n"


HEADER = "#ifndef X_H\n#define X_H\n\nint x(void);\n\n#endif\n"

# rule, files that break it, files that do not
CASES = [
    ("floors", {"src/base/a.c": '#include "os/file.h"\n'}, {"src/os/a.c": '#include "base/err.h"\n'}),
    ("floors", {"src/bus/a.c": '#include "store/store.h"\n'}, {"src/bus/a.c": '#include "bus/bus.h"\n'}),
    ("floors", {"src/loop/a.c": '#include "wire/json.h"\n'}, {"src/http/a.c": '#include "wire/json.h"\n'}),
    ("floors", {"src/econ/a.c": '#include "loop/loop.h"\n'}, {"src/econ/a.c": '#include "model/model.h"\n'}),
    ("floors", {"src/services/router/a.c": '#include "services/billing/bill.h"\n'},
     {"src/services/router/a.c": '#include "services/router/q.h"\n#include "services/service.h"\n'}),
    ("floors", {"src/attic/a.c": "int a;\n"}, {"src/cmd/a.c": '#include "services/billing/bill.h"\n'}),
    ("pure", {"src/wire/a.c": "#include <unistd.h>\n"}, {"src/os/a.c": "#include <unistd.h>\n"}),
    ("private", {"src/bus/bus_priv.h": HEADER, "src/cmd/a.c": '#include "bus/bus_priv.h"\n'},
     {"src/bus/bus_priv.h": HEADER, "src/bus/a.c": '#include "bus/bus_priv.h"\n',
      "tests/unit/bus/a.c": '#include "bus/bus_priv.h"\n'}),
    ("header", {"src/os/a.h": "size_t a(void);\n"}, {"src/os/a.h": "#include <stddef.h>\n\nsize_t a(void);\n"}),
    ("own-header", {"src/os/a.h": HEADER, "src/os/a.c": '#include <stdio.h>\n#include "os/a.h"\n'},
     {"src/os/a.h": HEADER, "src/os/a.c": '#include "os/a.h"\n\n#include <stdio.h>\n'}),
    ("banned-call", {"src/os/a.c": "int f(char *s)\n{\n\treturn atoi(s);\n}\n"},
     {"src/os/a.c": "/* never atoi(s) */\nint f(void)\n{\n\treturn my_atoi(\"atoi(1)\") + v->system(1);\n}\n"}),
    ("banned-call", {"tests/unit/os/a.c": "int f(void)\n{\n\treturn rand();\n}\n"},
     {"tests/unit/os/a.c": "int f(void)\n{\n\treturn rng_rand();\n}\n"}),
    ("banned-call", {"src/os/a.c": "#define COPY(a, b) strcpy(a, b)\n"},
     {"src/os/a.c": "#define COPY(a, b) buf_add(a, b)\n"}),
    ("memory", {"src/os/a.c": "void *f(void)\n{\n\treturn malloc(1);\n}\n"},
     {"src/os/a.c": "void f(void)\n{\n\tops->free(1);\n\tmap_free(2);\n}\n",
      "src/base/mem.c": "void f(void)\n{\n\tfree(0);\n}\n"}),
    ("clock", {"src/services/a.c": "long f(void)\n{\n\treturn time(0);\n}\n"},
     {"src/os/a.c": "long f(void)\n{\n\treturn time(0);\n}\n"}),
    ("secret", {"src/os/a.c": 'char *f(void)\n{\n\treturn getenv("HCP_TOKEN_FILE");\n}\n'},
     {"src/os/a.c": 'char *f(void)\n{\n\treturn getenv("HCP_DATA");\n}\n'}),
    ("function-length", {"src/os/a.c": long_function(71)}, {"src/os/a.c": long_function(70)}),
    ("file-length", {"src/os/a.c": "int a;\n" * 1201}, {"src/os/a.c": "int a;\n" * 1200}),
    ("file-size", {"docs/a.csv": "1\n" * 300000}, {"docs/a.csv": "1\n" * 200000}),
    ("line-width", {"src/os/a.c": "/* " + "x" * 115 + " */\n"}, {"src/os/a.c": "/* " + "x" * 114 + " */\n"}),
    ("whitespace", {"src/os/a.c": "int f(void)\n{\n        return 1;\n}\n"},
     {"src/os/a.c": "/*\n *   a picture\n *      of it\n */\nint f(void)\n{\n\treturn 1;\n}\n"}),
    ("whitespace", {"src/os/a.c": "int a; \n"}, {"src/os/a.c": "int a;\n"}),
    ("whitespace", {"src/os/a.c": "int a;"}, {"src/os/a.c": "int a;\n"}),
    ("leftover", {"src/os/a.c": "/* TODO: later */\n"}, {"src/os/a.c": '/* fill "XXXXXX" */\n'}),
    ("leftover", {"web/src/a.tsx": "return 'not implemented'\n"},
     {"web/src/a.tsx": '<Input placeholder="e-mail" />\n'}),
    ("path", {"docs/a.md": "see /home/alice/hcp/x\n"},
     {"docs/a.md": "see /usr/share/x and ./root/x and /api/v1/work\n"}),
    ("readme", {"src/no_readme/a.c": "int a;\n"}, {"src/os/a.c": "int a;\n", "src/os/README.md": "# os\n"}),
    ("waiver", {"src/os/a.c": "/* tidy: allow banned-call: there is nothing banned here */\nint a;\n"},
     {"src/os/a.c": "int f(void)\n{\n\t/* tidy: allow banned-call: a sample of one */\n\treturn rand();\n}\n"}),
]


@pytest.mark.parametrize("rule, bad, good", CASES, ids=[f"{c[0]}-{i}" for i, c in enumerate(CASES)])
def test_rule_finds_what_breaks_it(tidy, rule, bad, good):
    assert rule in tidy(bad)


@pytest.mark.parametrize("rule, bad, good", CASES, ids=[f"{c[0]}-{i}" for i, c in enumerate(CASES)])
def test_rule_leaves_good_code_alone(tidy, rule, bad, good):
    assert rule not in tidy(good)


def test_every_rule_has_a_case():
    listed = subprocess.run([sys.executable, str(TIDY), "--rules"], capture_output=True, text=True, check=True).stdout
    assert {row.split()[0] for row in listed.splitlines()} == {case[0] for case in CASES}


def test_waiver_without_reason_or_of_unknown_rule(tidy):
    found = tidy({"src/os/a.c": "int f(void)\n{\n\treturn rand(); /* tidy: allow banned-call */\n}\n",
                  "src/os/b.c": "/* tidy: allow everything: because I am in a hurry */\nint b;\n"})
    assert len(found["waiver"]) == 2
    assert len(found["banned-call"]) == 1


def test_waiver_covers_three_lines_and_no_more(tidy):
    waiver = "\t/* tidy: allow banned-call: the sample needs a banned call */\n"
    found = tidy({"src/os/a.c": "int f(void)\n{\n" + waiver + "\t;\n\t;\n\trand();\n\trand();\n}\n"})
    assert found == {"banned-call": ["src/os/a.c:7: rand()"]}


def test_waiver_of_the_family(tidy):
    text = "void f(void)\n{\n\tfree(p); /* tidy: allow banned-call: a library allocated it */\n}\n"
    assert tidy({"src/os/a.c": text}) == {}


def test_findings_name_file_and_line(tidy):
    found = tidy({"src/os/a.c": "/* one\n   two */\nint f(void)\n{\n\treturn atoi(x);\n}\n"})
    assert found["banned-call"] == ["src/os/a.c:5: atoi()"]


def test_generated_code_may_be_long(tidy):
    assert "file-length" not in tidy({"src/os/routes.gen.c": "int a;\n" * 3000})
