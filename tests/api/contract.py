"""openapi.yaml as an oracle: which operation an exchange was, and how its answer breaks the contract.

Answers are checked more strictly than the document says: a member that no schema names is a violation.
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
METHODS = ("get", "post", "put", "delete", "patch")
# What any operation may answer; see `info.description` of the document.
CODES_ALWAYS = {"malformed_request", "rate_limited", "headers_too_large", "uri_too_long", "method_not_allowed",
                "database_busy", "overloaded", "internal", "deadline_exceeded", "request_timeout"}
CODES_CREDENTIALS = {"unauthenticated", "token_expired", "forbidden_scope"}


def resolve(document, node):
    while "$ref" in node:
        found = document
        for word in node["$ref"].lstrip("#/").split("/"):
            found = found[word]
        node = found
    return node


def closed(node, is_top_open=False):
    """The same schema, with objects closed and references into $defs."""
    if isinstance(node, list):
        return [closed(item) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return {"$ref": "#/$defs/" + node["$ref"].rsplit("/", 1)[1] + (".open" if is_top_open else "")}
    made = {k: {n: closed(s) for n, s in v.items()} if k == "properties" else closed(v)
            for k, v in node.items() if k not in ("example", "examples")}
    if "allOf" in node:
        made["allOf"] = [closed(part, is_top_open=True) for part in node["allOf"]]
        if any("properties" in part for part in node["allOf"]):
            made["unevaluatedProperties"] = False
    elif "properties" in node and "additionalProperties" not in node and not is_top_open:
        made["additionalProperties"] = False
    return made


class Operation:
    def __init__(self, document, method, path, shared, node):
        self.method, self.path, self.node = method.upper(), path, node
        self.id, self.scope = node["operationId"], node["x-scope"]
        self.pattern = re.compile("^" + re.sub(r"\{\w+\}", "[^/]+", path.replace(".", r"\.")) + "$")
        self.parameters = [resolve(document, p) for p in [*shared, *node.get("parameters", [])]]
        self.responses = {str(k): resolve(document, v) for k, v in node["responses"].items()}
        self.has_body = "requestBody" in node

    def path_names(self):
        return re.findall(r"\{(\w+)\}", self.path)

    def path_with(self, values):
        return re.sub(r"\{(\w+)\}", lambda m: values[m.group(1)], self.path)

    def example(self):
        """A body that the document itself gives, or None."""
        content = self.node.get("requestBody", {}).get("content", {})
        return content.get("application/json", {}).get("example")

    def response_for(self, status):
        for key in (str(status), f"{status // 100}XX"):
            if key in self.responses:
                return self.responses[key]
        return self.responses.get("default") if status >= 400 else None

    def codes(self):
        """The problems that it may answer."""
        allowed = CODES_ALWAYS | set(self.node.get("x-problems", []))
        if self.scope != "public" or self.node.get("security"):
            allowed |= CODES_CREDENTIALS
        if self.has_body:
            allowed |= {"body_too_large", "unsupported_media_type"}
        if self.has_body or self.parameters:
            allowed |= {"invalid_field"}
        if self.path_names():
            allowed |= {"not_found"}
        return allowed


class Contract:
    def __init__(self):
        with open(os.path.join(ROOT, "openapi.yaml"), encoding="utf-8") as f:
            self.document = yaml.safe_load(f)
        self.operations = [Operation(self.document, method, path, item.get("parameters", []), item[method])
                           for path, item in self.document["paths"].items() for method in METHODS if method in item]
        self.definitions = {}
        for name, schema in self.document["components"]["schemas"].items():
            self.definitions[name] = closed(schema)
            self.definitions[name + ".open"] = closed(schema, is_top_open=True)
        self.validators = {}

    def find(self, method, target):
        """The operation of a request; a literal path wins over one with parameters. None: there is none."""
        path = urllib.parse.urlsplit(target).path
        method = "GET" if method == "HEAD" else method
        fits = [o for o in self.operations if o.method == method and o.pattern.match(path)]
        return min(fits, key=lambda o: o.path.count("{"), default=None)

    def violations(self, method, target, status, headers, body):
        """What is wrong with this answer, as sentences."""
        operation = self.find(method, target)
        where = f"{method} {target} -> {status}"
        if operation is None:
            return [] if status in (400, 404, 405, 414, 431) or method == "OPTIONS" else [f"{where}: no operation"]
        response = operation.response_for(status)
        if response is None:
            return [f"{where}: {operation.id} does not document this status"]
        found = []
        if not headers.get("Request-Id", "").startswith("req_"):
            found.append("no Request-Id")
        found += [f"no header {name}" for name in response.get("headers", {}) if name not in ("Link", "RateLimit", "ETag")
                  and not headers.get(name)]
        content = response.get("content", {})
        media = (headers.get("Content-Type") or "").split(";")[0].strip()
        if method == "HEAD" or status in (204, 304):
            if body:
                found.append("has a body")
        elif content and media not in content:
            found.append(f"is {media!r}, documented are {sorted(content)}")
        elif media.endswith("json") and content:
            found += self.body_violations(operation, status, media, content[media].get("schema", {}), body)
        return [f"{where}: {text}" for text in found]

    def body_violations(self, operation, status, media, schema, body):
        if media == "application/x-ndjson":
            values = [json.loads(line) for line in body.splitlines()]
        else:
            values = [json.loads(body)]
        found = []
        for value in values:
            if media == "application/problem+json":
                if value.get("status") != status:
                    found.append(f"the problem says status {value.get('status')}")
                if value.get("code") not in operation.codes():
                    found.append(f"{operation.id} does not announce the problem {value.get('code')}: {value}")
            if jsonschema:
                key = (operation.id, status, media)
                if key not in self.validators:
                    self.validators[key] = jsonschema.Draft202012Validator(
                        {**closed(schema), "$defs": self.definitions})
                found += [f"/{'/'.join(map(str, e.absolute_path))}: {e.message[:300]}"
                          for e in self.validators[key].iter_errors(value)]
        return found
