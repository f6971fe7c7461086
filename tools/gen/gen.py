#!/usr/bin/env python3
"""Turns spec/messages.toml and spec/routes.toml into the C tables of spec_table.{h,c}."""
import re
import sys
import tomllib
from pathlib import Path

KINDS = {"reply": "MSG_KIND_REPLY", "request": "MSG_KIND_REQUEST", "event": "MSG_KIND_EVENT", "link": "MSG_KIND_LINK"}
ROLES = {"public": 0, "customer": 1, "operator": 2, "admin": 3, "machine": 4}


def snake(name):
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def die(text):
    sys.exit(f"spec: {text}")


def check(spec, routes):
    services, topics, messages = spec["services"], spec["topics"], spec["messages"]
    seen = {}
    for name, m in messages.items():
        if m["id"] in seen:
            die(f"messages.{name}.id {m['id']} is taken by {seen[m['id']]}")
        seen[m["id"]] = name
        if m["kind"] not in KINDS:
            die(f"messages.{name}.kind {m['kind']!r} is none of {', '.join(KINDS)}")
        if m["kind"] == "event" and m.get("topic") not in topics:
            die(f"messages.{name}.topic {m.get('topic')!r} is not declared")
        if m["kind"] in ("request", "link") and m.get("to") not in services:
            die(f"messages.{name}.to {m.get('to')!r} is no service")
    for name, t in topics.items():
        for s in [t["from"], *t["to"]]:
            if s not in services:
                die(f"topics.{name}: {s!r} is no service")
    for r in routes:
        for key in ("message", "reply"):
            if r[key] not in messages:
                die(f"route {r['path']}: {key} {r[key]!r} is not declared")
        for service in r.get("own", {}):
            if service not in services:
                die(f"route {r['path']}: own {service!r} is no service")
        if r["role"] not in ROLES:
            die(f"route {r['path']}: role {r['role']!r} is none of {', '.join(ROLES)}")


def header(spec):
    lines = ["/* Generated from spec/ by tools/gen/gen.py. */", "#ifndef HCP_SPEC_TABLE_H", "#define HCP_SPEC_TABLE_H", "",
             "#include <stddef.h>", "#include <stdint.h>", "", "#include <protobuf-c/protobuf-c.h>", "",
             '#include "hcp.pb-c.h"', "", "enum svc_id {"]
    lines += [f"\tSVC_{s.upper()}," for s in spec["services"]]
    lines += ["\tSVC_COUNT,", "\tSVC_NONE = -1,", "};", "", "enum topic_id {"]
    lines += [f"\tTOPIC_{t.upper().replace('.', '_')}," for t in spec["topics"]]
    lines += ["\tTOPIC_COUNT,", "\tTOPIC_NONE = -1,", "};", "", "enum msg_type {", "\tMSG_NONE = 0,"]
    lines += [f"\tMSG_{snake(n).upper()} = {m['id']}," for n, m in spec["messages"].items()]
    top = max(m["id"] for m in spec["messages"].values())
    lines += [f"\tMSG_TYPE_MAX = {top},", "};", "", "enum msg_kind { " + ", ".join(KINDS.values()) + " };", "",
              "struct msg_info {", "\tuint16_t type;", "\tconst char *name;", "\tenum msg_kind kind;",
              "\tint target;  /* enum svc_id of requests and links */", "\tint topic;   /* enum topic_id of events */",
              "\tconst ProtobufCMessageDescriptor *desc;", "};", "",
              "struct svc_info {", "\tconst char *name;", "\tuint16_t port;", "\tconst char *about;", "};", "",
              "struct topic_info {", "\tconst char *name;", "\tint from;", "\tuint32_t to_mask; /* bit per enum svc_id */",
              "};", "", "struct route_info {", "\tconst char *method, *path;", "\tuint16_t request, reply;",
              "\tuint8_t role;    /* Hcp__Role; 0: public */", "\tuint16_t status; /* on success */",
              "\tuint32_t cache_ms;", "\tconst char *about;", "\tint alias; /* of the route before it that is none */",
              "\tint own;   /* enum svc_id on whose own port alone it answers; SVC_GATEWAY: no such */", "};", "",
              "extern const struct svc_info svc_table[SVC_COUNT];", "extern const struct topic_info topic_table[TOPIC_COUNT];",
              "extern const struct route_info route_table[];", "extern const size_t route_count;", "",
              "/* NULL if there is no such message. */", "const struct msg_info *msg_info(unsigned type);",
              "const struct msg_info *msg_info_of(const ProtobufCMessageDescriptor *desc);",
              "/* SVC_NONE / TOPIC_NONE if there is none of that name. */",
              "int svc_by_name(const char *name, size_t n);", "int topic_by_name(const char *name, size_t n);", "", "#endif", ""]
    return "\n".join(lines)


def quote(s):
    return '"' + s.replace("\\", "\\\\").replace('"', '\\"') + '"'


def source(spec, routes):
    out = ["/* Generated from spec/ by tools/gen/gen.py. */", '#include "spec_table.h"', "", "#include <string.h>", "",
           "const struct svc_info svc_table[SVC_COUNT] = {"]
    out += [f"\t[SVC_{n.upper()}] = {{ {quote(n)}, {s['port']}, {quote(s['about'])} }}," for n, s in spec["services"].items()]
    out += ["};", "", "const struct topic_info topic_table[TOPIC_COUNT] = {"]
    for n, t in spec["topics"].items():
        mask = " | ".join(f"1U << SVC_{s.upper()}" for s in t["to"])
        out.append(f"\t[TOPIC_{n.upper().replace('.', '_')}] = {{ {quote(n)}, SVC_{t['from'].upper()}, {mask} }},")
    out += ["};", "", "static const struct msg_info infos[MSG_TYPE_MAX + 1] = {"]
    for n, m in spec["messages"].items():
        target = f"SVC_{m['to'].upper()}" if "to" in m else "SVC_NONE"
        topic = f"TOPIC_{m['topic'].upper().replace('.', '_')}" if "topic" in m else "TOPIC_NONE"
        out.append(f"\t[{m['id']}] = {{ {m['id']}, {quote(n)}, {KINDS[m['kind']]}, {target}, {topic}, &hcp__{snake(n)}__descriptor }},")
    out += ["};", "", "const struct route_info route_table[] = {"]
    for r in routes:
        paths = [(p, "gateway") for p in [r["path"], *r.get("aliases", [])]] + [(p, svc) for svc, p in r.get("own", {}).items()]
        for i, (path, own) in enumerate(paths):
            out.append(f"\t{{ {quote(r['method'])}, {quote(path)}, MSG_{snake(r['message']).upper()}, MSG_{snake(r['reply']).upper()}, "
                       f"{ROLES[r['role']]}, {r.get('status', 200)}, {r.get('cache_ms', 0)}, {quote(r['about'])}, {int(i > 0)}, "
                       f"SVC_{own.upper()} }},")
    out += ["};", "const size_t route_count = sizeof(route_table) / sizeof(route_table[0]);", "", """\
const struct msg_info *msg_info(unsigned type)
{
	return type <= MSG_TYPE_MAX && infos[type].name ? &infos[type] : NULL;
}

const struct msg_info *msg_info_of(const ProtobufCMessageDescriptor *desc)
{
	for (unsigned i = 0; i <= MSG_TYPE_MAX; i++)
		if (infos[i].desc == desc)
			return &infos[i];
	return NULL;
}

int svc_by_name(const char *name, size_t n)
{
	for (int i = 0; i < SVC_COUNT; i++)
		if (strlen(svc_table[i].name) == n && memcmp(svc_table[i].name, name, n) == 0)
			return i;
	return SVC_NONE;
}

int topic_by_name(const char *name, size_t n)
{
	for (int i = 0; i < TOPIC_COUNT; i++)
		if (strlen(topic_table[i].name) == n && memcmp(topic_table[i].name, name, n) == 0)
			return i;
	return TOPIC_NONE;
}
"""]
    return "\n".join(out)


def main():
    messages, routes, out_h, out_c = map(Path, sys.argv[1:5])
    spec = tomllib.loads(messages.read_text())
    route_rows = tomllib.loads(routes.read_text())["route"]
    check(spec, route_rows)
    out_h.write_text(header(spec))
    out_c.write_text(source(spec, route_rows))


if __name__ == "__main__":
    main()
