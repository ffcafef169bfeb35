#!/usr/bin/env python3
"""openapi_gen.py openapi.yaml err.def outdir: makes operations.{h,c}, operation_steps.c and openapi_json.c.

The dialect is stated at the top of openapi.yaml; whatever it does not allow stops the build here, so that
no limit is forgotten. The shape of the generated structs is described in api/schema.h.
"""
import json
import os
import re
import sys

import yaml

METHODS = ["get", "post", "put", "delete"]
ID_H = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "broker", "base", "id.h")


class Bad(Exception):
    pass


def snake(name):
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower().replace("-", "_")


def upper(text):
    return re.sub(r"[^A-Za-z0-9]", "_", str(text)).upper()


def c_str(text):
    return "NULL" if text is None else json.dumps(str(text))


def c_int(n):
    return f"INT64_C({n})"


def need(ok, why):
    if not ok:
        raise Bad(why)


def bits(indexes):
    return f"UINT64_C(0x{sum(1 << i for i in indexes):x})"


# ---- patterns: a row of sets with counts, safe to match greedily

def pattern_atoms(text, where):
    need(text.startswith("^") and text.endswith("$"), f"{where}: pattern must be anchored")
    rest, atoms = text[1:-1], []
    token = re.compile(r"(\[(?:[^\]]+)\]|[^\[\]{}+*?])(\{\d+(?:,\d+)?\}|[+*?])?")
    while rest:
        m = token.match(rest)
        need(m, f"{where}: pattern not understood at {rest!r}")
        rest = rest[m.end():]
        atoms.append((char_set(m[1]),) + counts(m[2]))
    for i, (chars, least, most) in enumerate(atoms):
        for later, later_least, _ in atoms[i + 1:] if least != most else []:
            need(later_least == 0 or not chars & later, f"{where}: pattern is not greedy-safe")
            if later_least:
                break
    return atoms


def char_set(text):
    if len(text) == 1:
        return {ord(text)}
    chars, body, i = set(), text[1:-1], 0
    while i < len(body):
        if i + 2 < len(body) and body[i + 1] == "-":
            chars |= set(range(ord(body[i]), ord(body[i + 2]) + 1))
            i += 3
        else:
            chars.add(ord(body[i]))
            i += 1
    return chars


def counts(text):
    if text is None:
        return 1, 1
    if text in "+*?":
        return {"+": (1, 65535), "*": (0, 65535), "?": (0, 1)}[text]
    parts = text[1:-1].split(",")
    return int(parts[0]), int(parts[-1])


def c_atoms(atoms):
    out = []
    for chars, least, most in atoms:
        low = sum(1 << c for c in chars if c < 64)
        high = sum(1 << (c - 64) for c in chars if c >= 64)
        out.append("{{0x%xULL, 0x%xULL}, %d, %d}" % (low, high, least, most))
    return ", ".join(out)


# ---- schemas to structs and tables

class Generator:
    def __init__(self, doc, slugs, prefixes):
        self.doc, self.slugs, self.prefixes = doc, slugs, prefixes
        self.h, self.c = [], []          # declarations and tables, in dependency order
        self.names = {}                  # C name -> kind, to refuse doubles
        self.schemas = {}                # component name -> table

    def resolve(self, node):
        if "$ref" not in node:
            return node, None
        at = self.doc
        parts = node["$ref"].split("/")[1:]
        for part in parts:
            at = at[part]
        return at, snake(parts[-1])

    def claim(self, name):
        need(name not in self.names, f"two things are called {name} in C")
        self.names[name] = True
        return name

    def schema(self, node, name):
        """Emits what `node` needs; returns (C type, table name, kind). `name` is for inline schemas."""
        node, component = self.resolve(node)
        if component:
            name = component
            if name in self.schemas:
                return self.schemas[name]
        kind = node.get("type")
        if "x-id" in node:
            made = self.id(node, name)
        elif kind == "string" and "enum" in node:
            made = self.enum(node, name)
        elif kind == "string":
            made = self.string(node, name)
        elif kind == "integer":
            need("minimum" in node and "maximum" in node, f"{name}: integer without limits")
            made = self.table(name, "int64_t", "SCHEMA_INTEGER", min=c_int(node["minimum"]), max=c_int(node["maximum"]))
        elif kind == "number":
            need("minimum" in node and "maximum" in node, f"{name}: number without limits")
            made = self.table(name, "int64_t", "SCHEMA_NUMBER", min=c_int(node["minimum"]), max=c_int(node["maximum"]))
        elif kind == "boolean":
            made = self.table(name, "bool", "SCHEMA_BOOLEAN")
        elif kind == "array":
            made = self.array(node, name)
        elif kind == "object" and "additionalProperties" in node and node["additionalProperties"] is not False:
            made = self.map(node, name)
        elif kind == "object":
            made = self.object(node, name)
        else:
            raise Bad(f"{name}: type {kind} is not in the dialect")
        if component:
            self.schemas[name] = made
        return made

    def table(self, name, ctype, kind, **members):
        table = self.claim(f"{name}_schema")
        rows = {"kind": kind, "size": f"sizeof({ctype})", "json_offset": "-1"} | members
        body = ", ".join(f".{k} = {v}" for k, v in rows.items())
        self.c.append(f"const struct schema {table} = {{{body}}};")
        self.h.append(f"extern const struct schema {table};")
        return ctype, table, kind

    def id(self, node, name):
        entity = node["x-id"]
        need(entity in self.prefixes, f"{name}: no id type {entity}")
        need(node["pattern"].startswith(f"^{self.prefixes[entity]}_"), f"{name}: pattern and id prefix differ")
        return self.table(name, f"struct {entity}", "SCHEMA_ID", id_prefix=c_str(self.prefixes[entity]))

    def string(self, node, name):
        need("maxLength" in node, f"{name}: string without maxLength")
        if node.get("format") == "date-time":
            return self.table(name, "int64_t", "SCHEMA_TIME")
        members = {"min": node.get("minLength", 0), "max": node["maxLength"]}
        if "pattern" in node:
            self.c.append(f"static const struct schema_atom {name}_pattern[] = "
                          f"{{{c_atoms(pattern_atoms(node['pattern'], name))}}};")
            members |= {"pattern": f"{name}_pattern", "pattern_count": f"ARRAY_COUNT({name}_pattern)",
                        "pattern_text": c_str(node["pattern"])}
        return self.table(name, "struct str", "SCHEMA_STRING", **members)

    def enum(self, node, name):
        values, refused = node["enum"], node.get("x-not-supported-values", {})
        self.claim(f"enum {name}")
        words = [f"{upper(name)}_{upper(v)}" for v in values]
        self.h.append(f"enum {name} {{\n" + "".join(
            f"    {w}{' = 1' if i == 0 else ''},\n" for i, w in enumerate(words)) + "};")
        self.h.append(f"const char *{name}_text(enum {name} value); /* NULL for 0 */")
        rows = ", ".join(f"{{{c_str(v)}, {c_str(refused.get(v))}}}" for v in values)
        self.c.append(f"static const struct schema_word {name}_words[] = {{{rows}}};")
        self.c.append(f"const char *{name}_text(enum {name} value)\n{{\n"
                      f"    return value ? {name}_words[value - 1].text : NULL;\n}}")
        return self.table(name, f"enum {name}", "SCHEMA_ENUM", words=f"{name}_words",
                          words_count=f"ARRAY_COUNT({name}_words)")

    def array(self, node, name):
        need("maxItems" in node, f"{name}: array without maxItems")
        ctype, item, kind = self.schema(node["items"], f"{name}_item")
        if kind == "SCHEMA_STRING":
            list_type = "struct schema_strings"
        else:
            list_type = f"struct {self.claim(name + '_list')}"
            self.h.append(f"{list_type} {{\n    const {ctype} *at;\n    size_t count;\n}};")
        return self.table(name, list_type, "SCHEMA_ARRAY", min=node.get("minItems", 0), max=node["maxItems"],
                          item=f"&{item}", is_unique="true" if node.get("uniqueItems") else "false")

    def map(self, node, name):
        need("maxProperties" in node and "propertyNames" in node, f"{name}: map without limits")
        _, key, _ = self.schema({"type": "string", "maxLength": 256} | node["propertyNames"], f"{name}_key")
        _, item, kind = self.schema(node["additionalProperties"], f"{name}_value")
        need(kind == "SCHEMA_STRING", f"{name}: a map holds strings")
        return self.table(name, "struct schema_pairs", "SCHEMA_MAP", max=node["maxProperties"],
                          item=f"&{item}", key=f"&{key}")

    def object(self, node, name):
        need(node.get("additionalProperties") is False, f"{name}: object must be closed")
        members, rows, blank = [], [], []
        if node.get("x-keep-json"):
            members.append("    const json_t *json;")
        required, order = node.get("required", []), list(node["properties"])
        need(len(order) <= 64, f"{name}: more than 64 fields")
        for field, inner in node["properties"].items():
            self.field(name, field, inner, field in required, members, rows, blank)
        need(members, f"{name}: no members")
        self.h.append(f"struct {self.claim(name)} {{\n" + "\n".join(members) + "\n};")
        self.c.append(f"static const struct schema_field {name}_fields[] = {{\n" + "\n".join(rows) + "\n};")
        extra = {"fields": f"{name}_fields", "fields_count": f"ARRAY_COUNT({name}_fields)",
                 "required": bits(order.index(f) for f in required if "default" not in node["properties"][f])}
        if "oneOf" in node:
            names = [option["required"][0] for option in node["oneOf"]]
            need(all(set(o) == {"required"} and len(o["required"]) == 1 for o in node["oneOf"]), f"{name}: oneOf")
            need(names == sorted(names, key=order.index), f"{name}: oneOf in another order than the properties")
            extra["one_of"] = bits(map(order.index, names))
        if blank:
            self.c.append(f"static const struct {name} {name}_blank = {{{', '.join(blank)}}};")
            extra["blank"] = f"&{name}_blank"
        if node.get("x-keep-json"):
            extra["json_offset"] = f"offsetof(struct {name}, json)"
        return self.table(name, f"struct {name}", "SCHEMA_OBJECT", **extra)

    @staticmethod
    def default(where, ctype, node, value):
        """A default as C writes it, checked as if it had been sent."""
        if "enum" in node:
            need(value in node["enum"] and value not in node.get("x-not-supported-values", {}), f"{where}: default")
            return f"{upper(ctype.removeprefix('enum '))}_{upper(value)}"
        if node["type"] == "boolean":
            return str(value).lower()
        if node["type"] == "integer":
            need(node["minimum"] <= value <= node["maximum"], f"{where}: default")
            return c_int(value)
        need(ctype == "struct str" and node.get("minLength", 0) <= len(value) <= node["maxLength"] and
             re.search(node.get("pattern", ""), value), f"{where}: default")
        return f"{{.at = {c_str(value)}, .len = {len(value.encode())}}}"

    def field(self, owner, field, inner, is_required, members, rows, blank):
        row = {"name": c_str(field), "has_offset": "-1"}
        if is_required:
            row["is_required"] = "true"
        if "x-not-supported" in inner:
            row["not_supported"] = c_str(inner["x-not-supported"])
        else:
            ctype, table, kind = self.schema(inner, f"{owner}_{snake(field)}")
            member = snake(field)
            if kind == "SCHEMA_TIME":
                member = re.sub(r"_at$", "", member) + "_at_us"
            members.append(f"    {ctype} {member};")
            row |= {"schema": f"&{table}", "offset": f"offsetof(struct {owner}, {member})"}
            node = self.resolve(inner)[0]
            default = node.get("default")
            if default is not None:
                row["default_text"] = c_str(str(default).lower() if isinstance(default, bool) else default)
                blank.append(f".{member} = {self.default(f'{owner}.{field}', ctype, node, default)}")
            elif not is_required and kind in ("SCHEMA_INTEGER", "SCHEMA_BOOLEAN", "SCHEMA_OBJECT", "SCHEMA_ID",
                                              "SCHEMA_TIME"):
                members.append(f"    bool has_{snake(field)};")
                row["has_offset"] = f"offsetof(struct {owner}, has_{snake(field)})"
            refused = inner.get("x-not-supported-values", {})
            if kind == "SCHEMA_BOOLEAN" and refused:
                row["true_not_supported"] = c_str(refused["true"])
        rows.append("    {" + ", ".join(f".{k} = {v}" for k, v in row.items()) + "},")

    # ---- operations

    def parameters(self, op_id, where, nodes):
        """The `where` parameters of an operation as one struct; None without any."""
        chosen = [self.resolve(node) for node in nodes]
        chosen = [(p, name) for p, name in chosen if p["in"] == where]
        if not chosen:
            return None
        properties = {}
        for parameter, component in chosen:
            inner = parameter["schema"]
            if component and "$ref" not in inner:   # a shared parameter has one type, whoever uses it
                self.doc["components"].setdefault("x-shared", {})[component] = inner
                inner = {"$ref": f"#/components/x-shared/{component}"}
            properties[parameter["name"]] = inner
        required = [p["name"] for p, _ in chosen if p.get("required")]
        node = {"type": "object", "additionalProperties": False, "properties": properties, "required": required}
        return self.schema(node, f"{op_id}_{where}")

    def operation(self, path, method, node, shared):
        op_id = node["operationId"]
        need(re.fullmatch(r"[a-z][a-z_]*", op_id), f"{op_id}: not a C name")
        for slug in node.get("x-problems", []):
            need(slug in self.slugs, f"{op_id}: {slug} is not in err.def")
            need(str(self.slugs[slug]) in node["responses"], f"{op_id}: no response for {slug}")
        parameters = shared + node.get("parameters", [])
        path_made = self.parameters(op_id, "path", parameters)
        query_made = self.parameters(op_id, "query", parameters)
        need(re.findall(r"{(\w+)}", path) == [self.resolve(p)[0]["name"] for p in parameters
                                              if self.resolve(p)[0]["in"] == "path"], f"{op_id}: path parameters")
        scope = node["x-scope"]
        auth = {"public": "AUTH_PUBLIC", "any": "AUTH_ANY", "node": "AUTH_NODE"}.get(scope, "AUTH_SCOPE")
        scopes = self.doc["components"]["schemas"]["Scope"]["enum"]
        need(auth != "AUTH_SCOPE" or scope in scopes, f"{op_id}: no scope {scope}")
        row = {"op": f"OP_{upper(op_id)}", "operation_id": c_str(op_id), "method": f"METHOD_{upper(method)}",
               "path_template": c_str(path), "auth": auth, "deadline_ms": int(node["x-deadline-ms"])}
        if node.get("security") == [{}, {"bearer": []}]:
            row["reads_bearer"] = "true"
        if method == "delete" or auth == "AUTH_NODE" or "service" in node["tags"]:
            row["is_unlimited"] = "true"
        if auth == "AUTH_SCOPE":
            row["scope"] = f"SCOPE_{upper(scope)}"
        for name, made in (("path", path_made), ("query", query_made)):
            if made:
                row[name] = f"&{made[1]}"
        row |= self.body(op_id, method, node)
        return row

    def body(self, op_id, method, node):
        row = {}
        if "requestBody" in node:
            content = node["requestBody"]["content"]
            need(set(content) <= {"application/json", "application/yaml"}, f"{op_id}: media types")
            schema = content["application/json"]["schema"]
            _, table, kind = self.schema(schema, f"{op_id}_body")
            need(kind == "SCHEMA_OBJECT", f"{op_id}: a body is an object")
            row["body"] = f"&{table}"
            row["is_body_required"] = "true" if node["requestBody"].get("required") else "false"
            row["accepts_yaml"] = "true" if "application/yaml" in content else "false"
            row["example"] = c_str(json.dumps(content["application/json"]["example"]))
        if method == "post":
            kind = {"no": "IDEMPOTENCY_NONE", "optional": "IDEMPOTENCY_OPTIONAL",
                    "required": "IDEMPOTENCY_REQUIRED"}[node["x-idempotent"]]
            row["idempotency"] = kind
        return row


def route_nodes(rows):
    """The trie as flat rows: literal children before the parameter child; ops by method."""
    root = {"segment": "", "children": {}, "ops": {}}
    for row in rows:
        at = root
        for part in json.loads(row["path_template"]).strip("/").split("/"):
            key = None if part.startswith("{") else part
            at = at["children"].setdefault(key, {"segment": key, "children": {}, "ops": {}})
        at["ops"][row["method"]] = row["op"]
    flat, queue = [], [root]
    while queue:
        node = queue.pop(0)
        node["children"] = sorted(node["children"].values(), key=lambda n: (n["segment"] is None, n["segment"] or ""))
        node["first"] = 1 + len(flat) + len(queue)
        flat.append(node)
        queue += node["children"]
    return flat


HEAD = "/* Generated from openapi.yaml by api/openapi_gen.py. */\n"

OPERATIONS_H = """\
enum method {
    METHOD_GET = 1, METHOD_POST, METHOD_PUT, METHOD_DELETE, METHOD_COUNT
};
enum op_auth { AUTH_PUBLIC = 1, AUTH_ANY, AUTH_SCOPE, AUTH_NODE };
enum op_idempotency { IDEMPOTENCY_NONE, IDEMPOTENCY_OPTIONAL, IDEMPOTENCY_REQUIRED };

struct op_info {
    enum op op;
    const char *operation_id;
    enum method method;
    const char *path_template;
    enum op_auth auth;
    enum scope scope;             /* with AUTH_SCOPE */
    bool reads_bearer;            /* AUTH_PUBLIC: credentials are optional */
    bool is_unlimited;            /* never rate-limited here */
    int64_t deadline_ms;
    enum op_idempotency idempotency;
    const struct schema *path, *query, *body; /* NULL: none */
    bool is_body_required;
    bool accepts_yaml;
    const char *example;          /* of the body, JSON */
};

struct route_node {
    const char *segment;          /* NULL: a parameter */
    uint16_t first_child, children_count;
    uint16_t ops[METHOD_COUNT];   /* enum op, 0: none */
};

extern const struct op_info operations[OP_COUNT]; /* by enum op; row 0 is empty */
extern const struct flow_step *const operation_steps[OP_COUNT]; /* a missing handler does not link */
extern const struct route_node route_nodes[];
extern const char openapi_json[];
extern const size_t openapi_json_len;
"""


def write(outdir, name, text):
    with open(os.path.join(outdir, name), "w", encoding="utf-8") as f:
        f.write(text)


def main(source, err_def, outdir):
    with open(source, encoding="utf-8") as f:
        text = f.read()
    doc, published = yaml.safe_load(text), yaml.safe_load(text)
    with open(err_def, encoding="utf-8") as f:
        slugs = {m[1]: int(m[0]) for m in re.findall(r'^ERR\(\w+,\s*(\d+),\s*"(\w+)"', f.read(), re.M)}
    need(set(doc["components"]["schemas"]["Problem"]["properties"]["code"]["enum"]) == set(slugs),
         "Problem.code and err.def differ")
    with open(ID_H, encoding="utf-8") as f:
        prefixes = dict(re.findall(r'X\((\w+), "(\w+)"\)', f.read()))
    g = Generator(doc, slugs, prefixes)
    g.schema({"$ref": "#/components/schemas/Scope"}, "")
    rows = []
    for path, item in doc["paths"].items():
        for method in METHODS:
            if method in item:
                rows.append(g.operation(path, method, item[method], item.get("parameters", [])))
    for name, node in doc["components"]["schemas"].items():
        if node.get("x-bind"):
            g.schema({"$ref": f"#/components/schemas/{name}"}, "")
    write_all(outdir, g, rows, published)


def name(row):
    return json.loads(row["operation_id"])


def write_all(outdir, g, rows, doc):
    ops = ["OP_NONE"] + [row["op"] for row in rows] + ["OP_COUNT"]
    h = [HEAD + "#ifndef UNDERCUT_GEN_OPERATIONS_H\n#define UNDERCUT_GEN_OPERATIONS_H\n",
         '#include "api/schema.h"\n#include "broker/base/id.h"\n#include "broker/io/flow.h"\n',
         "enum op {\n" + "".join(f"    {op},\n" for op in ops) + "};\n"]
    h += g.h + [OPERATIONS_H] + [f"extern const struct flow_step {name(row)}_steps[];" for row in rows] + ["\n#endif\n"]
    write(outdir, "operations.h", "\n".join(h))
    flat = route_nodes(rows)
    trie = "".join("    {%s, %d, %d, {%s}},\n" % (
        c_str(n["segment"]), n["first"], len(n["children"]),
        ", ".join(f"[{m}] = {op}" for m, op in sorted(n["ops"].items())) or "0") for n in flat)
    table = "".join(f"    [{row['op']}] = {{" + ", ".join(f".{k} = {v}" for k, v in row.items()) + "},\n"
                    for row in rows)
    c = [HEAD, '#include "gen/api/operations.h"\n'] + g.c
    c += [f"const struct op_info operations[OP_COUNT] = {{\n{table}}};\n",
          f"const struct route_node route_nodes[] = {{\n{trie}}};\n"]
    write(outdir, "operations.c", "\n".join(c))
    steps = "".join(f"    [{row['op']}] = {name(row)}_steps,\n" for row in rows)
    write(outdir, "operation_steps.c", HEAD + '\n#include "gen/api/operations.h"\n\n'
          f"const struct flow_step *const operation_steps[OP_COUNT] = {{\n{steps}}};\n")
    compact = json.dumps(doc, separators=(",", ":"), ensure_ascii=True)
    pieces = [compact[i:i + 120] for i in range(0, len(compact), 120)]
    write(outdir, "openapi_json.c", HEAD + '\n#include "gen/api/operations.h"\n\nconst char openapi_json[] =\n' +
          "\n".join("    " + json.dumps(p) for p in pieces) +
          ";\nconst size_t openapi_json_len = sizeof(openapi_json) - 1;\n")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:4])
    except Bad as why:
        sys.exit(f"{sys.argv[1]}: {why}")
