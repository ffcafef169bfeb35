"""What deploy/ promises: the example of the settings, the units, and the packages of the images."""

import glob
import os
import re
import shutil
import subprocess
import tempfile
import unittest

import harness

DEPLOY = os.path.join(harness.ROOT, "deploy")
BIN = os.environ.get("UNDERCUT_BIN", os.path.join(harness.ROOT, "build", "bin"))
EXPOSURE_MAX = {"undercutd.service": 20, "undercut-agent.service": 50}  # tenths, as systemd-analyze counts


def run(*words, **kwargs):
    return subprocess.run(words, capture_output=True, text=True, check=False, **kwargs)


def read(name):
    with open(os.path.join(DEPLOY, name), encoding="utf-8") as f:
        return f.read()


class DeployTest(unittest.TestCase):
    def test_the_example_of_the_settings_is_what_the_broker_prints_and_accepts(self):
        broker = os.path.join(BIN, "undercutd")
        self.assertEqual(run(broker, "--print-config-example").stdout, read("undercutd.conf.example"))
        done = run(broker, "--config", os.path.join(DEPLOY, "undercutd.conf.example"), "--check")
        self.assertEqual(done.returncode, 0, done.stderr)
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as bad:
            bad.write("round_ms = fast\n")
            bad.flush()
            done = run(broker, "--config", bad.name, "--check")
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("round_ms", done.stderr)

    @unittest.skipUnless(shutil.which("systemd-analyze"), "systemd is not installed")
    def test_the_units_are_valid_and_hardened(self):
        with tempfile.TemporaryDirectory() as folder:
            for path in sorted(glob.glob(os.path.join(DEPLOY, "*.service"))):
                name = os.path.basename(path)
                copy = os.path.join(folder, name)
                with open(copy, "w", encoding="utf-8") as f:
                    f.write(read(name).replace("/usr/bin/", BIN + "/"))
                with self.subTest(unit=name):
                    done = run("systemd-analyze", "verify", "--man=no", copy)
                    self.assertEqual((done.returncode, done.stderr), (0, ""))
                    done = run("systemd-analyze", "security", "--offline=true",
                               f"--threshold={EXPOSURE_MAX[name]}", copy)
                    self.assertEqual(done.returncode, 0, done.stdout[-300:] + done.stderr)

    @unittest.skipUnless(shutil.which("objdump") and shutil.which("dpkg"), "no dpkg or objdump")
    def test_the_images_install_every_library_that_their_programs_need(self):
        stages = re.split(r"^FROM \S+ AS (\w+)$", read("Dockerfile"), flags=re.M)
        stages = dict(zip(stages[1::2], stages[2::2]))
        for stage, programs in (("broker", ("undercutd", "undercut-migrate", "undercut")), ("agent", ("undercut-agent",))):
            for program in programs:
                needed = set(re.findall(r"NEEDED +(\S+)", run("objdump", "-p", os.path.join(BIN, program)).stdout))
                self.assertTrue(needed)
                for library in sorted(needed):
                    if re.match(r"lib(asan|ubsan|tsan|c|m)\.so|ld-linux", library):
                        continue
                    with self.subTest(stage=stage, program=program, library=library):
                        owners = run("dpkg", "-S", f"*/{library}").stdout
                        packages = set(re.findall(r"^(\S+?):(?:\S+:)? ", owners, flags=re.M))
                        installed = set(re.findall(r"\b(lib[a-z0-9.+-]+)\b", stages[stage]))
                        self.assertTrue(packages & installed, f"{packages} of {library} is not installed")


if __name__ == "__main__":
    unittest.main()
