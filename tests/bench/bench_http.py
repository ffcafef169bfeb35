"""The API against its limits: bare libh2o, and pgbench on the same PostgreSQL.

GET of a workload by id (one pipelined read) and durable POST of a workload (group commit), 64 clients
each, synchronous_commit on, one disk. The market role is off: it is a process of its own in such a
deployment, and a queue of workloads that nobody clears would be measured instead.

A GET is held against two bare servers: one that is sent the same requests by the same script and answers
as many bytes as a GET does, which is the limit of that exchange; and one of short requests without a
script and 13 bytes of body, which is as fast as a server can be.

A POST is held against two inserts of pgbench: one of the row of `workloads` that the POST stores, into
that table, without the rest of it (the replica, the money, the arrival, the event); and one of a row
of four columns into a table that has nothing but its key, which is as fast as an insert can be.
"""

import os
import socket
from urllib.parse import urlsplit

from measure import PAIRS, progress, pgbench, ratio, report, wrk
from rig import Rig, hello

CLIENTS = 64
HERE = os.path.dirname(os.path.abspath(__file__))

TABLES = """
create table if not exists bench_item (item_id int4 primary key, name text, state text, reserve int8,
    version int4, created_at timestamptz default now());
insert into bench_item select i, 'item-' || i, 'running', i, 1 from generate_series(1, 100000) i;
create table if not exists bench_insert (id bigserial primary key, account int8, body text,
    created_at timestamptz not null default now());
analyze bench_item;
"""
SELECT = "\\set id random(1, 100000)\nselect item_id, name, state, reserve, version, created_at " \
    "from bench_item where item_id = :id;\n"
INSERT = "\\set a random(1, 1000000)\ninsert into bench_insert (account, body) values (:a, " \
    "'a workload of a size like those that the other side posts, give or take') returning id;\n"


FRESH = {"workload_id": "gen_random_uuid()", "name": "'w-' || nextval('arrivals_place_seq')",
         "place": "nextval('arrivals_place_seq')", "created_at": "now()"}


def same_row(postgres, workload_id):
    """The insert of a workload's row as it stands, but for what is new in each."""
    names = postgres.sql("select attname from pg_attribute where attrelid = 'workloads'::regclass"
                         " and attnum > 0 and not attisdropped").split()
    texts = ", ".join(f"quote_nullable({name}::text)" for name in names)
    values = postgres.sql(f"select concat_ws(e'\\x01', {texts}) from workloads where workload_id ="
                          f" '{workload_id}'").split("\x01")
    made = ", ".join(FRESH.get(name, value) for name, value in zip(names, values))
    return f"insert into workloads ({', '.join(names)}) values ({made}) returning workload_id;\n"


def workload(client):
    return client.post("/v1/workloads", {
        "image": "localhost/none:1", "reserve_uusd_per_hour": 6, "max_duration_s": 600,
        "resources": {"device": {"count": 1, "models": ["rtx-4090"]}}})["workload_id"]


def answer_bytes(url, key=None):
    """How long the answer to a GET is, head and body."""
    at = urlsplit(url)
    auth = f"Authorization: Bearer {key}\r\n" if key else ""
    with socket.create_connection((at.hostname, at.port)) as peer:
        peer.sendall(f"GET {at.path} HTTP/1.1\r\nHost: {at.netloc}\r\n{auth}Connection: close\r\n\r\n".encode())
        answer = b""
        while part := peer.recv(65536):
            answer += part
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise RuntimeError(f"{url}: {answer}")
    return len(answer)


def run():
    threads = os.cpu_count() or 1
    with Rig("http", roles="api", threads=threads) as rig:
        rig.postgres.sql(TABLES)
        select, insert = rig.sql_script("select", SELECT), rig.sql_script("insert", INSERT)
        _, client = rig.account("bench", credit_usd=1000000)
        ids = f"{rig.folder}/ids"
        posted = [workload(client) for _ in range(1000)]
        with open(ids, "w", encoding="ascii") as f:
            f.write("\n".join(posted))
        stored = rig.postgres.sql("select min(workload_id::text) from workloads")
        scripts = {"select": select, "insert": insert,
                   "same": rig.sql_script("same", same_row(rig.postgres, stored))}
        servers = {"hello": hello(threads)}
        try:
            answer = answer_bytes(f"{rig.broker.url}/v1/workloads/{posted[0]}", client.key)
            servers["same_hello"] = hello(threads, 13 + answer - answer_bytes(servers["hello"][1]))
            sides = measure(rig, client, {name: url for name, (_, url) in servers.items()}, ids, scripts)
        finally:
            for process, _ in servers.values():
                process.kill()
                process.wait()
    report("setup", clients=CLIENTS, answer_bytes=answer, threads=threads, roles="api", synchronous_commit="on", disks=1)
    return all([
        ratio("http_get_vs_hello_of_its_bytes", 0.50, sides["get"], sides["same_hello"], "get_rps",
              "hello_rps"),
        ratio("http_get_vs_hello_of_13_bytes", 0.50, sides["get"], sides["hello"], "get_rps", "hello_rps"),
        ratio("http_get_vs_pgbench_select", 0.90, sides["get"], sides["select"], "get_rps", "pgbench_tps"),
        ratio("http_post_vs_pgbench_insert_of_its_row", 1.0, sides["post"], sides["same"], "post_rps",
              "pgbench_tps"),
        ratio("http_post_vs_pgbench_insert_of_four_columns", 1.0, sides["post"], sides["insert"],
              "post_rps", "pgbench_tps")]) or bool(all(sides.values()))


def measure(rig, client, hellos, ids, scripts):
    sides = {name: [] for name in ("hello", "same_hello", "get", "select", "post", "same", "insert")}
    for pair in range(PAIRS):
        progress(f"http: pair {pair + 1} of {PAIRS}")
        sides["hello"].append(wrk(hellos["hello"], CLIENTS))
        for name, url in (("same_hello", hellos["same_hello"]), ("get", rig.broker.url)):
            sides[name].append(wrk(url, CLIENTS, key=client.key, script=f"{HERE}/get.lua", argv=[ids]))
        sides["select"].append(pgbench(rig.postgres, scripts["select"], CLIENTS))
        sides["post"].append(wrk(rig.broker.url, CLIENTS, key=client.key, script=f"{HERE}/post.lua"))
        sides["same"].append(pgbench(rig.postgres, scripts["same"], CLIENTS))
        sides["insert"].append(pgbench(rig.postgres, scripts["insert"], CLIENTS))
    return sides
