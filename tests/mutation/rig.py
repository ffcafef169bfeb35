"""Builds the pure engine and its unit tests by hand, in a scratch folder, with flags of our choosing.

Neither coverage nor mutants want sanitizers, a build system or anybody's cache: a changed file is one
call of the compiler and one of the linker for each test program.
"""

import concurrent.futures
import glob
import os
import re
import shlex
import shutil
import subprocess
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LIBRARIES = ["libsodium", "jansson", "cmocka", "openssl"]
PARALLEL = int(os.environ.get("MUTATION_PARALLEL", "2"))
WARNINGS_OFF = ["-w"]
PURE_HEADERS = ("auction/", "billing/", "broker/base/", "tests/lib/test.h", "tests/lib/prop.h", "tests/lib/lot_")


def pkg_config(what):
    return shlex.split(subprocess.run(["pkg-config", what, *LIBRARIES], check=True, capture_output=True,
                                      text=True).stdout)


def sources(*patterns):
    found = [p for pattern in patterns for p in sorted(glob.glob(os.path.join(ROOT, pattern)))]
    return [os.path.relpath(p, ROOT) for p in found if not p.endswith("_main.c")]


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


def pure_tests():
    """The unit tests that need nothing but the pure layers, and that touch the engine."""
    chosen = []
    for path in sources("tests/unit/test_*.c"):
        headers = re.findall(r'#include "([^"]+)"', read(path))
        is_pure = all(h.startswith(PURE_HEADERS)
                      for h in headers)
        if is_pure and any(h.startswith(("auction/", "tests/lib/lot_")) for h in headers):
            chosen.append(path)
    return chosen


class Rig:
    """A folder of objects. `flags` are those of every file, `engine_flags` of auction/*.c besides."""

    def __init__(self, flags, engine_flags=()):
        memory = "/dev/shm"
        self.dir = tempfile.mkdtemp(prefix="undercut-rig-", dir=memory if os.access(memory, os.W_OK) else None)
        self.flags = [*flags, *WARNINGS_OFF, "-std=gnu17", "-D_GNU_SOURCE", '-DUNDERCUT_VERSION="0"', f"-I{ROOT}",
                      *pkg_config("--cflags")]
        self.engine_flags = list(engine_flags)
        self.libs = pkg_config("--libs")
        self.engine = sources("auction/*.c")
        self.others = sources("broker/base/*.c", "billing/*.c")
        self.tests = pure_tests()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.dir, ignore_errors=True)

    def object_of(self, path):
        return os.path.join(self.dir, path.replace("/", "__")[:-2] + ".o")

    def program_of(self, test):
        return os.path.join(self.dir, os.path.basename(test)[:-2])

    def compile(self, path, to=None, source=None):
        """False when the compiler refuses. `source` is read instead of the file at `path`."""
        flags = self.flags + (self.engine_flags if path.startswith("auction/") else [])
        argv = ["gcc", *flags, "-c", source or os.path.join(ROOT, path), "-o", to or self.object_of(path)]
        return subprocess.run(argv, cwd=self.dir, capture_output=True, check=False).returncode == 0

    def link(self, test, to=None, without=None, extra=()):
        """`without` names a source whose object is left out; `extra` are words for the linker."""
        objects = [self.object_of(p) for p in [test, *self.engine, *self.others] if p != without]
        argv = ["gcc", *self.flags, *self.engine_flags, *objects, "-o", to or self.program_of(test), *extra,
                *self.libs]
        return subprocess.run(argv, cwd=self.dir, capture_output=True, check=False).returncode == 0

    def build(self):
        with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
            paths = [*self.engine, *self.others, *self.tests]
            for path, is_good in zip(paths, pool.map(self.compile, paths)):
                if not is_good:
                    raise SystemExit(f"{path} does not compile")
            for path, is_good in zip(self.tests, pool.map(self.link, self.tests)):
                if not is_good:
                    raise SystemExit(f"{path} does not link")
