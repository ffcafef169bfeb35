"""openapi.yaml as an oracle: every exchange is held against it.

Which operation a request was, whether its status is documented, whether the body fits the schema, and
whether it has a member that the schema does not know.
"""

import json
import os
import re
import urllib.parse

import yaml

try:
    import jsonschema
except ImportError:  # the package is wanted, not needed
    jsonschema = None

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Operation:
    def __init__(self, method, path, spec):
        self.method, self.path, self.spec = method, path, spec
        self.operation_id = spec["operationId"]
        self.scope = spec["x-scope"]
        self.params = re.findall(r"\{(\w+)\}", path)
        self.pattern = re.compile("^" + re.sub(r"\{\w+\}", "[^/]+", re.sub(r"([.])", r"\\\1", path)) + "$")

    def example(self):
        """A body that the document itself gives, or None."""
        content = self.spec.get("requestBody", {}).get("content", {}).get("application/json", {})
        return content.get("example")


class Contract:
    def __init__(self):
        with open(os.path.join(ROOT, "openapi.yaml"), encoding="utf-8") as f:
            self.document = yaml.safe_load(f)
        self.operations = [
            Operation(method.upper(), path, self.resolved(spec))
            for path, item in self.document["paths"].items()
            for method, spec in item.items() if method in ("get", "put", "post", "delete")]

    def resolved(self, node):
        """The tree with every $ref replaced; the document has no cycles."""
        if isinstance(node, dict):
            if "$ref" in node:
                target = self.document
                for part in node["$ref"][2:].split("/"):
                    target = target[part]
                return self.resolved(target)
            return {key: self.resolved(value) for key, value in node.items()}
        if isinstance(node, list):
            return [self.resolved(value) for value in node]
        return node

    def operation(self, method, path):
        """The operation that a request line means; literal paths come before parameters."""
        path = urllib.parse.urlsplit(path).path
        fits = [o for o in self.operations if o.method == method and o.pattern.match(path)]
        return min(fits, key=lambda o: len(o.params), default=None)

    def complaints(self, method, path, status, headers, body):
        """What is wrong with an answer, as sentences; [] when it keeps the contract."""
        operation = self.operation("GET" if method == "HEAD" else method, path)
        if operation is None:
            return [] if status in (404, 405) else [f"{method} {path} is not in openapi.yaml but answered {status}"]
        wrong = []
        responses = operation.spec["responses"]
        spec = responses.get(str(status), responses.get("default") if status >= 400 else None)
        if spec is None:
            return [f"{operation.operation_id}: status {status} is not documented"]
        if not headers.get("Request-Id", "").startswith("req_"):
            wrong.append(f"{operation.operation_id}: {status} without Request-Id")
        content_type = (headers.get("Content-Type") or "").split(";")[0]
        schemas = spec.get("content") or {}
        if body and schemas and content_type not in schemas:
            wrong.append(f"{operation.operation_id}: {status} has content type {content_type!r}, not {list(schemas)}")
        if not body and schemas and method != "HEAD":
            wrong.append(f"{operation.operation_id}: {status} has no body")
        if body and content_type in ("application/json", "application/problem+json") and content_type in schemas:
            wrong += [f"{operation.operation_id} {status}: {what}"
                      for what in self.misfits(json.loads(body), schemas[content_type]["schema"])]
        return wrong

    def misfits(self, value, schema):
        found = []
        if jsonschema is not None:
            validator = jsonschema.Draft202012Validator(schema)
            found += [f"{'/'.join(map(str, e.absolute_path))}: {e.message[:200]}" for e in validator.iter_errors(value)]
        return found + list(unknown_members(value, schema, ""))


def merged(schema):
    """An object schema with its allOf parts folded in."""
    if "allOf" not in schema:
        return schema
    whole = {k: v for k, v in schema.items() if k != "allOf"}
    properties = dict(whole.get("properties", {}))
    for part in map(merged, schema["allOf"]):
        properties.update(part.get("properties", {}))
        whole = {**part, **whole}
    return {**whole, "properties": properties}


def unknown_members(value, schema, where):
    """Members that the schema does not name, unless it is a map or says nothing of its members."""
    schema = merged(schema)
    for choice in schema.get("anyOf", []):
        if isinstance(value, dict) and "properties" in merged(choice):
            yield from unknown_members(value, choice, where)
    if isinstance(value, dict) and schema.get("properties"):
        for key, member in value.items():
            if key in schema["properties"]:
                yield from unknown_members(member, schema["properties"][key], f"{where}/{key}")
            elif not schema.get("additionalProperties"):
                yield f"{where}/{key}: not in the schema"
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        for number, member in enumerate(value):
            yield from unknown_members(member, schema["items"], f"{where}/{number}")
