#!/usr/bin/env python3
"""Runs the layers of tests and says, in the last line, how many passed and how many failed.

    run.py [lint|unit|coverage|agent|cli|http|sql|sim|api|fuzz|all] [only these modules or programs ...]

C programs run by ctest from build/asan (or $UNDERCUT_BUILD), so that the sanitizers for addresses and
undefined behaviour watch them; black-box modules run the same binaries from outside, each module in a
process of its own, two at a time. Whatever dies counts as one failure, and so does a layer in which
nothing ran.
"""

import concurrent.futures
import glob
import os
import re
import shutil
import subprocess
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get("UNDERCUT_BUILD", os.path.join(ROOT, "build", "asan"))
FUZZ_BUILD = os.path.join(os.path.dirname(BUILD), "fuzz") if BUILD.startswith(ROOT) else BUILD + "-fuzz"
FUZZ_S = int(os.environ.get("UNDERCUT_FUZZ_S", "10"))
PARALLEL = 2
MODULE_S_MAX = 600
LAYERS = ["lint", "unit", "coverage", "agent", "cli", "http", "sql", "sim", "api", "fuzz"]
ENV = {
    **os.environ,
    "ASAN_OPTIONS": "abort_on_error=1:detect_leaks=1:strict_string_checks=1:allocator_may_return_null=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "LSAN_OPTIONS": f"suppressions={ROOT}/tests/lib/lsan.supp:print_suppressions=0",
    "UNDERCUT_BIN": os.path.join(BUILD, "bin"),
    "PYTHONPATH": os.path.join(ROOT, "deploy"),
    "PYTHONDONTWRITEBYTECODE": "1",
}
printing = threading.Lock()


def say(text):
    with printing:
        print(text, flush=True)


def run(argv, timeout_s=MODULE_S_MAX):
    """(exit code, output); a program that hangs is killed and has failed."""
    child = subprocess.Popen(argv, cwd=ROOT, env=ENV, text=True, errors="replace", start_new_session=True,
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        text, _ = child.communicate(timeout=timeout_s)
        return child.returncode, text
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, 9)
        text, _ = child.communicate()
        return 124, f"{text}\nkilled after {timeout_s} s\n"


def run_tidy():
    """Each rule is a test."""
    code, text = run([sys.executable, "tests/lint/tidy.py"])
    say(text.rstrip())
    match = re.search(r"^lint: (\d+) rules hold, (\d+) broken", text, flags=re.M)
    return (int(match.group(1)), int(match.group(2))) if match else (0, max(1, code))


def ctest_count(layer):
    if not os.path.isdir(BUILD):
        return 0
    _, listed = run(["ctest", "--test-dir", BUILD, "-N", "-L", f"^{layer}$"])
    match = re.search(r"^Total Tests: (\d+)", listed, flags=re.M)
    return int(match.group(1)) if match else 0


def run_ctest(layer, only):
    """cmocka says how many tests each program ran; one that said nothing and failed counts once."""
    child = subprocess.Popen(["ctest", "--test-dir", BUILD, "-L", f"^{layer}$", "-j", str(PARALLEL),
                              "--timeout", "300", "-V", *(["-R", "|".join(only)] if only else [])],
                             cwd=ROOT, env=ENV, text=True, errors="replace",
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said, passed, failed = {}, 0, 0
    for line in child.stdout:
        numbered = re.match(r"(\d+): (.*)", line)
        ended = re.match(r" *\d+/\d+ Test +#(\d+): (\S+) \.*(.*)", line)
        if numbered:
            said.setdefault(numbered.group(1), []).append(numbered.group(2))
        elif ended:
            text = "\n".join(said.get(ended.group(1), []))
            good = sum(map(int, re.findall(r"\[  PASSED  \] (\d+) test", text)))
            bad = sum(map(int, re.findall(r"\[  FAILED  \] (\d+) test", text)))
            if "Passed" not in ended.group(3):
                say(text)
                bad = bad or 1
            say(f"{'FAIL' if bad else 'ok  '} {ended.group(2)}: {good} passed, {bad} failed,"
                f" {ended.group(3).split()[-2]} s")
            passed, failed = passed + good, failed + bad
    if child.wait() and not failed:
        failed = 1
    return passed, failed


def run_module(path):
    """One unittest module: its own lines are shown when it has ended."""
    began = time.monotonic()
    folder, name = os.path.split(path)
    code, text = run([sys.executable, "-W", "ignore::ResourceWarning", "-m", "unittest", "discover", "-v",
                      "-s", folder, "-t", folder, "-p", name])
    ran = re.search(r"^Ran (\d+) tests?", text, flags=re.M)
    last = text.rstrip().splitlines()[-1] if text.strip() else ""
    bad = sum(map(int, re.findall(r"(?:failures|errors|unexpected successes)=(\d+)", last)))
    skipped = sum(map(int, re.findall(r"skipped=(\d+)", last)))
    if not ran or (code and not bad):
        bad = max(bad, 1)
    good = max(0, int(ran.group(1)) - bad - skipped) if ran else 0
    label = os.path.relpath(path, ROOT)
    shown = text.rstrip() if bad else "\n".join(re.findall(r"^.* \.\.\. .*$", text, flags=re.M))
    say(f"---- {label}\n{shown}\n{'FAIL' if bad else 'ok  '} {label}: {good} passed, {bad} failed,"
        f"{f' {skipped} skipped,' if skipped else ''} {time.monotonic() - began:.1f} s")
    return good, bad


def run_modules(paths):
    with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
        results = list(pool.map(run_module, paths))
    return sum(r[0] for r in results), sum(r[1] for r in results)


def fuzz_build():
    """The targets, in a build of clang's own. False: it failed, and said why."""
    configure = ["cmake", "-S", ROOT, "-B", FUZZ_BUILD, "-G", "Ninja", "-DCMAKE_C_COMPILER=clang",
                 "-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_C_FLAGS_DEBUG=-O1 -g1", "-DUNDERCUT_FUZZ=ON",
                 *(["-DCMAKE_C_COMPILER_LAUNCHER=ccache"] if shutil.which("ccache") else [])]
    for argv in (configure, ["cmake", "--build", FUZZ_BUILD, "--target", "fuzz_programs", "--", "--quiet"]):
        code, text = run(argv)
        if code:
            say(text)
            return False
    return True


def run_fuzz_target(path):
    """A short look for what a change broke: the corpus of the repository, then FUZZ_S seconds of mutation."""
    name = os.path.basename(path)[:-2]
    found = os.path.join(FUZZ_BUILD, "corpus", name)
    os.makedirs(found, exist_ok=True)
    code, text = run([os.path.join(FUZZ_BUILD, "fuzz", name), f"-max_total_time={FUZZ_S}", "-timeout=10",
                      "-rss_limit_mb=2048", "-max_len=4096", "-print_final_stats=1",
                      f"-artifact_prefix={FUZZ_BUILD}/{name}-", found, os.path.join(ROOT, "tests/fuzz", name[5:])],
                     FUZZ_S + 120)
    executed = re.search(r"number_of_executed_units: (\d+)", text)
    is_good = code == 0 and executed and int(executed.group(1)) > 0
    say(f"{'ok  ' if is_good else 'FAIL'} {name}: {executed.group(1) if executed else 0} inputs in {FUZZ_S} s")
    if not is_good:
        say(text[-6000:])
    return (1, 0) if is_good else (0, 1)


def run_fuzz(only):
    if not shutil.which("clang"):
        say("clang is not installed: nothing was fuzzed")
        return 0, int("CI" in os.environ)  # a build machine has to have it
    targets = [p for p in sorted(glob.glob(os.path.join(ROOT, "tests/fuzz/fuzz_*.c")))
               if not only or any(word in p for word in only)]
    if not fuzz_build():
        return 0, 1
    with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
        results = list(pool.map(run_fuzz_target, targets))
    return sum(r[0] for r in results), sum(r[1] for r in results)


def run_coverage(only):
    """Each file of the pure engine is a test: do the unit tests take every branch of it?"""
    code, text = run([sys.executable, "tests/mutation/coverage.py", *only])
    say(text.rstrip())
    shares = re.findall(r"^auction/\S+: .* ([\d.]+) %,", text, flags=re.M)
    failed = sum(share != "100.0" for share in shares)
    return len(shares) - failed, failed or int(code != 0)


def run_layer(layer, only):
    """(passed, failed); a layer that has tests and ran none has failed."""
    if layer == "coverage":
        return run_coverage(only)
    if layer == "fuzz":
        return run_fuzz(only)
    parts = [run_tidy()] if layer == "lint" and not only else []
    if ctest_count(layer):
        parts.append(run_ctest(layer, only))
    modules = [p for p in sorted(glob.glob(os.path.join(ROOT, "tests", layer, "test_*.py")))
               if not only or any(word in p for word in only)]
    parts.append(run_modules(modules))
    passed, failed = sum(p[0] for p in parts), sum(p[1] for p in parts)
    if not passed and not failed:
        say(f"layer {layer}: nothing ran")
        failed = 1
    return passed, failed


def main(argv):
    wanted, only = (argv[0] if argv else "all"), argv[1:]
    if wanted != "all" and wanted not in LAYERS:
        sys.exit(f"no layer '{wanted}'; there are: {' '.join(LAYERS)} all")
    summary, passed, failed, all_began = [], 0, 0, time.monotonic()
    for layer in LAYERS if wanted == "all" else [wanted]:
        say(f"==== {layer}")
        began = time.monotonic()
        good, bad = run_layer(layer, only)
        summary.append(f"{layer:6} {good:5} passed {bad:3} failed {time.monotonic() - began:7.1f} s")
        passed, failed = passed + good, failed + bad
    say("====\n" + "\n".join(summary) + f"\nall in {time.monotonic() - all_began:.0f} s")
    say(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
