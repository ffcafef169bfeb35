"""The least that a take can cost in this database: one transaction that writes the rows that a take left behind.

The rows are those that a round of this very run wrote, found by its transaction, each stored by an insert with what
must be new in it made new: ids, numbers, what the schema itself fills in. What its triggers wrote is left to them.
Rows that all rounds share are updated as a round does it, behind its lock, and everything is sent in one trip.
Nothing is looked for, cleared, guarded, hashed or answered, and no row is written twice. It runs in a copy of the
database, which nobody else uses, and is proved to leave as many rows in each table as the round did.
"""

import subprocess

import stack as st
from measure import pgbench_log

COPY = "bench_floor"
SESSION = {"jit": "off", "plan_cache_mode": "force_generic_plan", "enable_seqscan": "off",
           "enable_bitmapscan": "off"}  # as the leader's
ROUND = "currval('bench_round')"
FRESH = {"round": ROUND, "arrived_round": ROUND, "chain_index": ROUND, "node_index": ROUND,
         "journal_id": "currval('journals_journal_id_seq')"}
NAMED = (("workloads", "workload_id"), ("replicas", "replica_id"), ("leases", "lease_id"))
INSERTED = ("workloads", "replicas", "arrival_batches", "journals", "entries", "leases", "lot_rounds", "rounds",
            "log_leaves", "log_nodes", "events")
OF = {"events": "xmin = '{xact}' and kind <> 'lease.awarded'",  # a trigger's
      "log_nodes": "level = 1 and node_index = 0"}  # each leaf completes one, on an average
UPDATED = ("leadership", "seed_chains", "markets", "devices", "ledger_accounts", "supply_changes")
BEGIN = """begin;
select pg_advisory_xact_lock(hashtext('undercut/arrivals/main'));
update leadership set renewed_at = now() where market = 'main';
update seed_chains set next_index = next_index + 1 where market = 'main';
update markets set round = nextval('bench_round') + 1 where market = 'main';
"""


def copy(postgres):
    postgres.sql(f"create database {COPY}", "postgres")
    for name, value in SESSION.items():
        postgres.sql(f"alter database {COPY} set {name} = {value}", "postgres")
    with subprocess.Popen([f"{postgres.bin}/pg_dump", "-d", postgres.url()], stdout=subprocess.PIPE) as dump:
        st.run([f"{postgres.bin}/psql", "-X", "-q", "-d", postgres.url(COPY)], stdin=dump.stdout)
    postgres.sql("create table bench_device as select row_number() over () as nth, device_id from devices;"
                 "create unique index on bench_device (nth); analyze; create sequence bench_round", COPY)
    postgres.sql("select setval('bench_round', round, false) from markets where market = 'main'", COPY)


def last_round(postgres, database="undercut"):
    """(transaction, awards) of the last round of those who take now."""
    return postgres.sql("select xmin, awards_count from rounds where kind = 'now' order by round desc limit 1",
                        database).split("|")


def written(postgres, xact, database="undercut"):
    """How many rows this transaction left in each table."""
    tables = postgres.sql("select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'"
                          " and relname not like 'bench%'", database).split()
    counts = " union all ".join(f"select '{table}', count(*) from {table} where xmin = '{xact}'" for table in tables)
    rows = (line.split("|") for line in postgres.sql(counts, database).splitlines())
    return {table: int(count) for table, count in rows if int(count)}


def new_words(postgres, xact):
    """What takes the place of each name and id that the transaction brought."""
    words = {}
    for kind, (table, column) in enumerate(NAMED, 1):
        for nth, word in enumerate(postgres.sql(f"select {column} from {table} where xmin = '{xact}'").split()):
            words[word] = f"('{nth:04d}000{kind}-0000-7000-8000-' || lpad(to_hex({ROUND}), 12, '0'))::uuid"
    for nth, word in enumerate(postgres.sql(f"select name from workloads where xmin = '{xact}'").split()):
        words[word] = f"'w-{nth}-' || {ROUND}"
    return words


def made_new(column, text, words):
    """A value for the script; pgbench would look for a variable behind a colon."""
    plain = text[1:-1]
    if text == "NULL" or column in FRESH:
        return FRESH.get(column, text) if text != "NULL" else text
    if plain in words:
        return words[plain]
    if plain.strip("{}").split(",")[0] in words:
        return f"array[{', '.join(words[word] for word in plain.strip('{}').split(','))}]"
    return text if ":" not in text else "E" + text.removeprefix("E").replace(":", r"\x3a")


def insert_of(postgres, table, xact, words):
    """The insert of a table's rows. A column whose default is computed keeps it."""
    names = postgres.sql(
        "select attname from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum "
        f"where attrelid = '{table}'::regclass and attnum > 0 and not attisdropped and attidentity = '' "
        "and coalesce(pg_get_expr(d.adbin, d.adrelid), '') not like '%(%'").split()
    texts = ", ".join(f"quote_nullable({name}::text)" for name in names)
    of = OF.get(table, "xmin = '{xact}'").format(xact=xact)
    stored = postgres.sql(f"select concat_ws(e'\\x01', {texts}) from {table} where {of}")
    rows = [", ".join(made_new(name, text, words) for name, text in zip(names, row.split("\x01")))
            for row in stored.splitlines()]
    return f"insert into {table} ({', '.join(names)}) values ({'), ('.join(rows)});\n"


def floor_run(rig, script, clients, rounds, warm=0):
    """Milliseconds of each of so many rounds by each client, after those that warm it up."""
    postgres, log = rig.postgres, f"{rig.folder}/pgb/log"
    st.run([f"{postgres.bin}/pgbench", "-n", "-M", "prepared", "-c", str(clients), "-j", "1",
            "-t", str(warm + rounds), "-f", script, "-h", postgres.sockets, "-U", "undercut",
            "-l", f"--log-prefix={log}", COPY])
    return pgbench_log(log, warm)


def floor_script(rig, takes):
    """The script of such a transaction, like the last round, which must have been one of so many takes and nothing
    of it changed since; None: it was not."""
    postgres = rig.postgres
    xact, awards = last_round(postgres)
    wrote = written(postgres, xact)
    if int(awards) != takes or wrote.get("leases") != takes:
        return None
    if COPY not in postgres.sql("select datname from pg_database").split():
        copy(postgres)
        size = postgres.sql("select max(size) + 1 - (select round from markets where market = 'main')"
                            " from log_leaves", COPY)
        chain = postgres.sql("select max(chain_id) from seed_chains", COPY)  # a leader may begin another any time
        FRESH.update(size=f"{ROUND} + {size}", log_size=f"{ROUND} + {size}", chain_id=chain)
    words = new_words(postgres, xact)
    inserts = "".join(insert_of(postgres, table, xact, words) for table in INSERTED)
    leases = [word for word in words.values() if word.startswith(tuple(f"('{nth:04d}0003" for nth in range(takes)))]
    taken = ", ".join(f"({lease}, :nth + {nth})" for nth, lease in enumerate(leases))
    devices = int(postgres.sql("select count(*) from bench_device", COPY))
    path = rig.sql_script(f"floor-{takes}", f"\\set nth random(1, {devices - takes})\n\\startpipeline\n{BEGIN}{inserts}"
                          f"update devices d set lease_id = t.lease_id from (values {taken}) t (lease_id, nth) "
                          "join bench_device b using (nth) where d.device_id = b.device_id;\ncommit;\n\\endpipeline\n")
    floor_run(rig, path, 1, 1)
    left = written(postgres, last_round(postgres, COPY)[0], COPY)
    differ = {table for table in {*wrote, *left} - {*UPDATED, "log_nodes"} if wrote.get(table) != left.get(table)}
    if differ or not left.keys() >= set(UPDATED):
        raise st.StackError(f"the floor is not what a round writes: {wrote} {left}")
    return path
