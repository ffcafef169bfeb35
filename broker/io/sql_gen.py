#!/usr/bin/env python3
"""Turns annotated .sql into typed C: see the dialect at the top of broker/io/sql.h.

    sql_gen.py in.sql out.h out.c            one file's calls
    sql_gen.py --registry out.c in.sql ...   the list of all statements, for the contract test

Every complaint is "file:line: what is wrong" and ends the build.
"""
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

# type -> (oid, oid of its array, C type, suffix of the codec functions)
TYPES = {
    "bool": (16, 1000, "bool", "bool"),
    "int4": (23, 1007, "int32_t", "int4"),
    "int8": (20, 1016, "int64_t", "int8"),
    "uuid": (2950, 2951, "struct uuid", "uuid"),
    "text": (25, 1009, "struct str", "text"),
    "bytea": (17, 1001, "struct str", "text"),
    "jsonb": (3802, 3807, "struct str", "jsonb"),
    "timestamptz": (1184, 1185, "int64_t", "timestamptz"),
}
SLICES = {"text", "bytea", "jsonb"}
KEYS = {"name", "doc", "scope", "batch", "lane", "in", "out"}
PARAMS_MAX = 40
C_WORDS = set("""auto break case char const continue default do double else enum extern float for goto
    if inline int long register restrict return short signed sizeof static struct switch typedef union
    unsigned void volatile while bool""".split())


class Wrong(Exception):
    def __init__(self, line, what):
        super().__init__(what)
        self.line = line


@dataclass
class Field:
    name: str
    type: str
    is_array: bool
    is_nullable: bool

    @property
    def c_name(self):
        is_bare_time = self.type == "timestamptz" and not self.name.endswith("_us")
        return self.name + "_us" if is_bare_time else self.name

    @property
    def has_flag(self):
        return self.is_nullable and self.type not in SLICES

    def members(self):
        c_type = TYPES[self.type][2]
        if self.is_array:
            return [f"const {c_type} *{self.c_name};", f"size_t {self.c_name}_count;"]
        flag = [f"bool has_{self.name};"] if self.has_flag else []
        return [f"{c_type} {self.c_name};"] + flag


@dataclass
class Statement:
    name: str
    line: int
    keys: dict = field(default_factory=dict)  # key -> (line, text)
    text: str = ""
    text_line: int = 0
    ins: list = field(default_factory=list)
    outs: list = field(default_factory=list)

    @property
    def is_batch(self):
        return self.keys.get("batch", (0, "false"))[1] == "true"

    @property
    def is_account_scoped(self):
        return self.keys.get("scope", (0, ""))[1] == "account"

    @property
    def is_write(self):
        lane = self.keys.get("lane")
        if self.is_batch or lane:
            return not lane or lane[1] == "write"
        return bool(re.search(r"\b(insert|update|delete|merge|for (key )?share)\b", bare(self.text), re.I))


def bare(text):
    """The text with its literals emptied, for looking at words and parameters."""
    return re.sub(r"'(?:[^']|'')*'", "''", text)


def without_comments(text):
    return re.sub(r"('(?:[^']|'')*')|--[^\n]*", lambda m: m.group(1) or "", text)


def parse_fields(line, text, kind):
    fields = []
    for item in [part.strip() for part in text.split(",")]:
        match = re.fullmatch(r"([a-z_][a-z0-9_]*)\s+([a-z0-9]+)(\[\])?(\?)?", item)
        if not match:
            raise Wrong(line, f"{kind}: '{item}' is not '<name> <type>[?]'")
        name, type_name, array, nullable = match.groups()
        if type_name not in TYPES:
            raise Wrong(line, f"{kind}: type '{type_name}' of '{name}' is none of {' '.join(TYPES)}")
        if name in C_WORDS:
            raise Wrong(line, f"{kind}: '{name}' is a word of C")
        if name in [other.name for other in fields]:
            raise Wrong(line, f"{kind}: '{name}' stands twice")
        fields.append(Field(name, type_name, bool(array), bool(nullable)))
    if len(fields) > PARAMS_MAX and kind == "in":
        raise Wrong(line, f"in: {len(fields)} parameters, at most {PARAMS_MAX}")
    return fields


def split_statements(source):
    """Yields statements with raw keys and text; a comment line in the head continues its key."""
    current, key, in_head = None, None, False
    found = []
    for number, line in enumerate(source.split("\n"), 1):
        head = re.match(r"--\s*([a-z_]+):\s*(.*)$", line)
        if head and head.group(1) == "name":
            current = Statement(head.group(2).strip(), number, {"name": (number, head.group(2))})
            found.append(current)
            key, in_head = "name", True
        elif current is None:
            if line.strip() and not line.startswith("--"):
                raise Wrong(number, "text before the first '-- name:'")
        elif in_head and line.startswith("--"):
            key = read_head_line(current, key, number, line, head)
        else:
            in_head = in_head and not line.strip()
            if line.strip() and not current.text_line:
                current.text_line = number
            current.text += line + "\n"
    return found


def read_head_line(statement, key, number, line, head):
    if head and head.group(1) in KEYS:
        key = head.group(1)
        if key in statement.keys:
            raise Wrong(number, f"'{key}:' stands twice")
        statement.keys[key] = (number, head.group(2).strip())
        return key
    if head and key != "doc":
        raise Wrong(number, f"'{head.group(1)}:' is none of {' '.join(sorted(KEYS))}")
    if key == "name":
        raise Wrong(number, "a comment after 'name:' starts with '-- doc:'")
    first, text = statement.keys[key]
    statement.keys[key] = (first, (text + " " + line.lstrip("-").strip()).strip())
    return key


def check_keys(statement):
    if not re.fullmatch(r"[a-z][a-z0-9_]*", statement.name):
        raise Wrong(statement.line, f"name '{statement.name}' is not lower_case_words")
    if len(statement.name) > 60:
        raise Wrong(statement.line, "the name is longer than 60")
    for key, allowed in (("batch", ("true", "false")), ("scope", ("account", "none")),
                         ("lane", ("read", "write"))):
        line, value = statement.keys.get(key, (0, allowed[0]))
        if value not in allowed:
            raise Wrong(line, f"{key}: '{value}' is none of {' '.join(allowed)}")
    for key in ("in", "out"):
        line, text = statement.keys.get(key, (0, ""))
        fields = parse_fields(line, text, key) if text else []
        setattr(statement, key + "s", fields)
    for out in statement.outs:
        if out.is_array:
            raise Wrong(statement.keys["out"][0], f"out: '{out.name}' is an array; results are scalars")


def check_text(statement):
    text = without_comments(statement.text).strip()
    text = re.sub(r"[ \t]+\n", "\n", re.sub(r"\n\s*\n", "\n", text))
    if not text:
        raise Wrong(statement.line, f"{statement.name} has no text")
    if not text.endswith(";"):
        raise Wrong(statement.text_line, f"{statement.name} does not end with ';'")
    statement.text = text[:-1].rstrip()
    if ";" in bare(statement.text):
        raise Wrong(statement.text_line, f"{statement.name} holds more than one statement")
    used = {int(n) for n in re.findall(r"\$(\d+)", bare(statement.text))}
    declared = set(range(1, len(statement.ins) + 1))
    if used - declared:
        raise Wrong(statement.text_line, f"${max(used)} is used but 'in:' declares {len(declared)}")
    if declared - used:
        missing = min(declared - used)
        name = statement.ins[missing - 1].name
        raise Wrong(statement.text_line, f"'{name}' is declared but ${missing} is not used")


def check_batch(statement):
    if not statement.is_batch:
        return
    line = statement.keys["batch"][0]
    if not statement.ins:
        raise Wrong(line, "a batch needs 'in:'")
    if any(f.is_array for f in statement.ins):
        raise Wrong(line, "the parameters of a batch are declared as scalars")
    first = statement.outs[0] if statement.outs else None
    if not first or (first.name, first.type, first.is_nullable) != ("ord", "int4", False):
        raise Wrong(line, "the first column of a batch is 'ord int4'")


def check_scope(statement):
    if not statement.is_account_scoped:
        return
    line = statement.keys["scope"][0]
    first = statement.ins[0] if statement.ins else None
    if not first or (first.name, first.type, first.is_nullable) != ("account_id", "uuid", False):
        raise Wrong(line, "scope account: the first parameter is 'account_id uuid'")
    text = re.sub(r"\s+", " ", bare(statement.text))
    pattern = r"\baccount_id = \$1(?!\d)"
    if statement.is_batch:  # the unnested column of that name, on either side of the comparison
        pattern = r"\baccount_id = [a-z_]+\.account_id\b"
    if not re.search(pattern, text, re.I):
        wanted = "<row>.account_id = <member>.account_id" if statement.is_batch else "account_id = $1"
        raise Wrong(line, f"scope account: the text does not filter on {wanted}")


def parse(path):
    source = Path(path).read_text(encoding="utf-8")
    statements = split_statements(source)
    if not statements:
        raise Wrong(1, "no '-- name:' here")
    seen = set()
    for statement in statements:
        check_keys(statement)
        if statement.name in seen:
            raise Wrong(statement.line, f"name '{statement.name}' stands twice")
        seen.add(statement.name)
        check_text(statement)
        check_batch(statement)
        check_scope(statement)
    return statements


def c_string(text, indent):
    lines = text.split("\n")
    quoted = []
    for number, line in enumerate(lines):
        escaped = line.replace("\\", "\\\\").replace('"', '\\"').replace("??", "?\" \"?")
        end = "\\n" if number + 1 < len(lines) else ""
        quoted.append(f'{indent}"{escaped}{end}"')
    return "\n".join(quoted)


def declare_struct(name, fields):
    members = "".join(f"    {m}\n" for f in fields for m in f.members())
    return f"struct {name} {{\n{members}}};\n"


def signature_run(s):
    args = ["struct session *session"]
    if s.ins:
        args.append(f"const struct {s.name}_in *in")
    if s.is_batch:
        args.append("size_t count")
    args.append("struct sql_result **ret_result")
    return f"enum err_code {s.name}_run({', '.join(args)})"


def signature_submit(s):
    last = f", const struct {s.name}_in *in" if s.ins else ""
    return f"void {s.name}_submit(struct db *db, struct db_call *call{last})"


def signature_row(s):
    return f"void {s.name}_row(const struct sql_result *result, int row, struct {s.name}_out *ret)"


def signature_get(s):
    return f"void {s.name}_get(const struct db_call *call, int row, struct {s.name}_out *ret)"


def emit_h(path, source, statements):
    place = "_".join(Path(path).parts[-2:]).upper()
    guard = "UNDERCUT_GEN_" + re.sub(r"[^A-Z0-9]", "_", place)
    out = [f"/* Generated from {Path(source).name} by sql_gen.py; edit that. */\n",
           f"#ifndef {guard}\n#define {guard}\n\n#include \"broker/io/db.h\"\n"]
    for s in statements:
        doc = s.keys.get("doc", (0, ""))[1]
        out.append(f"\n/* {s.name}: {doc} */\n".replace(": */", " */"))
        if s.ins:
            out.append(declare_struct(s.name + "_in", s.ins))
        if s.outs:
            out.append(declare_struct(s.name + "_out", s.outs))
        out.append(f"extern const struct sql_statement {s.name}_statement;\n")
        out.append(signature_submit(s) + ";\n" + signature_run(s) + ";\n")
        if s.outs:
            out.append(signature_row(s) + ";\n" + signature_get(s) + ";\n")
    out.append("\n#endif\n")
    Path(path).write_text("".join(out), encoding="utf-8")


def encode_line(f):
    codec = TYPES[f.type][3]
    if f.is_array:
        oid = f", {TYPES[f.type][0]}" if codec == "text" else ""
        put = f"sql_put_{codec}_array(params, in->{f.c_name}, in->{f.c_name}_count{oid});"
        return [f"    {put}"]
    put = f"sql_put_{codec}(params, in->{f.c_name});"
    if f.has_flag:
        return [f"    if (in->has_{f.name})", f"        {put}", "    else",
                "        sql_put_null(params);"]
    if f.type in SLICES and not f.is_nullable:
        return [f"    must(in->{f.c_name}.at != NULL);", f"    {put}"]
    return [f"    {put}"]


def decode_line(column, f):
    get = f"ret->{f.c_name} = sql_get_{TYPES[f.type][3]}(result, row, {column});"
    if not f.is_nullable:
        return [f"    must(!sql_is_null(result, row, {column}));", f"    {get}"]
    if f.has_flag:
        return [f"    ret->has_{f.name} = !sql_is_null(result, row, {column});", f"    {get}"]
    return [f"    {get}"]


def emit_statement(s):
    out = []
    if s.outs:
        rows = "".join(f"    {{\"{f.name}\", {TYPES[f.type][0]}}},\n" for f in s.outs)
        out.append(f"static const struct sql_column {s.name}_columns[] = {{\n{rows}}};\n")
    if s.is_batch:
        oids = ", ".join(str(TYPES[f.type][0]) for f in s.ins)
        out.append(f"static const uint32_t {s.name}_element_oids[] = {{{oids}}};\n")
    oids = ", ".join(str(TYPES[f.type][1 if s.is_batch or f.is_array else 0]) for f in s.ins)
    out.append(f"const struct sql_statement {s.name}_statement = {{\n    .name = \"{s.name}\",\n"
               f"    .text =\n{c_string(s.text, '        ')},\n"
               f"    .params_count = {len(s.ins)},\n    .param_oids = {{{oids or 0}}},\n"
               f"    .columns_count = {len(s.outs)},\n"
               + (f"    .columns = {s.name}_columns,\n" if s.outs else "")
               + f"    .is_batch = {str(s.is_batch).lower()},\n"
               f"    .is_write = {str(s.is_write).lower()},\n"
               f"    .is_account_scoped = {str(s.is_account_scoped).lower()},\n"
               + (f"    .element_oids = {s.name}_element_oids,\n" if s.is_batch else "") + "};\n")
    return "\n".join(out)


def emit_calls(s):
    out = []
    if s.ins:
        body = "\n".join(line for f in s.ins for line in encode_line(f))
        out.append(f"static void {s.name}_encode(struct sql_params *params, "
                   f"const struct {s.name}_in *in)\n{{\n{body}\n}}\n")
    encode = f"    {s.name}_encode(&params, in);\n" if s.ins else ""
    lane = "db_write" if s.is_write else "db_read"
    out.append(f"{signature_submit(s)}\n{{\n    struct sql_params params = {{.count = 0}};\n"
               f"{encode}    {lane}(db, call, &{s.name}_statement, &params);\n}}\n")
    if s.is_batch:
        out.append(f"{signature_run(s)}\n{{\n    struct sql_batch batch = {{.rows_count = 0}};\n"
                   f"    struct sql_params params = {{.count = 0}};\n"
                   f"    for (size_t i = 0; i < count; i++) {{\n"
                   f"        sql_params_reset(&params);\n"
                   f"        {s.name}_encode(&params, &in[i]);\n"
                   f"        sql_batch_add(&batch, &{s.name}_statement, &params);\n    }}\n"
                   f"    sql_params_finish(&params);\n"
                   f"    enum err_code err = session_run_batch(session, &{s.name}_statement, &batch, "
                   f"ret_result);\n    sql_batch_finish(&batch);\n    return err;\n}}\n")
    else:
        out.append(f"{signature_run(s)}\n{{\n    struct sql_params params = {{.count = 0}};\n{encode}"
                   f"    return session_run(session, &{s.name}_statement, &params, ret_result);\n}}\n")
    if s.outs:
        body = "\n".join(line for i, f in enumerate(s.outs) for line in decode_line(i, f))
        out.append(f"{signature_row(s)}\n{{\n{body}\n}}\n")
        out.append(f"{signature_get(s)}\n{{\n    must(row >= 0 && row < call->row_count);\n"
                   f"    {s.name}_row(call->result, call->row_first + row, ret);\n}}\n")
    return "\n".join(out)


def emit_c(path, header, source, statements):
    out = [f"/* Generated from {Path(source).name} by sql_gen.py; edit that. */\n"
           f"#include \"{Path(header).name}\"\n\n#include \"broker/io/sql_wire.h\"\n"]
    for s in statements:
        out += [emit_statement(s), emit_calls(s)]
    Path(path).write_text("\n".join(out), encoding="utf-8")


def emit_registry(path, sources):
    names = {}
    for source in sources:
        for s in parse_or_exit(source):
            if s.name in names:
                sys.exit(f"{source}:{s.line}: name '{s.name}' also stands in {names[s.name]}")
            names[s.name] = source
    externs = "".join(f"extern const struct sql_statement {n}_statement;\n" for n in names)
    rows = "".join(f"    &{n}_statement,\n" for n in names)
    Path(path).write_text("/* Generated by sql_gen.py: every statement, for the contract test. */\n"
                          f"#include \"broker/io/sql.h\"\n\n{externs}\n"
                          f"const struct sql_statement *const sql_statements_all[] = {{\n{rows}"
                          "    NULL,\n};\n", encoding="utf-8")


def parse_or_exit(source):
    try:
        return parse(source)
    except Wrong as wrong:
        sys.exit(f"{source}:{wrong.line}: {wrong}")


def main(argv):
    if len(argv) >= 3 and argv[1] == "--registry":
        emit_registry(argv[2], argv[3:])
        return
    if len(argv) != 4:
        sys.exit(__doc__)
    source, header, code = argv[1:]
    statements = parse_or_exit(source)
    emit_h(header, source, statements)
    emit_c(code, header, source, statements)


if __name__ == "__main__":
    main(sys.argv)
