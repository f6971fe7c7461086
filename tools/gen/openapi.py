#!/usr/bin/env python3
"""Turns spec/routes.toml and the messages of spec/proto/hcp.proto into the OpenAPI 3.1 document that hcpd serves.

usage: openapi.py routes.toml hcp.proto version out.c|out.json
"""
import gzip
import hashlib
import json
import re
import sys
import tomllib
from pathlib import Path

SCALARS = {
    "string": {"type": "string"}, "bytes": {"type": "string", "contentEncoding": "base64url"},
    "bool": {"type": "boolean"}, "double": {"type": "number"}, "float": {"type": "number"},
    "int32": {"type": "integer", "format": "int32"}, "int64": {"type": "integer", "format": "int64"},
    "uint32": {"type": "integer", "minimum": 0}, "uint64": {"type": "integer", "minimum": 0},
}
# Set by the gateway; a client that sends them is overruled.
HIDDEN = {("ApiKeyCreate", "secret_sha256"), ("ApiKeyCreate", "prefix"), ("SessionRefresh", "sha256"),
          ("SessionRefresh", "next_sha256"), ("SessionEnd", "sha256")}
FIELD = re.compile(r"(?:(repeated)\s+)?(\w+)\s+(\w+)\s*=\s*\d+\s*;[ \t]*(?://[ \t]*([^\n]*))?")
STATUSES = {"400": "A field or the body is wrong; `field` names it.", "401": "Credentials are missing or wrong.",
            "403": "The role does not suffice.", "404": "There is no such object.",
            "409": "The object's state does not allow it.",
            "412": "If-Match names no version that the object has.", "429": "Too many requests; see Retry-After.",
            "503": "A service is not available; try again."}


def parse(text):
    """Messages as {name: [(field, type, repeated, comment)]} and enums as {name: [values]}."""
    messages, enums = {}, {}
    pos = 0
    for m in re.finditer(r"^(message|enum)\s+(\w+)\s*\{", text, re.M):
        if m.start() < pos:
            continue
        depth, pos = 1, m.end()
        while depth:
            depth += {"{": 1, "}": -1}.get(text[pos], 0)
            pos += 1
        body = text[m.end():pos - 1]
        if m[1] == "enum":
            enums[m[2]] = re.findall(r"^\s*(\w+)\s*=\s*\d+;", body, re.M) or re.findall(r"(\w+)\s*=\s*\d+;", body)
        else:
            messages[m[2]] = [(f[2], f[1], bool(f[0]), f[3].strip()) for f in
                              ((g[0], g[1], g[2], g[3]) for g in FIELD.findall(body)) if f[1] != "option"]
    return messages, enums


def enum_names(name, values):
    """The same rule as pbjson_enum_name."""
    prefix = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).upper() + "_"
    if any(v.startswith(prefix) for v in values):
        return [v.removeprefix(prefix).lower() for v in values]
    words = [v.split("_") for v in values]
    common = 0
    while len(values) > 1 and all(len(w) > common + 1 and w[common] == words[0][common] for w in words):
        common += 1
    return ["_".join(w[common:]).lower() for w in words]


def field_schema(kind, enums):
    if kind in SCALARS:
        return dict(SCALARS[kind])
    return {"$ref": f"#/components/schemas/{kind}"}


def schemas(messages, enums):
    out = {name: {"type": "string", "enum": enum_names(name, values)} for name, values in enums.items()}
    for name, fields in messages.items():
        props = {}
        for field, kind, repeated, comment in fields:
            if (name, field) in HIDDEN:
                continue
            s = field_schema(kind, enums)
            if repeated:
                s = {"type": "array", "items": s}
            if comment and "$ref" not in s:
                s["description"] = comment
            props[field] = s
        out[name] = {"type": "object", "additionalProperties": False, "properties": props}
    out["ProblemDetails"] = {"type": "object", "required": ["type", "title", "status", "detail", "code"], "properties": {
        "type": {"type": "string", "format": "uri"}, "title": {"type": "string"}, "status": {"type": "integer"},
        "detail": {"type": "string"}, "code": {"type": "string"}, "field": {"type": "string"},
        "trace_id": {"type": "string"}}}
    return out


def used(roots, all_schemas):
    """Only what routes reach."""
    seen, todo = {}, list(roots)
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen[name] = all_schemas[name]
        todo += re.findall(r'"#/components/schemas/(\w+)"', json.dumps(all_schemas[name]))
    return dict(sorted(seen.items()))


def operation(route, messages, enums, alias):
    path_names = re.findall(r"\{(\w+)\}", route["path"])
    fields = [f for f in messages[route["message"]] if (route["message"], f[0]) not in HIDDEN]
    op = {"operationId": route["message"] + (f"Alias{alias}" if alias else ""), "summary": route["about"],
          "tags": [route["path"].split("/")[3 if route["path"].startswith("/api/") else 2]], "parameters": []}
    has_body = route["method"] in ("POST", "PUT", "PATCH")
    for field, kind, repeated, comment in fields:
        where = "path" if field in path_names else None if has_body else "query"
        if not where or (kind not in SCALARS and kind not in enums):
            continue
        s = field_schema(kind, enums)
        p = {"name": field, "in": where, "required": where == "path", "schema": {"type": "array", "items": s} if repeated else s}
        if comment:
            p["description"] = comment
        op["parameters"].append(p)
    if has_body:
        op["requestBody"] = {"required": bool(fields), "content": {"application/json": {
            "schema": {"$ref": f"#/components/schemas/{route['message']}"}}}}
        op["parameters"].append({"name": "Idempotency-Key", "in": "header", "required": False,
                                 "schema": {"type": "string", "maxLength": 128}})
    op["responses"] = {str(route.get("status", 200)): {"description": "Done.", "content": {"application/json": {
        "schema": {"$ref": f"#/components/schemas/{route['reply']}"}}}}}
    if route["method"] == "GET":
        op["parameters"].append(header_parameter("If-None-Match", "ETags; what one of them names is answered with 304."))
        op["responses"]["304"] = {"description": "Unchanged."}
    elif any(f[0] == "if_version" for f in fields):
        op["parameters"].append(header_parameter("If-Match", "ETags, one of which the object must have; else 412."))
    op["responses"].update(problem_responses())
    op["security"] = [] if route["role"] == "public" else [{"bearer": []}, {"apiKey": []}]
    op["x-hcp-role"] = route["role"]
    return op


def header_parameter(name, text):
    return {"name": name, "in": "header", "required": False, "description": text, "schema": {"type": "string"}}


def problem_responses():
    return {status: {"description": text, "content": {"application/problem+json": {
        "schema": {"$ref": "#/components/schemas/ProblemDetails"}}}} for status, text in STATUSES.items()}


def inference_paths():
    """What the gateway passes on to nodes: OpenAI's bodies, so not messages of ours."""
    def op(name, text, body=None):
        o = {"operationId": name, "summary": text, "tags": ["inference"], "parameters": [],
             "responses": {"200": {"description": "As OpenAI's API answers.", "content": {"application/json": {
                 "schema": {"type": "object"}}}}, **problem_responses()},
             "security": [{"bearer": []}, {"apiKey": []}], "x-hcp-role": "customer"}
        if body:
            o["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
        return o
    text = {"type": "string"}
    embed = {"type": "object", "required": ["model", "input"], "properties": {
        "model": text, "input": {"oneOf": [text, {"type": "array", "items": text}]},
        "encoding_format": {"type": "string", "enum": ["float", "base64"]}}}
    return {"/v1/embeddings": {"post": op("CreateEmbeddings", "Embeddings, from a node that serves the model.", embed)},
            "/v1/models": {"get": op("ListModels", "Models that nodes serve now.")}}


def document(routes, messages, enums, version):
    paths, roots = inference_paths(), {"ProblemDetails"}
    for r in routes:
        roots |= {r["message"], r["reply"]}
        for i, path in enumerate([r["path"], *r.get("aliases", [])]):
            paths.setdefault(path, {})[r["method"].lower()] = operation({**r, "path": path}, messages, enums, i)
    return {"openapi": "3.1.0",
            "info": {"title": "HCP", "version": version, "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
                     "description": "The operating system of a hybrid data centre: mining, inference and power."},
            "servers": [{"url": "/"}], "paths": dict(sorted(paths.items())),
            "components": {"securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "A token of POST /api/v1/auth/login, or an API key."},
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"}},
                "schemas": used(roots, schemas(messages, enums))}}


def c_source(text):
    """The document as C: plain, packed and its (weak) tag, so that nothing is computed while it is served."""
    lines = ["/* Generated from spec/ by tools/gen/openapi.py. */", "#include <stddef.h>", "",
             "extern const char openapi_json[];", "extern const size_t openapi_json_n;",
             "extern const unsigned char openapi_gz[];", "extern const size_t openapi_gz_n;",
             "extern const char openapi_etag[];", "", "const char openapi_json[] ="]
    for i in range(0, len(text), 100):
        part = text[i:i + 100].replace("\\", "\\\\").replace('"', '\\"')
        lines.append(f'\t"{part}"')
    lines[-1] += ";"
    lines.append("const size_t openapi_json_n = sizeof(openapi_json) - 1;")
    packed = gzip.compress(text.encode(), 9, mtime=0)
    lines.append("const unsigned char openapi_gz[] = {")
    lines += ["\t" + " ".join(f"{b}," for b in packed[i:i + 24]) for i in range(0, len(packed), 24)]
    lines += ["};", "const size_t openapi_gz_n = sizeof(openapi_gz);",
              f'const char openapi_etag[] = "W/\\"{hashlib.sha256(text.encode()).hexdigest()[:16]}\\"";']
    return "\n".join(lines) + "\n"


def main():
    routes_path, proto, version, out = sys.argv[1:5]
    routes = tomllib.loads(Path(routes_path).read_text())["route"]
    messages, enums = parse(Path(proto).read_text())
    text = json.dumps(document(routes, messages, enums, version), separators=(",", ":"))
    Path(out).write_text(c_source(text) if out.endswith(".c") else text)


if __name__ == "__main__":
    main()
