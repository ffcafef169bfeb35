#!/usr/bin/env python3
"""Runs the layers of tests and says, in the last line, how many passed and how many failed.

    run.py [lint|unit|agent|cli|http|sql|sim|api|all]

C layers run by ctest from build/asan, so that address and undefined behaviour sanitizers watch them;
black-box layers run the same binaries from outside. A test program that dies counts as one failure.
"""

import os
import re
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(ROOT, "build", "asan")
LAYERS = ["lint", "unit", "agent", "cli", "http", "sql", "sim", "api"]
CTEST_LAYERS = {"unit", "agent", "cli", "http", "sql", "sim"}
PYTHON_LAYERS = {"lint": "tests/lint", "cli": "tests/cli", "agent": "tests/agent", "api": "tests/api"}
SANITIZERS = {
    "ASAN_OPTIONS": "abort_on_error=1:detect_leaks=1:strict_string_checks=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "LSAN_OPTIONS": f"suppressions={ROOT}/tests/lib/lsan.supp:print_suppressions=0",
    "UNDERCUT_BIN": os.path.join(BUILD, "bin"),
}


def stream(argv, env=None):
    """Runs argv, shows its output as it comes, returns (exit code, output)."""
    child = subprocess.Popen(argv, cwd=ROOT, env={**os.environ, **SANITIZERS, **(env or {})}, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace")
    lines = []
    for line in child.stdout:
        lines.append(line)
        sys.stdout.write(line)
        sys.stdout.flush()
    return child.wait(), "".join(lines)


def run_tidy():
    """Each rule is a test."""
    code, text = stream([sys.executable, "tests/lint/tidy.py"])
    match = re.search(r"^lint: (\d+) rules hold, (\d+) broken", text, flags=re.M)
    return (int(match.group(1)), int(match.group(2))) if match else (0, max(1, code))


def run_ctest(layer):
    """cmocka says how many tests each program ran; a program that said nothing and failed counts once."""
    listed = subprocess.run(["ctest", "--test-dir", BUILD, "-N", "-L", f"^{layer}$"],
                            capture_output=True, text=True, check=False).stdout
    if "Total Tests: 0" in listed or not os.path.isdir(BUILD):
        return 0, 0
    code, text = ctest(layer)
    passed = sum(map(int, re.findall(r"\[  PASSED  \] (\d+) test", text)))
    failed = sum(map(int, re.findall(r"\[  FAILED  \] (\d+) test", text)))
    if code and not failed:
        failed = len(re.findall(r"\*\*\*(?:Failed|Timeout|Exception|Not Run)", text)) or 1
    return passed, failed


def ctest(layer):
    """Everything is kept for counting; only failures and one line per program are shown."""
    done = subprocess.run(["ctest", "--test-dir", BUILD, "-L", f"^{layer}$", "-j2", "--timeout", "300", "-V"],
                          capture_output=True, text=True, errors="replace", check=False, cwd=ROOT,
                          env={**os.environ, **SANITIZERS})
    dead = set(re.findall(r"^ *\d+/\d+ Test +#(\d+): .*\*\*\*", done.stdout, flags=re.M))
    for line in done.stdout.splitlines():
        number = re.match(r"(\d+): ", line)
        if re.match(r" *\d+/\d+ Test +#", line) or (number and number.group(1) in dead):
            print(line)
    return done.returncode, done.stdout


def run_python(folder):
    if not os.path.isdir(os.path.join(ROOT, folder)):
        return 0, 0
    code, text = stream([sys.executable, "-W", "ignore::ResourceWarning", "-m", "unittest", "discover", "-v",
                         "-s", folder, "-t", folder, "-p", "test_*.py"])
    ran = re.search(r"^Ran (\d+) tests?", text, flags=re.M)
    bad = sum(int(n) for n in re.findall(r"(?:failures|errors|unexpected successes)=(\d+)", text.splitlines()[-1])) \
        if text.strip() else 1
    skipped = sum(int(n) for n in re.findall(r"skipped=(\d+)", text.splitlines()[-1] if text.strip() else ""))
    if not ran:
        return 0, 1
    if code and not bad and int(ran.group(1)):
        bad = 1
    return max(0, int(ran.group(1)) - bad - skipped), bad


def run_layer(layer):
    totals = [0, 0]
    parts = []
    if layer == "lint":
        parts.append(run_tidy)
    if layer in CTEST_LAYERS:
        parts.append(lambda: run_ctest(layer))
    if layer in PYTHON_LAYERS:
        parts.append(lambda: run_python(PYTHON_LAYERS[layer]))
    for part in parts:
        passed, failed = part()
        totals[0] += passed
        totals[1] += failed
    return totals


def main(argv):
    wanted = argv[0] if argv else "all"
    if wanted != "all" and wanted not in LAYERS:
        sys.exit(f"no layer '{wanted}'; there are: {' '.join(LAYERS)} all")
    summary, passed, failed = [], 0, 0
    for layer in LAYERS if wanted == "all" else [wanted]:
        print(f"==== {layer}", flush=True)
        began = time.monotonic()
        good, bad = run_layer(layer)
        summary.append(f"{layer:6} {good:5} passed {bad:3} failed {time.monotonic() - began:7.1f} s")
        passed, failed = passed + good, failed + bad
    print("====\n" + "\n".join(summary))
    print(f"{passed} passed, {failed} failed", flush=True)
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
