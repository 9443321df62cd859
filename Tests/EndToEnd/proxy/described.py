"""What the admin API answers is what its description says, member by member: clients may meet more one day, but not before it is described."""

import json
import re
import subprocess

from asked import call, index
from harness import COLOPHON, PATIENCE, Colophon, Upstream, manifest, ok, place, run, wait_until

TYPES = {"string": str, "boolean": bool, "integer": int, "object": dict, "array": list, "null": type(None)}


def problems(value, schema, schemas, place):
    """What in `value` is not as the schema says, or is not described by it."""
    if "$ref" in schema:
        return problems(value, schemas[schema["$ref"].rsplit("/", 1)[1]], schemas, place)
    if "anyOf" in schema:
        found = [problems(value, one, schemas, place) for one in schema["anyOf"]]
        return [] if any(not one for one in found) else min(found, key=len)
    if "const" in schema and value != schema["const"] or "enum" in schema and value not in schema["enum"]:
        return [f"{place}: {value!r}"]
    if "type" in schema:
        kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        if not any(type(value) is TYPES[kind] for kind in kinds):
            return [f"{place}: {value!r} is no {kinds}"]
    if "pattern" in schema and not re.search(schema["pattern"], value):
        return [f"{place}: {value!r}"]
    found = []
    if isinstance(value, dict) and ("properties" in schema or "additionalProperties" in schema):
        known, others = schema.get("properties", {}), schema.get("additionalProperties")
        found += [f"{place} has no {name}" for name in schema.get("required", []) if name not in value]
        for name, inner in value.items():
            if name in known:
                found += problems(inner, known[name], schemas, f"{place}.{name}")
            elif isinstance(others, dict):
                found += problems(inner, others, schemas, f"{place}.{name}")
            else:
                found.append(f"{place}.{name} is not described")
    if isinstance(value, list) and "items" in schema:
        for number, inner in enumerate(value):
            found += problems(inner, schema["items"], schemas, f"{place}[{number}]")
    return found


def test_the_checker_finds_what_is_wrong():
    schema = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "array", "items": {"enum": ["x"]}}}, "required": ["a"]}
    assert problems({"a": 1, "b": ["x"]}, schema, {}, "it") == []
    for wrong in ({}, {"a": "1"}, {"a": True}, {"a": 1, "b": ["y"]}, {"a": 1, "c": 1}, {"a": 1, "b": {}}, []):
        assert problems(wrong, schema, {}, "it"), wrong
    assert problems(None, {"anyOf": [schema, {"type": "null"}]}, {}, "it") == [] and problems(1, {"anyOf": [schema]}, {}, "it")


def test_every_answer_is_described_member_by_member():
    with Upstream(ok) as upstream, Colophon(upstream.address, "--logs-to", "file:/dev/null", "--logs-files", "/no/such/*.log", "--attribution-settle", "none",
                                            "--recommendation-line", "true") as colophon:
        index(colophon, "m2", "m3")
        # An ambiguous version, and one whose file nobody knows any more.
        second = colophon.path / "again.json"
        place(second, manifest("m3", data={"dataset_version": "other"}))
        subprocess.run([COLOPHON, "index", "add", str(second), "--data-dir", str(colophon.path / "data")], check=True, capture_output=True, timeout=PATIENCE)
        response = colophon.get("/recommend/7")
        wait_until(lambda: colophon.ask("/v1/status")[1]["lines"]["delivered"] == 1, "the line")
        document = call(colophon, "/openapi.json")[1]
        schemas = document["components"]["schemas"]
        digest, minted = response.one("X-Model-Manifest"), response.one("X-Request-Id")
        asked = [
            ("get", "/healthz", None), ("get", "/readyz", None), ("get", "/v1/status", None), ("get", "/v1/manifests", None),
            ("get", "/v1/manifests?limit=1", None), ("get", f"/v1/manifests/{digest}", None), ("get", "/v1/manifests/m1/diff/m2", None),
            ("get", "/v1/history", None), ("get", "/openapi.json", None),
            ("post", "/v1/trace", {"input": "\n".join([digest, minted, "m3", "m2", "nobody", "2001-01-01T00:00:00Z,1,recommendation request /r, 1 ms"])}),
            ("post", "/v1/activations", {"manifest": "m2", "by": "alice"}), ("post", "/v1/activations", {"manifest": "m2"}),
            ("post", "/v1/reload", {}), ("get", "/v1/history", None), ("get", "/v1/status", None), ("get", "/readyz", None),
            ("get", "/v1/manifests/none", None), ("post", "/v1/activations", {"manifest": "m3"}), ("post", "/v1/reload", {"a": 1}),
        ]
        seen = set()
        for method, path, body in asked:
            status, answer, headers = call(colophon, path, body)
            pattern = next(known for known in document["paths"] if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", known), path.split("?")[0]))
            described = document["paths"][pattern][method]["responses"]
            assert str(status) in described, (path, status, sorted(described))
            content = described[str(status)]["content"][headers.get_content_type()]
            found = problems(answer, content["schema"], schemas, f"{method} {path}")
            # A manifest is what the trainer wrote, and a description is OpenAPI's.
            if status == 200 and pattern in ("/v1/manifests/{manifest}", "/openapi.json"):
                found = []
            assert not found, found
            seen.add(content["schema"].get("$ref", "").rsplit("/", 1)[-1])
        statuses = {one["status"] for one in call(colophon, "/v1/trace", {"input": f"{digest}\nm3\nnobody"})[1]["answers"]}
        assert statuses == {"found", "ambiguous", "unknown"}, statuses
        assert "Activation" in seen and len(seen) >= 11, seen


run(globals())
