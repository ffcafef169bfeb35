"""Small faults put into C, one at a time: what a slip of the hand would make of the code.

The code is in the house's own format, so a binary operator has a space on either side, a pointer's star
has not, and a statement ends where its line does. Comments, strings, declarations of types, must() and
preprocessor lines other than #define of a number are left alone. So are three things where a slip changes
nothing: the equal sign of the larger or smaller of two (a < b ? a : b), the middle of a binary search, and
how far from 0 a comparison for qsort() lies (? -1 : 1).
"""

import dataclasses
import re

SWAPS = {
    " < ": [" <= ", " >= "], " <= ": [" < ", " > "], " > ": [" >= ", " <= "], " >= ": [" > ", " < "],
    " == ": [" != "], " != ": [" == "], " && ": [" || "], " || ": [" && "],
    " + ": [" - "], " - ": [" + "], " * ": [" / "], " / ": [" * "], " % ": [" * "],
    " += ": [" -= "], " -= ": [" += "], " *= ": [" /= "], " /= ": [" *= "],
    " << ": [" >> "], " >> ": [" << "], " & ": [" | "], " | ": [" & "],
}
OPERATOR = re.compile("|".join(re.escape(o) for o in sorted(SWAPS, key=len, reverse=True)))
STEP = re.compile(r"\+\+|--")
NUMBER = re.compile(r"(?<![\w.\"'])(0x[0-9a-fA-F]+|\d+)(?=(?:u|l|U|L)*\b)(?![\w.]*[g-tv-zG-KM-TV-Z.])")
CONDITION = re.compile(r"\b(if|while) \(")
BOOLEAN = re.compile(r"\b(true|false)\b")
EXTREME = re.compile(r"([\w.>\[\]-]+)( [<>] )([\w.>\[\]-]+) \? (?:\1 : \3|\3 : \1);")
MIDDLE = re.compile(r"low \+ \(high - low\) / 2")
ORDER = re.compile(r"\? -(1) : (1);")
STATEMENT = re.compile(r"^( +)(?=[a-z_*+])(?!return\b|goto\b|static\b|const\b|struct\b|enum\b|u?int\d|size_t\b|bool\b|char\b|"
                       r"case\b|default\b|if\b|for\b|while\b|else\b|do\b|must|uint|__int128|void \*|\})"
                       r"([^\n{}]*;)$", re.M)


@dataclasses.dataclass(frozen=True)
class Mutant:
    path: str
    line: int
    kind: str
    before: str  # the line as it stands, without indentation
    after: str
    text: str    # the whole file

    def key(self):
        return self.path, self.before, self.after


def blanked(text):
    """Comments, strings and characters become spaces of the same length."""
    def blank(match):
        return re.sub(r"[^\n]", " ", match.group())
    text = re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text, flags=re.S)
    text = re.sub(r"^#(?!define \w+ ).*(?:\\\n.*)*$", blank, text, flags=re.M)
    text = re.sub(r"^(?:enum|struct|static const struct)\b[^;()]*\{.*?^\};?$", blank, text, flags=re.M | re.S)
    text = re.sub(r"^\w[^;{}=]*\)(?:;|\n\{)$", blank, text, flags=re.M)  # what functions take and give
    return without_musts(text, blank)


def without_musts(text, blank):
    at = 0
    while match := re.compile(r"\bmust(?:_not_reach)?\(").search(text, at):
        depth, at = 1, match.end()
        while depth:
            depth += {"(": 1, ")": -1}.get(text[at], 0)
            at += 1
        text = text[:match.start()] + blank(re.match(r".*", text[match.start():at], flags=re.S)) + text[at:]
    return text


def closing(text, opened):
    depth, at = 1, opened
    while depth:
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        at += 1
    return at - 1


def edits(code):
    """(start, end, replacement, kind) of every fault that can be put into `code`."""
    extremes = {match.start(2) for match in EXTREME.finditer(code)}
    for match in OPERATOR.finditer(code):
        for other in SWAPS[match.group()]:
            if match.start() in extremes and "=" in other and other[1] == match.group()[1]:
                continue
            yield match.start(), match.end(), other, "operator"
    for match in STEP.finditer(code):
        yield match.start(), match.end(), "--" if match.group() == "++" else "++", "operator"
    middles = {match.end() - 1 for match in MIDDLE.finditer(code)}
    middles |= {at for match in ORDER.finditer(code) for at in (match.start(1), match.start(2))}
    for match in NUMBER.finditer(code):
        if match.start() in middles:
            continue
        value = int(match.group(1), 0)
        for other in [value + 1, *([value - 1] if value else [])]:
            yield match.start(1), match.end(1), str(other), "constant"
    for match in BOOLEAN.finditer(code):
        yield match.start(), match.end(), "false" if match.group() == "true" else "true", "constant"
    for match in CONDITION.finditer(code):
        end = closing(code, match.end())
        yield match.end(), end, f"!({code[match.end():end]})", "condition"
    for match in STATEMENT.finditer(code):
        is_whole = re.search(r"[;{}):]\s*$|\belse\s*$|^\s*$", code[:match.start()].rstrip() or "")
        if is_whole and match.group(2).count("(") == match.group(2).count(")"):
            yield match.start(2), match.end(2), ";", "statement"


def line_around(text, start, end):
    first = text.rfind("\n", 0, start) + 1
    last = text.find("\n", end)
    return " ".join(text[first:last].split())


def mutants_of(path, text):
    code = blanked(text)
    for start, end, replacement, kind in sorted(edits(code)):
        original = text[start:end]
        if kind == "condition":  # the text, not its blanked form
            replacement = f"!({original})"
        changed = text[:start] + replacement + text[end:]
        yield Mutant(path=path, line=text.count("\n", 0, start) + 1, kind=kind, before=line_around(text, start, end),
                     after=line_around(changed, start, start + len(replacement)), text=changed)
