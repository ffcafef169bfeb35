"""The command line against a scripted broker: what it sends, prints, stores and exits with.

The broker here is a table of answers behind a real socket; the API's own behaviour is tests/api's
business. UNDERCUT_BIN names the folder of the programs (default build/bin).
"""

import base64
import http.server
import json
import os
import re
import signal
import stat
import subprocess
import tempfile
import threading
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.environ.get("UNDERCUT_BIN", os.path.join(ROOT, "build", "bin"))
UNDERCUT = os.path.join(BIN, "undercut")

WORKLOAD = {"workload_id": "wl_1", "name": "hello", "state": "auctioning", "terminal": False,
            "status_reason": None, "replicas": 1, "replicas_running": 0, "escrow_uusd": 66667,
            "spent_uusd": 0, "reserve_uusd_per_hour": 400000, "image": "busybox",
            "created_at": "2026-11-21T01:00:00Z", "leases": []}


def problem(status, code, **more):
    return status, {"type": f"https://undercut.dev/problems/{code}", "title": f"Title of {code}",
                    "status": status, "code": code, "retryable": False, "suggestion": "Do that.",
                    "request_id": "req_1", **more}


class Broker(http.server.ThreadingHTTPServer):
    """answers[(method, path without query)] is (status, body), a list of them, or a function."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.requests = {}, []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def handle_error(self, request, client_address):
        pass  # a client that hung up is part of some tests


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        path, _, query = self.path.partition("?")
        self.server.requests.append((self.command, path, query, body, dict(self.headers)))
        found = self.server.answers.get((self.command, path), problem(404, "not_found"))
        if callable(found):
            found = found(query, body)
        if isinstance(found, list):
            found = found.pop(0) if len(found) > 1 else found[0]
        status, value = found
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_DELETE = answer

    def log_message(self, *args):
        pass


class CliTest(unittest.TestCase):
    def setUp(self):
        self.broker = Broker()
        self.addCleanup(self.broker.server_close)
        self.addCleanup(self.broker.shutdown)
        self.home = tempfile.TemporaryDirectory()
        self.addCleanup(self.home.cleanup)
        self.config = os.path.join(self.home.name, "undercut", "config.yaml")

    def env(self, **more):
        env = {k: v for k, v in os.environ.items() if not k.startswith(("UNDERCUT_", "XDG_"))}
        return {**env, "XDG_CONFIG_HOME": self.home.name, "UNDERCUT_URL": self.broker.url,
                "UNDERCUT_API_KEY": "uc_live_x", **more}

    def run_cli(self, *words, stdin="", env=None):
        return subprocess.run([UNDERCUT, *words], input=stdin, capture_output=True, text=True,
                              env=env or self.env(), timeout=30, check=False)

    def expect(self, code, *words, **kwargs):
        done = self.run_cli(*words, **kwargs)
        self.assertEqual(done.returncode, code, f"{words}\n{done.stdout}{done.stderr}")
        return done

    # ---- help and usage
    def test_every_command_explains_itself_with_an_example(self):
        overview = self.expect(0, "--help").stdout
        names = re.findall(r"^  ((?:[a-z-]+ )?[a-z-]+) {2,}\S", overview, flags=re.M)
        self.assertGreater(len(names), 25)
        for name in names:
            with self.subTest(command=name):
                text = self.expect(0, *name.split(), "--help").stdout
                self.assertIn("Examples:\n  ", text)
                self.assertIn("--json", text)

    def test_wrong_usage_exits_2_and_says_what(self):
        for words in (["runn"], ["run"], ["ps", "--nope"], ["get"], ["logs", "a", "b"],
                      ["run", "--gpu", "x", "image"], ["run", "--max", "1", "image"],
                      ["run", "--gpu", "x", "--max", "cheap", "image"], ["apply"],
                      ["verify", "--from", "3", "--to", "2"], ["ask", "set", "a", "b", "free"], ["ask", "set", "a", "b", "1", "--spot", "101"], ["run", "--max"]):
            with self.subTest(words=words):
                self.assertTrue(self.expect(2, *words).stderr)
        for price in ("-5", "-.5", "0", "free"):  # what begins like a number is none of the options
            self.assertRegex(self.expect(2, "ask", "set", "a", "b", price).stderr,
                             rf"'{re.escape(price)}' is not a price; say USD .* above 0")
        self.assertIn("did you mean 'run'", self.run_cli("runn").stderr)
        self.assertIn("undercut COMMAND --context", self.expect(2, "--context", "ci", "ps").stderr)
        self.assertEqual(self.broker.requests, [])

    # ---- errors become exit codes
    def test_problems_become_exit_codes(self):
        rows = [(404, "not_found", 3), (401, "unauthenticated", 4), (403, "forbidden_scope", 4),
                (409, "conflict", 5), (412, "precondition_failed", 5), (422, "unplaceable", 6),
                (402, "insufficient_funds", 7), (504, "deadline_exceeded", 8),
                (422, "invalid_field", 2), (422, "not_supported_yet", 2), (500, "internal", 1),
                (429, "rate_limited", 1)]
        for status, code, exit_code in rows:
            with self.subTest(code=code):
                self.broker.answers["GET", "/v1/workloads/x"] = problem(
                    status, code, detail="The detail.", errors=[{"pointer": "/a", "code": "c", "detail": "Bad a."}])
                said = self.expect(exit_code, "get", "x").stderr
                for text in (f"Title of {code}", code, "The detail.", "/a: Bad a.", "Do that."):
                    self.assertIn(text, said)

    def test_no_key_is_an_authentication_error(self):
        env = self.env()
        del env["UNDERCUT_API_KEY"]
        self.assertIn("undercut login", self.expect(4, "ps", env=env).stderr)

    def test_no_broker_is_a_plain_failure(self):
        self.assertIn("connect", self.expect(1, "ps", "--url", "http://127.0.0.1:1").stderr)

    # ---- what is sent
    def test_post_retries_a_busy_broker_with_the_same_idempotency_key(self):
        self.broker.answers["POST", "/v1/workloads"] = [problem(503, "overloaded"), (201, WORKLOAD)]
        self.expect(0, "run", "-d", "--cpu", "1", "--max", "0.05", "busybox")
        keys = [r[4]["Idempotency-Key"] for r in self.broker.requests]
        self.assertEqual(len(keys), 2)
        self.assertEqual(len(set(keys)), 1)

    def test_run_builds_the_manifest(self):
        self.broker.answers["POST", "/v1/workloads"] = (201, WORKLOAD)
        self.expect(0, "run", "-d", "--gpu", "rtx-4090", "--gpu=rtx-3090", "--gpus", "2", "--max",
                    "$0.40/hr", "--region", "eu-west", "--name", "n", "--replicas", "3",
                    "--min-replicas", "1", "--duration", "15m", "--budget", "1.5", "-e", "A=1=2",
                    "-e", "FROM_ENV", "--secret", "S=t", "-l", "team=ml", "--now", "--limit", "--trust",
                    "simulated", "--restart", "on_failure", "img:1", "--", "sh", "-c", "echo \"hi\" --max",
                    env=self.env(FROM_ENV="ours"))
        method, path, _, body, headers = self.broker.requests[0]
        self.assertEqual((method, path, headers["Authorization"]),
                         ("POST", "/v1/workloads", "Bearer uc_live_x"))
        self.assertEqual(json.loads(body), {
            "name": "n", "image": "img:1", "command": ["sh", "-c", "echo \"hi\" --max"],
            "env": {"A": "1=2", "FROM_ENV": "ours"}, "secrets": {"S": "t"}, "labels": {"team": "ml"},
            "resources": {"device": {"count": 2, "models": ["rtx-4090", "rtx-3090"]}},
            "reserve_uusd_per_hour": 400000, "budget_uusd": 1500000, "max_duration_s": 900,
            "replicas": 3, "min_replicas": 1, "restart": "on_failure", "award": "now",
            "price_policy": "limit", "placement": {"regions": ["eu-west"], "trust_min": "simulated"}})

    def test_curl_prints_the_call_without_the_key_and_makes_none(self):
        text = self.expect(0, "run", "--curl", "--cpu", "1", "--max", "0.05", "img", "--", "echo", "it's").stdout
        self.assertNotIn("uc_live_x", text)
        self.assertIn("$UNDERCUT_API_KEY", text)
        self.assertEqual(self.broker.requests, [])
        self.broker.answers["POST", "/v1/workloads"] = (201, WORKLOAD)
        subprocess.run(["sh", "-c", text], env=self.env(), check=True, capture_output=True)
        self.assertEqual(json.loads(self.broker.requests[0][3])["command"], ["echo", "it's"])

    def test_apply_sends_yaml_as_yaml_and_plan_exits_10_on_changes(self):
        path = os.path.join(self.home.name, "w.yaml")
        with open(path, "w", encoding="utf-8") as f:
            f.write("# a comment\nname: trainer\nimage: img\n")
        self.broker.answers["PUT", "/v1/workloads/trainer"] = (201, {"change": "created", "workload": WORKLOAD})
        self.assertIn("trainer: created", self.expect(0, "apply", "-f", path).stdout)
        _, _, query, body, headers = self.broker.requests[-1]
        self.assertEqual((headers["Content-Type"], query), ("application/yaml", ""))
        self.assertIn("image: img", body)
        self.expect(10, "plan", "-f", path)
        self.assertEqual(self.broker.requests[-1][2], "dry_run=true")
        self.broker.answers["PUT", "/v1/workloads/trainer"] = (200, {"change": "none", "workload": WORKLOAD})
        self.assertIn("trainer: unchanged, ", self.expect(0, "plan", "-f", path).stdout)
        self.expect(0, "apply", "-f", "-", "--name", "trainer", stdin='{"image": "i"}')
        self.assertEqual(self.broker.requests[-1][4]["Content-Type"], "application/json")

    # ---- run to the end
    def script_run(self, reason="completed", exit_code=0, state="stopped", ran=True):
        lease = {"region": "eu-west", "class": "rtx-4090", "replica_index": 0, "price_uusd_per_hour": 310000,
                 "is_simulated": True, "reason": reason, "gross_uusd": 800, "detail": "why\x1b[31m"}
        kinds = ["workload.auctioning"] if not ran else \
            ["lease.awarded", "workload.starting", "lease.starting", "lease.running", "workload.running"]
        events = [{"event_id": str(i), "kind": k, "at": "", "data": lease} for i, k in enumerate(kinds)]
        ended = [{"event_id": "9", "kind": "lease.closed", "at": "", "data": lease},
                 {"event_id": "10", "kind": f"workload.{state}", "at": "", "data": lease}]
        done = {**WORKLOAD, "state": state, "terminal": True, "status_reason": reason, "spent_uusd": 800,
                "leases": [{"replica_index": 0, "epoch": 1, "exit_code": 9},
                           {"replica_index": 0, "epoch": 2, "exit_code": exit_code}]}
        lines = [{"replica": 0, "stream": "out", "data": "hello\n", "cursor": "1"},
                 {"replica": 0, "stream": "err", "data": "to stderr\n", "cursor": "2"},
                 {"replica": 0, "stream": "out", "data_base64": base64.b64encode(b"\xff\xfe?>\n").decode(), "cursor": "3"}]
        text = "".join(json.dumps(line) + "\n" for line in lines).encode()
        self.broker.answers.update({
            ("POST", "/v1/workloads"): (201, WORKLOAD),
            ("GET", "/v1/events"): [(200, {"data": events, "next_after": "8"}), (200, {"data": ended, "next_after": "10"})],
            ("GET", "/v1/workloads/wl_1/logs"): lambda q, b: (200, b"" if "after=" in q else text),
            ("GET", "/v1/workloads/wl_1"): (200, done)})

    def run_hello(self, *more):
        return subprocess.run([UNDERCUT, "run", "--cpu", "1", "--max", "0.4", *more, "busybox"],
                              capture_output=True, env=self.env(), timeout=30, check=False)

    def test_run_prints_stages_streams_output_and_exits_with_the_containers_code(self):
        self.script_run(reason="command_failed", exit_code=7, state="failed")
        done = self.run_hello()
        self.assertEqual(done.returncode, 7)
        self.assertEqual(done.stdout, b"hello\n\xff\xfe?>\n")
        for word in (b"posted", b"awarded", b"starting", b"running", b"to stderr", b"failed",
                     b"command_failed", b"$0.31/hr", b"(simulated)", b"$0.0008 in all"):
            self.assertIn(word, done.stderr)
        self.assertRegex(done.stderr, rb"\d+\.\d\ds ")
        self.assertNotIn(b"\x1b", done.stderr)

    def test_run_that_never_ran_exits_by_its_reason(self):
        for reason, code in (("no_capacity_at_price", 6), ("funds_exhausted", 7), ("image_not_found", 1)):
            with self.subTest(reason=reason):
                self.script_run(reason=reason, exit_code=None, state="failed", ran=False)
                done = self.run_hello()
                self.assertEqual(done.returncode, code)
                self.assertIn(reason.encode(), done.stderr)

    def test_run_json_prints_the_workload_alone(self):
        self.script_run()
        done = self.run_hello("--json")
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertEqual(json.loads(done.stdout)["state"], "stopped")

    def test_run_that_does_not_start_in_time_is_stopped_and_exits_8(self):
        self.script_run()
        self.broker.answers["GET", "/v1/events"] = (200, {"data": [], "next_after": "0"})
        self.broker.answers["DELETE", "/v1/workloads/wl_1"] = (202, WORKLOAD)
        done = self.run_hello("--timeout", "1s")
        self.assertEqual(done.returncode, 8)
        self.assertEqual(done.stderr.count(b"undercut explain hello"), 1)
        self.assertIn(("DELETE", "/v1/workloads/wl_1"), [r[:2] for r in self.broker.requests])

    def test_interrupt_without_a_terminal_leaves_the_workload_running_and_exits_130(self):
        self.script_run()
        asked, release = threading.Event(), threading.Event()
        self.addCleanup(release.set)

        def hold(_query, _body):
            asked.set()
            release.wait(20)
            return 200, {"data": [], "next_after": "0"}
        self.broker.answers["GET", "/v1/events"] = hold
        child = subprocess.Popen([UNDERCUT, "run", "--cpu", "1", "--max", "0.4", "busybox"],
                                 stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=self.env())
        self.assertTrue(asked.wait(10))
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=10)
        self.assertEqual(child.returncode, 130)
        self.assertIn("undercut logs -f hello", said)
        self.assertNotIn("DELETE", [r[0] for r in self.broker.requests])

    # ---- tables
    def test_ps_shows_live_ones_in_stable_columns_over_pages(self):
        ended = {**WORKLOAD, "name": "old", "state": "stopped", "terminal": True}
        evil = {**WORKLOAD, "name": "b", "image": "x\x1b[2Jy"}
        pages = [(200, {"data": [WORKLOAD, ended], "next_cursor": "c1", "has_more": True}),
                 (200, {"data": [evil], "next_cursor": None, "has_more": False})]
        self.broker.answers["GET", "/v1/workloads"] = list(pages)
        done = self.expect(0, "ps")
        lines = done.stdout.splitlines()
        self.assertEqual(lines[0].split(), ["NAME", "STATE", "RUNNING", "REASON", "MAX/HR", "SPENT", "AGE", "IMAGE"])
        self.assertEqual([line.split()[0] for line in lines[1:]], ["hello", "b"])
        self.assertNotIn("\x1b", done.stdout)
        self.assertIn("cursor=c1", self.broker.requests[1][2])
        self.broker.answers["GET", "/v1/workloads"] = list(pages)
        self.assertEqual(len(json.loads(self.expect(0, "ps", "-a", "--json").stdout)), 3)

    def test_names_are_encoded_in_paths(self):
        self.run_cli("get", "a/../b?c")
        self.assertEqual(self.broker.requests[0][1], "/v1/workloads/a%2F..%2Fb%3Fc")

    # ---- settings
    def test_login_stores_the_key_for_nobody_else_to_read(self):
        env = self.env()
        del env["UNDERCUT_API_KEY"], env["UNDERCUT_URL"]
        self.broker.answers["GET", "/v1/account"] = (200, {"account_id": "acct_1", "name": "Ada \"x\""})
        done = self.expect(0, "login", "--url", self.broker.url, stdin="uc_live_secret\n", env=env)
        self.assertEqual(done.stdout, "acct_1\n")
        self.assertNotIn("uc_live_secret", done.stdout + done.stderr)
        self.assertEqual(stat.S_IMODE(os.stat(self.config).st_mode), 0o600)
        self.broker.answers["GET", "/v1/balance"] = (200, {"wallet_uusd": 2500000, "runway_s": 3660})
        self.assertIn("$2.50", self.expect(0, "balance", env=env).stdout)
        self.assertEqual(self.broker.requests[-1][4]["Authorization"], "Bearer uc_live_secret")
        self.expect(0, "balance", env={**env, "UNDERCUT_API_KEY": "uc_env", "UNDERCUT_URL": self.broker.url})
        self.assertEqual(self.broker.requests[-1][4]["Authorization"], "Bearer uc_env")
        self.expect(0, "login", "--context", "two", "--url", self.broker.url, stdin="uc_two\n", env=env)
        self.expect(0, "balance", "--context", "default", env=env)
        self.assertEqual(self.broker.requests[-1][4]["Authorization"], "Bearer uc_live_secret")

    def test_login_with_a_bad_key_stores_nothing(self):
        self.broker.answers["GET", "/v1/account"] = problem(401, "unauthenticated")
        self.expect(4, "login", stdin="uc_live_bad\n")
        self.assertFalse(os.path.exists(self.config))

    def test_login_new_opens_an_account(self):
        self.broker.answers["POST", "/v1/accounts"] = (201, {"account": {"account_id": "acct_9"},
                                                            "api_key": {"secret": "uc_test_new"}})
        self.broker.answers["GET", "/v1/account"] = (200, {"account_id": "acct_9", "name": "n"})
        self.expect(0, "login", "--new", "n", "--test")
        self.assertEqual(json.loads(self.broker.requests[0][3]), {"name": "n", "mode": "test"})
        self.assertNotIn("Authorization", self.broker.requests[0][4])
        with open(self.config, encoding="utf-8") as f:
            self.assertIn("uc_test_new", f.read())

    def test_a_broken_config_file_is_named(self):
        os.makedirs(os.path.dirname(self.config))
        with open(self.config, "w", encoding="utf-8") as f:
            f.write("contexts: [\n")
        self.assertIn("config.yaml", self.expect(1, "ps").stderr)

    def test_a_round_tells_of_workloads_that_were_cleared_by_themselves(self):
        round_ = {"round": 5, "awards_count": 1, "lots": []}
        self.broker.answers["GET", "/v1/rounds/5"] = (200, round_)
        self.assertIn("cleared by themselves: 1; ", self.expect(0, "round", "show", "5").stdout)
        direct = {"workload_id": "wl_1", "block_size": 2, "wanted": 1, "net_reserve_uusd_per_hour": 90909,
                  "candidates": [{"node_id": "node_1", "kind": "bid", "price_uusd_per_hour": 50000,
                                  "paid_uusd_per_hour": 89338}]}
        self.broker.answers["GET", "/v1/rounds/5"] = (200, {**round_, "directs": [direct]})
        said = self.expect(0, "round", "show", "5").stdout
        self.assertIn("wl_1 by itself, x2 : 1 wanted at up to $0.090909 net", said)
        self.assertRegex(said, r"node_1 +bid +\$0.05 .* \$0.089338")
        self.assertNotIn("shown with scope audit", said)

    # ---- the rest
    def test_money_and_market_commands_call_the_right_operations(self):
        page = (200, {"data": [], "next_cursor": None, "has_more": False})
        round_ = {"round": 5, "kind": "auction", "state": "committed", "lots": [
            {"region": "eu-west", "device_class": "rtx-4090", "index_uusd_per_hour": 350000, "ladder": {
                "supply": [{"rank": 1, "node_id": "node_1", "ask_uusd_per_hour": 310000}], "demand": []}}]}
        rows = [(["node", "ls"], "GET", "/v1/nodes", page), (["ask", "ls"], "GET", "/v1/asks", page),
                (["ask", "set", "rtx-4090", "eu-west", "0.31/hr"], "PUT", "/v1/asks/rtx-4090/eu-west", (200, {})),
                (["ask", "rm", "rtx-4090", "eu-west"], "DELETE", "/v1/asks/rtx-4090/eu-west", (204, b"")),
                (["ask", "set", "rtx-4090", "eu-west", "0.31/hr", "--tiers", "spot", "--spot", "70"], "PUT",
                 "/v1/asks/rtx-4090/eu-west", (200, {})),
                (["node", "reclaim", "node_1"], "POST", "/v1/nodes/node_1/reclaim", (202, {"leases_count": 2})),
                (["node", "resume", "node_1"], "DELETE", "/v1/nodes/node_1/reclaim", (204, b"")),
                (["node", "rm", "node_1"], "DELETE", "/v1/nodes/node_1", (204, b"")),
                (["node", "token"], "POST", "/v1/node-tokens", (201, {"token": "uct_1"})),
                (["round", "ls"], "GET", "/v1/rounds", page),
                (["round", "show", "5"], "GET", "/v1/rounds/5", (200, round_)),
                (["price"], "GET", "/v1/prices", page), (["class", "ls"], "GET", "/v1/device-classes", page),
                (["region", "ls"], "GET", "/v1/regions", page), (["ledger"], "GET", "/v1/ledger/entries", page),
                (["leases"], "GET", "/v1/leases", page), (["key", "ls"], "GET", "/v1/api-keys", page),
                (["key", "create", "ci"], "POST", "/v1/api-keys", (201, {"secret": "uc_live_ci"})),
                (["key", "rm", "key_1"], "DELETE", "/v1/api-keys/key_1", (204, b"")),
                (["token"], "POST", "/v1/tokens", (201, {"access_token": "ey"})),
                (["stop", "x"], "DELETE", "/v1/workloads/x", (204, b"")),
                (["admin", "credit", "acct_1", "25"], "POST", "/v1/admin/credits", (201, {"journal_id": 3})),
                (["events"], "GET", "/v1/events", (200, {"data": [], "next_after": "0"}))]
        for words, method, path, answer in rows:
            with self.subTest(words=words):
                self.broker.answers[method, path] = answer
                self.expect(0, *words)
                self.assertEqual(self.broker.requests[-1][:2], (method, path))
        self.assertIn("$0.35", self.expect(0, "round", "show", "5").stdout)
        self.broker.answers["GET", "/v1/nodes"] = (200, {"data": [
            {"node_id": "node_1", "state": "live", "reclaimed_at": "2026-01-01T00:00:00Z", "is_opted_in": True,
             "devices": [{"class": "x", "is_present": True}]}], "next_cursor": None, "has_more": False})
        self.assertRegex(self.expect(0, "node", "ls").stdout, r"live, reclaimed +no: reclaimed ")
        self.broker.requests.clear()
        self.expect(0, "admin", "credit", "acct_1", "25.5", "--memo", "hi")
        self.assertEqual(json.loads(self.broker.requests[0][3]),
                         {"account_id": "acct_1", "amount_uusd": 25500000, "memo": "hi"})

    def test_nodes_say_why_they_do_not_sell(self):
        device = {"class": "rtx-4090", "is_present": True, "is_reclaimed": False, "ask_status": "standing", "lease_id": None}
        rows = [({}, [{}, {}], "yes"), ({}, [{"ask_status": "mismatch"}], "no: mismatch"),
                ({}, [{"ask_status": "none"}], "no: no ask"), ({"is_opted_in": False}, [{}], "no: opted out"),
                ({"state": "unknown"}, [{}], "no: not live"), ({}, [{"class": None}], "no: no class"),
                ({}, [{}, {"is_present": False}], "1 of 2: gone"), ({}, [], "no: no devices"),
                ({}, [{"is_reclaimed": True}, {}, {}], "2 of 3: reclaimed")]
        for node, devices, sells in rows:
            with self.subTest(sells=sells):
                self.broker.answers["GET", "/v1/nodes"] = (200, {"data": [
                    {"node_id": "node_1", "name": "n", "region": "r", "state": "live", "trust": "t", "reclaimed_at": None,
                     "is_opted_in": True, **node, "devices": [{**device, **d} for d in devices]}],
                    "next_cursor": None, "has_more": False})
                self.assertRegex(self.expect(0, "node", "ls").stdout, rf"  t +{sells} +0 of {len(devices)} leased")

    def test_leases_show_what_is_paid_and_to_an_operator_what_it_earns(self):
        self.broker.answers["GET", "/v1/leases"] = (200, {"data": [
            {"lease_id": "lse_1", "state": "closed", "price_uusd_per_hour": 300000, "gross_uusd_per_hour": 330000,
             "billed_ms": 3600000, "net_uusd": 300000, "fee_uusd": 30000, "gross_uusd": 330000}],
            "next_cursor": None, "has_more": False})
        for words, titles, said, unsaid in ((["leases"], r"PRICE/HR +BILLED +COST", "$0.33", "$0.30"),
                                            (["leases", "--operator"], r"NET/HR +BILLED +EARNED", "$0.30", "$0.33")):
            with self.subTest(words=words):
                out = self.expect(0, *words).stdout
                self.assertRegex(out, titles)
                self.assertEqual((out.count(said), out.count(unsaid)), (2, 0))

    def test_pictures_of_the_market_and_why(self):
        lot = {"region": "eu-west", "device_class": "rtx-4090", "block_size": 1, "tier": "flexible", "trust": "unverified"}
        candles = [{"at": f"2026-01-01T00:0{2 - i}:00Z", "open_uusd_per_hour": p, "high_uusd_per_hour": p,
                    "low_uusd_per_hour": p, "close_uusd_per_hour": p, "vwap_uusd_per_hour": None, "awards_count": 1,
                    "unmet_count": None} for i, p in enumerate((400000, None, 300000))]
        change = {**lot, "constraint": "price", "price_uusd_per_hour": 350000, "reserve_uusd_per_hour": 385000,
                  "source": "index"}
        told = {"at": "2026-01-01T00:00:00Z", "would_win": False, "wanted": 1, "wanted_min": 1, "blocks_count": 5,
                "rejections": [{"constraint": "region", "blocks_lost": 2}, {"constraint": "price", "blocks_lost": 3}],
                "blocks_left": 0, "lot": {**lot, "price_uusd_per_hour": 350000, "source": "index",
                                          "price_p50_uusd_per_hour": 340000, "price_p90_uusd_per_hour": 360000,
                                          "start_p50_ms": 2000, "start_p90_ms": 8000, "recent_rounds": []},
                "smallest_change": change, "changes": [change, {**change, "constraint": "count", "min_replicas": 2},
                                                       {**change, "constraint": "time", "wait_ms": 9000}]}
        sums = {"rounds_count": 4, "lots_count": 4, "blocks_count": 4, "sold_count": 1, "would_count": 3,
                "revenue_uusd_per_hour": 310000, "would_revenue_uusd_per_hour": 900000}
        answers = {
            ("market", "candles", "rtx-4090", "eu-west", "--step", "1h"): (
                "/v1/market/candles", {"data": candles, "next_cursor": None, "has_more": False},
                ["▁ █", "$0.30 to $0.40"]),
            ("market", "depth", "rtx-4090", "eu-west", "--tier", "spot"): (
                "/v1/market/depth", {**lot, "at": "2026-01-01T00:00:00Z", "round": 7, "index_uusd_per_hour": 350000,
                                     "buckets": [{"edge_bp": 200, "blocks_count": 8, "accounts_count": 3},
                                                 {"edge_bp": None, "blocks_count": 4, "accounts_count": 4}],
                                     "asks_uusd_per_hour": [1, 2, 3, 4, 500000], "reserves_uusd_per_hour": None},
                ["up to + 2 %", "█ 8 blocks of 3 accounts", "p90 $0.50", "reserves: too few"]),
            ("market", "stats", "rtx-4090", "eu-west", "--hours", "48"): (
                "/v1/market/stats", {"index_uusd_per_hour": 350000, "prices_uusd_per_hour": [1, 2, 3, 4, 5],
                                     "awards_count": 9, "fill_ratio_bp": 9000, "fill_p50_ms": 1000, "fill_p90_ms": 4000,
                                     "interruptions_count": 2, "interruptions_per_1000_block_hours": 5},
                ["90.0 %", "p90 4.0 s", "5 in 1000 block-hours"]),
            ("market", "cheapest"): (
                "/v1/market/cheapest", {"data": [{**lot, "vram_mib": 24564, "price_uusd_per_device_hour": 310000,
                                                  "source": "index", "round": 7}], "next_cursor": None, "has_more": False},
                ["$0.31", "24564"]),
            ("explain", "job"): (
                "/v1/workloads/job/explain", {"name": "job", "state": "auctioning", "replicas_auctioning": 1,
                                              "explain": told},
                ["-2     region         blocks in regions that are not asked for", "p90 $0.36",
                 "smallest change: price: a reserve of $0.385", "or count: min_replicas of 2", "or time: wait 9 s"]),
            ("ask", "explain", "rtx-4090", "eu-west"): (
                "/v1/asks/rtx-4090/eu-west/explain",
                {"devices": {"offered": 1, "devices_count": 2, "leased": 1}, "rounds": [{"round": 7, "lots": [
                    {**lot, "fate": "above_index", "blocks_count": 1, "sold_count": 0, "index_uusd_per_hour": 300000,
                     "score_uusd_per_hour": 320000, "gap_uusd_per_hour": 20000}]}]},
                ["1 of 2 devices are offered, 1 leased", "above_index", "$0.02"]),
            ("ask", "backtest", "rtx-4090", "eu-west", "--price", "0.29/hr"): (
                "/v1/asks/rtx-4090/eu-west/backtest", {"replayed": sums, "estimated": sums}, ["replayed", "$0.90"]),
        }
        for words, (path, answer, said) in answers.items():
            with self.subTest(words=words):
                self.broker.answers["GET", path] = (200, answer)
                out = self.expect(0, *words).stdout
                for each in said:
                    self.assertIn(each, out)
                self.assertEqual(json.loads(self.expect(0, *words, "--json").stdout),
                                 answer["data"] if words[1] == "cheapest" else answer)
        self.assertIn("price_uusd_per_device_hour=290000", self.broker.requests[-1][2])
        self.expect(2, "ask", "backtest", "rtx-4090", "eu-west")

    def test_clear_is_the_market_s_own_clearing(self):
        lots = {"seed": "00" * 32, "sellers": {"A": {"ask": 200}, "B": {"ask": 250}, "C": {"ask": 310}, "D": {"ask": 400}},
                "workloads": {"a": {"reserve": 600, "k": 1}, "b": {"reserve": 500, "k": 1},
                              "c": {"reserve": 350, "k": 1}, "d": {"reserve": 280, "k": 1}}}
        result = json.loads(self.expect(0, "clear", stdin=json.dumps(lots)).stdout)
        self.assertEqual((result["K"], result["S_star"]), (3, 350))
        self.expect(2, "clear", stdin="nonsense")
        self.assertEqual(self.broker.requests, [])

    def test_the_worked_round_of_the_docs_comes_out_as_its_tables_say(self):
        with open(os.path.join(ROOT, "docs", "auction.md"), encoding="utf-8") as f:
            lot = f.read().split("<<'EOT'\n")[1].split("EOT")[0]
        result = json.loads(self.expect(0, "clear", stdin=lot).stdout)
        self.assertEqual(result["assignment"]["w1"], ["anna/0"])
        self.assertEqual(sorted(result["assignment"]["g2"]), ["ben/0", "ben/1"])
        self.assertEqual(result["assignment"]["w3"], ["cleo/0"])
        self.assertEqual((result["S_star"], result["theta"]["ben"]), (350000, [400000, 350000]))
        self.assertEqual(result["pay_vickrey"], {"anna": 350000, "ben": 750000, "cleo": 340000, "dora": 0})

        def paid_and_sold(ask):
            told = json.loads(lot)
            told["sellers"]["ben"]["ask"] = ask
            said = json.loads(self.expect(0, "clear", stdin=json.dumps(told)).stdout)
            return said["pay_vickrey"]["ben"], said["sold"]["ben"]
        self.assertEqual([paid_and_sold(a) for a in (1, 350000, 360000)], [(750000, 2), (750000, 2), (400000, 1)])

    def test_doctor_names_what_is_wrong(self):
        self.broker.answers["GET", "/readyz"] = (200, {"status": "ready"})
        self.broker.answers["GET", "/v1/account"] = problem(401, "unauthenticated")
        done = self.expect(1, "doctor")
        self.assertIn("ok   broker is ready", done.stdout)
        self.assertIn("BAD  the key belongs to unauthenticated", done.stdout)


if __name__ == "__main__":
    unittest.main()
