"""Events and logs: in order, without gaps, resumable, by stream and by long poll, during and after."""

import http.client
import json
import threading
import time
import unittest
import urllib.parse

from harness import ApiCase, manifest


class Sse:
    """A server-sent stream: (id, kind, data) as they come; comments are counted."""

    def __init__(self, http, query="", last_id=None):
        at = urllib.parse.urlsplit(http.base_url)
        self.connection = http_connection(at)
        headers = {"Accept": "text/event-stream", "Authorization": f"Bearer {http.key}"}
        if last_id:
            headers["Last-Event-ID"] = last_id
        self.connection.request("GET", f"/v1/events{query}", headers=headers)
        self.reply = self.connection.getresponse()
        self.comments = 0

    def next(self):
        """The next event."""
        fields = {}
        while True:
            line = self.reply.readline().decode().rstrip("\r\n")
            if line.startswith(":"):
                self.comments += 1
            elif line:
                name, _, value = line.partition(":")
                fields[name] = value.lstrip(" ")
            elif "data" in fields:
                return fields.get("id"), fields.get("event"), json.loads(fields["data"])
            elif self.reply.isclosed():
                return None

    def close(self):
        self.connection.close()


def http_connection(at, timeout_s=30):
    return http.client.HTTPConnection(at.hostname, at.port, timeout=timeout_s)


class EventsTest(ApiCase):
    def setUp(self):
        super().setUp()
        self.tenant = self.account()

    def poll_all(self, query="", after="0"):
        """Every event from `after` on, by long polls without waiting."""
        self.until_told()
        found = []
        while True:
            page = self.tenant.get(f"/v1/events?after={after}{query}")
            if not page["data"]:
                return found
            found += page["data"]
            after = page["next_after"]

    def lived(self, **more):
        """A workload that was posted, run and completed."""
        node = self.node()
        made = self.tenant.post("/v1/workloads", manifest(**more))
        lease_id = node.take(self)[0]
        node.run(lease_id)
        node.exit(lease_id, "completed", 0, healthy_ms=100)
        self.until_state(self.tenant, made["workload_id"], "stopped")
        node.retire()
        return made["workload_id"], lease_id

    def test_a_life_is_told_in_order(self):
        workload_id, lease_id = self.lived()
        events = self.poll_all(f"&workload_id={workload_id}")
        kinds = [e["kind"] for e in events]
        self.assertEqual([k for k in kinds if k.startswith("lease.")],
                         ["lease.awarded", "lease.starting", "lease.running", "lease.closed"])
        self.assertEqual([k for k in kinds if k.startswith("workload.")][-3:],
                         ["workload.starting", "workload.running", "workload.stopped"])
        closed = next(e for e in events if e["kind"] == "lease.closed")
        self.assertEqual((closed["data"]["reason"], closed["lease_id"]), ("completed", lease_id))
        self.assertEqual(len({e["event_id"] for e in events}), len(events))

    def test_a_long_poll_waits_until_something_happens(self):
        self.until_told()
        start = self.tenant.get("/v1/events?after=0")
        after = self.tenant.get("/v1/events")["next_after"]
        began = time.monotonic()
        quiet = self.tenant.get(f"/v1/events?after={after}&wait_s=1")
        self.assertEqual(quiet["data"], [])
        self.assertGreaterEqual(time.monotonic() - began, 0.9)
        answers = []
        poller = threading.Thread(target=lambda: answers.append(self.tenant.get(f"/v1/events?after={after}&wait_s=20")))
        poller.start()
        made = self.tenant.post("/v1/workloads", manifest())
        node = self.node()
        node.take(self)
        poller.join(25)
        self.assertTrue(answers and answers[0]["data"], (start, answers))
        self.tenant.delete(f"/v1/workloads/{made['workload_id']}")
        node.retire()

    def test_a_stream_tells_the_same_and_resumes_behind_the_last_id(self):
        workload_id, _ = self.lived()
        polled = self.poll_all(f"&workload_id={workload_id}")
        stream = Sse(self.tenant, f"?after=0&workload_id={workload_id}")
        self.assertEqual(stream.reply.status, 200)
        self.assertEqual(stream.reply.getheader("Content-Type").split(";")[0], "text/event-stream")
        streamed = [stream.next() for _ in polled]
        stream.close()
        self.assertEqual([(e["event_id"], e["kind"]) for e in polled], [(s[0], s[2]["kind"]) for s in streamed])
        again = Sse(self.tenant, f"?workload_id={workload_id}", last_id=streamed[1][0])
        self.assertEqual([again.next()[0] for _ in polled[2:]], [s[0] for s in streamed[2:]])
        again.close()

    def test_nothing_is_missed_or_doubled_or_reordered_while_many_write(self):
        """A stream and a poller follow from the start; sixteen writers post and stop; all agree at the end."""
        stream = Sse(self.tenant, "?after=0")
        polled, is_over = [], threading.Event()

        def poll():
            after = "0"
            while True:
                was_over = is_over.is_set()
                page = self.tenant.get(f"/v1/events?after={after}&wait_s=1")
                polled.extend(page["data"])
                after = page["next_after"]
                if was_over and not page["data"]:
                    return

        def write(i):
            for n in range(3):
                made = self.tenant.post("/v1/workloads", manifest(name=f"w{i}-{n}"))
                self.tenant.delete(f"/v1/workloads/{made['workload_id']}")
        poller = threading.Thread(target=poll)
        poller.start()
        self.at_once(16, write)
        is_over.set()
        poller.join(30)
        self.assertFalse(poller.is_alive())
        stored = int(self.sql(f"select count(*) from events e join workloads w"
                              f" on w.workload_id = any (coalesce(e.workload_ids, array[e.workload_id])) where w.name like 'w%-%'"
                              f" and e.account_id = w.account_id and w.account_id = (select account_id from workloads"
                              f" where name = 'w0-0' order by workload_id desc limit 1)"))
        ids = [e["event_id"] for e in polled]
        self.assertEqual(len(ids), len(set(ids)), "an event came twice")
        self.assertEqual(len(ids), stored)
        self.assertGreaterEqual(stored, 48)
        self.assertEqual([stream.next()[0] for _ in ids], ids)
        stream.close()
        self.assertEqual([e["event_id"] for e in self.poll_all()], ids, "read again, the order is the same")

    def test_a_cursor_that_is_none_is_refused_and_strangers_ids_show_nothing(self):
        self.refused(422, "invalid_field", self.tenant.get, "/v1/events?after=nonsense")
        self.refused(422, "invalid_field", self.tenant.get, "/v1/events?wait_s=31")

    def test_a_stream_of_a_revoked_key_or_of_a_client_that_left_is_let_go(self):
        for _ in range(8):
            Sse(self.tenant, "?after=0").close()
        self.until("the streams to be gone", lambda: self.open_streams() == 0, 30)

    def open_streams(self):
        with open(f"/proc/{self.broker.process.pid}/net/tcp", encoding="ascii") as f:
            port = f":{self.broker.settings['port']:04X}"
            rows = [line.split() for line in f.readlines()[1:]]
        return sum(r[1].endswith(port) and r[3] in ("01", "08") for r in rows)


class LogCase(ApiCase):
    def setUp(self):
        super().setUp()
        self.tenant = self.account()
        self.node_ = self.node(slots=2)
        self.addCleanup(lambda: self.node_.retire())

    def running(self, **more):
        made = self.tenant.post("/v1/workloads", manifest(**more))
        leases = self.node_.take(self, more.get("replicas", 1))
        self.node_.run(*leases)
        by_index = {d["replica_index"]: d["lease_id"] for d in self.node_.desired}
        return f"/v1/workloads/{made['workload_id']}/logs", [by_index[i] for i in sorted(by_index)]

    def follow(self, path, lines):
        """Reads a followed log into `lines` until the server ends it; the thread."""
        def read():
            at = urllib.parse.urlsplit(self.tenant.base_url)
            connection = http_connection(at)
            connection.request("GET", path, headers={"Authorization": f"Bearer {self.tenant.key}"})
            reply = connection.getresponse()
            while line := reply.readline():
                lines.append(line)
            connection.close()
        thread = threading.Thread(target=read)
        thread.start()
        return thread

    def end(self, *leases):
        for lease_id in leases:
            self.node_.exit(lease_id, "completed", 0, healthy_ms=1)


class LogsTest(LogCase):
    def test_output_is_kept_after_the_end_as_text_and_as_lines_with_their_origin(self):
        path, (lease_id,) = self.running()
        self.node_.log(lease_id, 0, "hello\n")
        self.node_.log(lease_id, 6, "oops\n", "err")
        self.node_.log(lease_id, 0, "hello\n")  # a repeat is ignored
        self.assertEqual(self.node_.log(lease_id, 6, "oops\n", "err")["leases"][0]["next_offset"], 11)
        self.end(lease_id)
        self.until("the end", lambda: self.tenant.get(path[:-5])["terminal"])
        self.until("its output", lambda: self.tenant.get(path) == "hello\noops\n")
        status, headers, body = self.tenant.raw("GET", path + "?format=ndjson")
        lines = [json.loads(line) for line in body.splitlines()]
        self.assertEqual([(x["stream"], x["data"], x["replica"], x["lease_id"]) for x in lines],
                         [("out", "hello\n", 0, lease_id), ("err", "oops\n", 0, lease_id)])
        rest = self.tenant.raw("GET", f"{path}?format=ndjson&after={urllib.parse.quote(lines[0]['cursor'])}")[2]
        self.assertEqual([json.loads(line)["data"] for line in rest.splitlines()], ["oops\n"])

    def test_following_shows_what_comes_and_ends_with_the_workload(self):
        path, (lease_id,) = self.running()
        lines = []
        reader = self.follow(path + "?follow=true", lines)
        for i in range(5):
            self.node_.log(lease_id, i * 2, f"{i}\n")
        self.until("the first lines", lambda: len(lines) >= 5)
        self.assertTrue(reader.is_alive())
        self.end(lease_id)
        reader.join(20)
        self.assertFalse(reader.is_alive(), "the stream did not end with the workload")
        self.assertEqual(b"".join(lines), b"0\n1\n2\n3\n4\n")

    def test_replicas_are_told_apart(self):
        path, (first, second) = self.running(replicas=2)
        self.node_.log(first, 0, "zero\n")
        self.node_.log(second, 0, "one\n")
        self.until("both outputs", lambda: self.tenant.get(path + "?replica=0") == "zero\n"
                   and self.tenant.get(path + "?replica=1") == "one\n")
        self.end(first, second)

    def test_a_gap_is_marked_and_bytes_that_are_not_text_survive(self):
        path, (lease_id,) = self.running()
        self.node_.log(lease_id, 0, "before\n")
        self.node_.answered(f"/v1/nodes/{self.node_.node_id}/logs", {"chunks": [
            {"lease_id": lease_id, "epoch": 1, "offset": 7, "stream": "gap", "at_us": 1,
             "data": "bWlzc2luZw=="},
            {"lease_id": lease_id, "epoch": 1, "offset": 14, "stream": "out", "at_us": 2, "data": "//4A"}]})
        def said():
            return [json.loads(x) for x in self.tenant.raw("GET", path + "?format=ndjson")[2].splitlines()]
        self.until("all chunks", lambda: len(said()) == 3)
        lines = said()
        self.assertEqual([x["stream"] for x in lines], ["out", "gap", "out"])
        self.assertEqual(lines[2].get("data_base64"), "//4A")
        self.end(lease_id)


class LogQuotaTest(LogCase):
    settings = {"log_bytes_max": 1000}

    def test_output_over_the_quota_is_dropped_and_the_agent_is_told(self):
        path, (lease_id,) = self.running()
        self.node_.log(lease_id, 0, "x" * 900)
        self.node_.log(lease_id, 900, "y" * 900)
        said = self.node_.log(lease_id, 1800, "z" * 900)["leases"][0]
        self.assertTrue(said["is_full"])
        text = self.tenant.get(path)
        self.assertTrue(text.startswith("x" * 900))
        self.assertLess(len(text), 2000)
        self.assertNotIn("z", text)
        self.end(lease_id)


if __name__ == "__main__":
    unittest.main()
