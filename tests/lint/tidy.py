#!/usr/bin/env python3
"""Style kept by a machine: layers, lengths, banned calls, links, names.

    tidy.py [--root DIR]     prints `path:line: rule: what` per violation; exits 1 when there is any

Each rule is a function that yields (path, line, message); RULES is the table. The layers are in
layers.txt. A line may be excused from a ban by a comment that says why: `/* lint: allow ... */`.
"""

import os
import re
import shutil
import subprocess
import sys

FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 600
LINE_COLUMNS_MAX = 100
PARAMETERS_MAX = 5
NESTING_MAX = 3
ALLOW = "lint: allow"
CLANG_FORMAT = 14

BANNED = re.compile(
    r"\b(strcpy|strcat|sprintf|vsprintf|atoi|atol|strtok|gmtime|localtime|gets|"
    r"gettimeofday|(?<![.>])time)\s*\(")
FLOATS = re.compile(r"\b(float|double)\b")
FLOAT_FREE = ("broker/base/", "broker/market/", "auction/", "billing/")
SYNONYMS = re.compile(r"(?<![a-z])(jobs?|bidders?|auctioneers?|providers?|landlords?)(?![a-z])", re.I)
SYNONYM_SCOPE = re.compile(r"^(broker/market|auction|billing|api|migrations|cli|openapi)")


class Tree:
    """The files of the repository: what git knows, and what it would know after `git add`."""

    def __init__(self, root):
        self.root = root
        listed = subprocess.run(["git", "-C", root, "ls-files", "-co", "--exclude-standard"],
                                capture_output=True, text=True, check=True).stdout
        self.paths = sorted(p for p in set(listed.splitlines()) if os.path.isfile(os.path.join(root, p)))
        self._texts = {}

    def text(self, path):
        if path not in self._texts:
            with open(os.path.join(self.root, path), encoding="utf-8", errors="replace") as f:
                self._texts[path] = f.read()
        return self._texts[path]

    def ending(self, *endings):
        return [p for p in self.paths if p.endswith(endings)]

    def c_files(self):
        return self.ending(".c", ".h")


def strip_c(text):
    """The code alone: comments, strings and characters become blanks; lines keep their numbers."""
    def blank(match):
        return re.sub(r"[^\n]", " ", match.group())
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text, flags=re.S)


def functions(text):
    """(name, first line, last line, parameters, body) of each function; the style's own brace rule finds them."""
    code = re.sub(r"^[ \t]*#.*(?:\\\n.*)*$", lambda m: re.sub(r"[^\n]", " ", m.group()), strip_c(text), flags=re.M)
    for match in re.finditer(r"^\{\n", code, flags=re.M):
        end = code.find("\n}", match.end() - 1)
        if end < 0:
            continue
        head = re.split(r"[;}]\s*\n", code[:match.start()])[-1]
        head_clean = re.sub(r"__attribute__\s*\(\(.*?\)\)", "", head, flags=re.S)
        signature = re.search(r"(\w+)\s*\((.*)\)\s*$", head_clean, flags=re.S)
        if not signature:
            continue
        first = code.count("\n", 0, match.start() - len(head.lstrip())) + 1
        last = code.count("\n", 0, end + 1) + 1
        yield signature.group(1), first, last, signature.group(2), code[match.end():end + 1]


def parameters_count(text):
    text = text.strip()
    if text in ("", "void"):
        return 0
    depth, count = 0, 1
    for ch in text:
        depth += (ch in "([{") - (ch in ")]}")
        count += ch == "," and depth == 0
    return count


def nesting_of(body):
    """The deepest brace of a function's body, not counting initialisers."""
    depth = deepest = 0
    stack = []
    for match in re.finditer(r"[{}]", body):
        if match.group() == "{":
            before = body[:match.start()].rstrip()
            counts = not before.endswith(("=", ",", "(", "{", ")")) or bool(
                re.search(r"\b(if|for|while|switch)\s*\([^;{}]*(?:;[^;{}]*;[^;{}]*)?\)$|\b(else|do)$", before[-400:]))
            stack.append(counts)
            depth += counts
            deepest = max(deepest, depth)
        elif stack:
            depth -= stack.pop()
    return deepest


def lines_matching(tree, paths, pattern, message):
    for path in paths:
        raw = tree.text(path).splitlines()
        code = strip_c(tree.text(path)).splitlines() if path.endswith((".c", ".h")) else raw
        for number, line in enumerate(code, 1):
            found = pattern.search(line)
            if found and ALLOW not in raw[number - 1]:
                yield path, number, message.format(found.group(found.lastindex or 0))


def read_layers(tree):
    layers, foreign = {}, {}
    for line in tree.text("tests/lint/layers.txt").splitlines():
        words = line.split("#")[0].split()
        if words and words[0] == "!":
            foreign[words[1]] = words[2:]
        elif words:
            layers[words[0]] = [w for w in words[1:] if w != "-"]
    return layers, foreign


def folder_of(path, layers):
    fits = [f for f in layers if path.startswith(f + "/")]
    return max(fits, key=len, default=None)


def includes(tree):
    for path in tree.c_files():
        for number, line in enumerate(tree.text(path).splitlines(), 1):
            match = re.match(r'\s*#\s*include\s+([<"])([^>"]+)[>"]', line)
            if match:
                yield path, number, match.group(2), match.group(1) == '"'


def rule_layers(tree):
    layers, _ = read_layers(tree)
    for path, number, header, is_ours in includes(tree):
        mine = folder_of(path, layers)
        if mine is None:
            yield path, number, "lies in no layer of tests/lint/layers.txt"
            continue
        if not is_ours or header.endswith(".def") or header.startswith("gen/"):
            continue
        theirs = folder_of(header, layers)
        allowed = layers[mine]
        if theirs is None:
            yield path, number, f'"{header}" is not rooted at the repository'
        elif theirs != mine and "*" not in allowed and theirs not in allowed:
            yield path, number, f"{mine} may not include {theirs}"


def rule_foreign(tree):
    _, foreign = read_layers(tree)
    for path, number, header, is_ours in includes(tree):
        for name, homes in foreign.items():
            hit = header == name or (name.endswith("/") and header.startswith(name))
            if hit and not is_ours and not any(path == h or (h.endswith("/") and path.startswith(h)) for h in homes):
                yield path, number, f"<{header}> belongs in {' '.join(homes)}"


def rule_sql_headers(tree):
    """Statements are private to the .c beside their .sql."""
    for path, number, header, _ in includes(tree):
        match = re.match(r"gen/(.+)\.sql\.h$", header)
        if match and not path.startswith("tests/") and path not in (match.group(1) + ".c", match.group(1) + ".h"):
            yield path, number, f"{header} belongs to {match.group(1)}.c alone"


def rule_own_header_first(tree):
    firsts = {}
    for path, number, header, _ in includes(tree):
        firsts.setdefault(path, (number, header))
    for path, (number, header) in firsts.items():
        own = path[:-2] + ".h"
        if path.endswith(".c") and own in tree.paths and header != own:
            yield path, number, f'"{own}" must come first: it proves that it stands alone'


def rule_lengths(tree):
    for path in tree.ending(".c", ".h", ".py", ".sql"):
        lines = tree.text(path).splitlines()
        if len(lines) > FILE_LINES_MAX:
            yield path, len(lines), f"{len(lines)} lines, {FILE_LINES_MAX} allowed"
        if path.endswith((".c", ".h")):
            for number, line in enumerate(lines, 1):
                if len(line) > LINE_COLUMNS_MAX and ALLOW not in line:
                    yield path, number, f"{len(line)} columns, {LINE_COLUMNS_MAX} allowed"


def rule_functions(tree):
    for path in tree.ending(".c"):
        for name, first, last, parameters, body in functions(tree.text(path)):
            if last - first + 1 > FUNCTION_LINES_MAX:
                yield path, first, f"{name} has {last - first + 1} lines, {FUNCTION_LINES_MAX} allowed"
            if parameters_count(parameters) > PARAMETERS_MAX:
                yield path, first, f"{name} takes {parameters_count(parameters)} parameters, {PARAMETERS_MAX} allowed"
            if nesting_of(body) > NESTING_MAX:
                yield path, first, f"{name} nests {nesting_of(body)} deep, {NESTING_MAX} allowed"


def rule_banned(tree):
    paths = [p for p in tree.c_files() if p != "broker/base/clock.c"]
    yield from lines_matching(tree, paths, BANNED, "{} is banned")


def rule_floats(tree):
    paths = [p for p in tree.c_files() if p.startswith(FLOAT_FREE)]
    yield from lines_matching(tree, paths, FLOATS, "{} has no place near money")


def rule_whitespace(tree):
    for path in tree.ending(".c", ".h", ".sql", ".py", ".yaml", ".def"):
        for number, line in enumerate(tree.text(path).splitlines(), 1):
            if line != line.rstrip() or "\t" in line:
                yield path, number, "tab or trailing blank"


def rule_headers_say_what(tree):
    for path in tree.ending(".h"):
        if path.startswith("tests/"):
            continue
        if not tree.text(path).startswith(f"/* {os.path.basename(path)} - "):
            yield path, 1, f"open with `/* {os.path.basename(path)} - what it is`"


def rule_long_files_tell_their_story(tree):
    for path in tree.ending(".c"):
        text = tree.text(path)
        head = text[:2500].lower()
        if text.count("\n") > 200 and not path.startswith("tests/") and not (
                "happy path" in head and "failure modes" in head):
            yield path, 1, "over 200 lines: open with `The happy path is ...` and `Failure modes are ...`"


def rule_dead_headers(tree):
    used = {header for _, _, header, is_ours in includes(tree) if is_ours}
    for path in tree.ending(".h"):
        if path not in used:
            yield path, 1, "nobody includes it"


def rule_sql_has_a_home(tree):
    for path in tree.ending(".sql"):
        if not path.startswith(("migrations/", "tests/")) and path[:-4] + ".c" not in tree.paths:
            yield path, 1, "no .c beside it"


def rule_links(tree):
    for path in tree.ending(".md"):
        text = re.sub(r"```.*?```", lambda m: "\n" * m.group().count("\n"), tree.text(path), flags=re.S)
        for number, line in enumerate(text.splitlines(), 1):
            for target in re.findall(r"\]\(([^)\s#]+)[^)]*\)", line):
                if re.match(r"[a-z]+:", target):
                    continue
                full = os.path.join(tree.root, os.path.dirname(path), target)
                if not os.path.exists(full):
                    yield path, number, f"link to nothing: {target}"


def rule_paths_in_docs(tree):
    """A file that a page names in backticks is there."""
    pattern = re.compile(r"`((?:api|auction|billing|broker|cli|deploy|docs|migrations|nodeagent|tests)/[\w./-]+)`")
    for path in tree.ending(".md"):
        for number, line in enumerate(tree.text(path).splitlines(), 1):
            for target in pattern.findall(line):
                if not os.path.exists(os.path.join(tree.root, target)):
                    yield path, number, f"names nothing: {target}"


def rule_migrations(tree):
    """A number is taken once; there may be gaps where several people work."""
    taken = set()
    for path in (p for p in tree.paths if p.startswith("migrations/") and p.endswith(".sql")):
        match = re.match(r"migrations/(\d{4})_[a-z0-9_]+\.sql$", path)
        if not match or match.group(1) in taken:
            yield path, 1, "expected migrations/NNNN_what.sql with a number of its own"
        if not tree.text(path).startswith("-- Why: "):
            yield path, 1, "open with `-- Why: `"
        taken.add(match and match.group(1))


def rule_slugs(tree):
    """openapi.yaml's problem codes are err.def's slugs, no more and no fewer."""
    if "openapi.yaml" not in tree.paths:
        return
    import yaml  # the only rule that needs it
    schemas = yaml.safe_load(tree.text("openapi.yaml")).get("components", {}).get("schemas", {})
    listed = schemas.get("Problem", {}).get("properties", {}).get("code", {}).get("enum")
    if listed is None:
        yield "openapi.yaml", 1, "components.schemas.Problem.properties.code has no enum"
        return
    slugs = set(re.findall(r'^ERR\(\w+,\s*\d+,\s*"(\w+)"', tree.text("broker/base/err.def"), flags=re.M))
    for slug in sorted(slugs ^ set(listed)):
        where = "broker/base/err.def" if slug in slugs else "openapi.yaml"
        yield where, 1, f"problem code {slug} is only here"


def rule_words(tree):
    paths = [p for p in tree.ending(".c", ".h", ".sql", ".yaml", ".def") if SYNONYM_SCOPE.match(p)]
    yield from lines_matching(tree, paths, SYNONYMS, "'{}' is not a word of the glossary")


def rule_format(tree):
    """As ./dev fmt leaves it. Other versions of clang-format than Debian's lay some lines out in another way."""
    program = shutil.which("clang-format")
    version = "" if program is None else subprocess.run([program, "--version"], capture_output=True, text=True,
                                                        check=True).stdout
    if f"version {CLANG_FORMAT}." not in version:
        print(f"lint: there is no clang-format {CLANG_FORMAT} here, so the format of lines was not looked at")
        return
    if not tree.c_files():
        return
    found = subprocess.run([program, "--dry-run", *tree.c_files()], cwd=tree.root, capture_output=True, text=True,
                           check=True).stderr
    for path, line in re.findall(r"^([^:\n]+):(\d+):\d+: warning: ", found, flags=re.M):
        yield path, int(line), "not as ./dev fmt would have it"


def rule_nothing_left_over(tree):
    pattern = re.compile(r"\b(TODO|FIXME|XXX)\b")
    for path in tree.ending(".c", ".h", ".sql", ".py", ".yaml", ".md", ".def"):
        if path.startswith("tests/lint/"):
            continue
        for number, line in enumerate(tree.text(path).splitlines(), 1):
            if pattern.search(line):
                yield path, number, "finish it, or open an issue"


RULES = [
    rule_layers, rule_foreign, rule_sql_headers, rule_own_header_first, rule_lengths, rule_functions,
    rule_banned, rule_floats, rule_whitespace, rule_headers_say_what, rule_long_files_tell_their_story,
    rule_dead_headers, rule_sql_has_a_home, rule_links, rule_paths_in_docs,
    rule_migrations, rule_slugs, rule_words,
    rule_nothing_left_over, rule_format,
]


def main(argv):
    root = argv[argv.index("--root") + 1] if "--root" in argv else os.path.dirname(
        os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    tree = Tree(root)
    failed = 0
    for rule in RULES:
        found = list(rule(tree))
        for path, number, message in found:
            print(f"{path}:{number}: {rule.__name__[5:]}: {message}")
        failed += bool(found)
    print(f"lint: {len(RULES) - failed} rules hold, {failed} broken, {len(tree.paths)} files")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
