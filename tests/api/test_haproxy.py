"""deploy/haproxy.cfg as it stands, in front of a broker: TLS, HTTP/2, and requests that two parsers
could read differently. The table says which wall must answer; none may reach an operation.
"""

import json
import os
import socket
import ssl
import subprocess
import unittest

import stack as stacks
from harness import ApiCase, ROOT, manifest, wait_until

END = b"\r\n\r\n"
HOST = b"Host: undercut.test\r\n"
# (what, raw bytes, statuses that are right). A closed connection without an answer is right as well. The proxy
# refuses each of them itself, but for REACHES: those it rewrites so that they can be read in one way only, and
# that many requests then reach the broker (which refuses what still lacks something).
AMBIGUOUS = [
    ("length and chunks", b"POST /v1/accounts HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nTransfer-Encoding: chunked" + END + b"0\r\n\r\nGET /v1/smuggled HTTP/1.1\r\n" + HOST + b"\r\n", {400, 415, 422}),
    ("two lengths", b"POST /v1/accounts HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nContent-Length: 6" + END + b"hello!", {400}),
    ("a length with a plus", b"POST /v1/accounts HTTP/1.1\r\n" + HOST + b"Content-Length: +5" + END + b"hello", {400}),
    ("a negative length", b"POST /v1/accounts HTTP/1.1\r\n" + HOST + b"Content-Length: -1" + END, {400}),
    ("two hosts", b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b" + END, {400}),
    ("no host", b"GET /healthz HTTP/1.1\r\nAccept: */*" + END, {400}),
    ("a bare line feed", b"GET /healthz HTTP/1.1\nHost: a\nX: y\n\nGET /v1/smuggled HTTP/1.1\r\nHost: a" + END, {200, 400, 404}),
    ("a folded header", b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: a\r\n b" + END, {200, 400}),
    ("a blank before the colon", b"GET /healthz HTTP/1.1\r\n" + HOST + b"Content-Length : 5" + END, {400}),
    ("a NUL", b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: a\0b" + END, {400}),
    ("chunked twice", b"POST /v1/accounts HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity" + END + b"0\r\n\r\n", {400}),
    ("obfuscated chunked", b"POST /v1/accounts HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: xchunked" + END + b"0\r\n\r\n", {400, 501}),
    ("a chunk size that lies", b"POST /v1/accounts HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked" + END + b"fffffffffffffffff\r\n", {400}),
    ("too many headers", b"GET /healthz HTTP/1.1\r\n" + HOST + b"".join(b"X%d: y\r\n" % i for i in range(200)) + b"\r\n", {400, 431}),
    ("a huge header", b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: " + b"y" * 60000 + END, {400, 431}),
    ("a huge target", b"GET /" + b"y" * 10000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", {400, 414}),
    ("an absolute target elsewhere", b"GET http://elsewhere/healthz HTTP/1.1\r\n" + HOST + b"\r\n", {400}),
    ("an unknown version", b"GET /healthz HTTP/3.7\r\n" + HOST + b"\r\n", {400, 505}),
    ("TRACE", b"TRACE /healthz HTTP/1.1\r\n" + HOST + b"\r\n", {405}),
    ("an upgrade to h2c", b"GET /healthz HTTP/1.1\r\n" + HOST + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__" + END, {400}),
    ("a body too large", b"POST /v1/accounts HTTP/1.1\r\n" + HOST + b"Content-Length: 300000" + END, {413}),
]
REACHES = {"length and chunks": 1, "no host": 1, "a bare line feed": 2, "a folded header": 1}


class HaproxyTest(ApiCase):
    settings = {"proxy_hops": 1, "log_level": "debug"}

    @classmethod
    def prepare(cls):
        pem = os.path.join(cls.stack.folder, "tls.pem")
        stacks.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
                    "1", "-subj", "/CN=undercut.test", "-keyout", pem + ".key", "-out", pem + ".crt"])
        with open(pem, "wb") as whole:
            for part in (".crt", ".key"):
                with open(pem + part, "rb") as f:
                    whole.write(f.read())
        cls.port = stacks.port_free()
        env = {**os.environ, "UNDERCUT_BIND": f"127.0.0.1:{cls.port}", "UNDERCUT_CERT": pem,
               "UNDERCUT_BROKER": cls.broker.url.removeprefix("http://")}
        config = os.path.join(ROOT, "deploy", "haproxy.cfg")
        checked = subprocess.run(["haproxy", "-c", "-f", config], env=env, capture_output=True, text=True, check=False)
        assert checked.returncode == 0 and "WARNING" not in checked.stderr, checked.stderr
        proxy = stacks.Process("haproxy", ["haproxy", "-db", "-n", "500", "-f", config], os.path.join(cls.stack.folder, "haproxy.log"), env)
        cls.stack.children.append(proxy.start())
        cls.proxy = proxy
        wait_until("haproxy", 10, lambda: cls.say(b"GET /healthz HTTP/1.1\r\n" + HOST + b"Connection: close" + END)[:1] == [200], proxy)

    @classmethod
    def connect(cls, protocols=("http/1.1",)):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(list(protocols))
        return context.wrap_socket(socket.create_connection(("127.0.0.1", cls.port), timeout=5), server_hostname="undercut.test")

    @classmethod
    def say(cls, raw):
        """Statuses of all answers to these bytes, until the peer closes or is silent for a second."""
        data = b""
        try:
            with cls.connect() as s:
                s.sendall(raw)
                s.settimeout(1)
                while True:
                    more = s.recv(65536)
                    if not more:
                        break
                    data += more
        except (OSError, ssl.SSLError):
            pass
        return [int(part[:3]) for part in data.split(b"HTTP/1.1 ")[1:] + data.split(b"HTTP/1.0 ")[1:]]

    def test_http_2_reaches_the_broker(self):
        with self.connect(("h2", "http/1.1")) as s:
            self.assertEqual(s.selected_alpn_protocol(), "h2")
        done = subprocess.run(["curl", "-sk", "--http2", "-o", "/dev/null", "-w", "%{http_version} %{http_code}",
                               f"https://127.0.0.1:{self.port}/healthz"], capture_output=True, text=True, check=True)
        self.assertEqual(done.stdout, "2 200")

    def test_old_tls_is_refused(self):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.minimum_version = ssl.TLSVersion.TLSv1
        with self.assertRaises((ssl.SSLError, OSError)), socket.create_connection(("127.0.0.1", self.port)) as raw:
            context.wrap_socket(raw, server_hostname="x")

    def served(self):
        """How many requests reached the broker, but for the proxy's own look at its health."""
        with open(os.path.join(self.broker.folder, "log"), encoding="utf-8", errors="replace") as f:
            return sum("event=request_" in line and "op=readyz" not in line for line in f)

    def test_no_ambiguous_request_gets_through(self):
        for what, raw, right in AMBIGUOUS:
            with self.subTest(what=what):
                before = self.served()
                statuses = self.say(raw)
                self.assertLessEqual(len(statuses), 2 if what == "a bare line feed" else 1, statuses)
                for status in statuses[:1]:
                    self.assertIn(status, right)
                self.assertNotIn(500, statuses)
                self.assertEqual(self.served() - before, REACHES.get(what, 0), "requests that reached the broker")
        self.assertEqual(self.sql("select count(*) from accounts where name like '%smuggled%'"), "0")

    def test_a_client_cannot_choose_its_own_address(self):
        """X-Forwarded-For of the client is dropped, so rate limits by address cannot be dodged."""
        raw = b"GET /healthz HTTP/1.1\r\n" + HOST + b"X-Forwarded-For: 1.2.3.4\r\nConnection: close" + END
        self.assertEqual(self.say(raw), [200])

    def test_a_workload_can_be_posted_through_it(self):
        tenant = self.account()
        body = json.dumps(manifest())
        done = subprocess.run(["curl", "-sk", "--http2", "-w", "\n%{http_code}", "-H", f"Authorization: Bearer {tenant.key}",
                               "-H", "Content-Type: application/json", "--data-binary", body,
                               f"https://127.0.0.1:{self.port}/v1/workloads"], capture_output=True, text=True, check=True)
        self.assertEqual(done.stdout.splitlines()[-1], "201", done.stdout)


if __name__ == "__main__":
    unittest.main()
