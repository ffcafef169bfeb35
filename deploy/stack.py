"""A private Undercut on this machine: PostgreSQL, Redis, container engine, broker and agents.

Used by the demo, `./dev up`, the black-box tests and the benches. Everything lives in one folder and is
known by process id; nothing that this module did not start is ever touched. Servers listen on unix
sockets or on a port that the kernel chose. Standard library only.
"""

import contextlib
import fcntl
import grp
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SOCKET_PATH_MAX = 60  # sun_path holds 108, and engines append to what they are given


class StackError(RuntimeError):
    """Something could not be started; the text says what, and quotes the end of its log."""


def port_free():
    """A TCP port that was free a moment ago."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_until(what, timeout_s, probe, process=None):
    """Polls until probe() is true and returns its value; a dead process ends the wait at once."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = probe()
        if value:
            return value
        if process is not None and not process.is_alive():
            raise StackError(f"{what}: the process ended\n{process.tail()}")
        if time.monotonic() > deadline:
            tail = process.tail() if process is not None else ""
            raise StackError(f"{what}: not within {timeout_s} s\n{tail}")
        time.sleep(0.01)


class Process:
    """One child with its own log file and session; stop() is SIGTERM, then SIGKILL."""

    def __init__(self, name, argv, log_path, env=None, user=None, cwd=None):
        self.name, self.argv, self.log_path = name, argv, log_path
        self.env, self.user, self.cwd = env, user, cwd
        self.child = None

    def start(self):
        argv = self.argv
        if self.user:
            argv = ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups", *argv]
        with open(self.log_path, "ab") as log:
            self.child = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env,
                cwd=self.cwd, start_new_session=True)
        return self

    @property
    def pid(self):
        return self.child.pid

    def is_alive(self):
        return self.child is not None and self.child.poll() is None

    def kill(self, number=signal.SIGKILL):
        """The process alone, as a crash would."""
        if self.is_alive():
            os.kill(self.pid, number)

    def wait(self, timeout_s=10):
        return self.child.wait(timeout_s)

    def stop(self, number=signal.SIGTERM, timeout_s=10):
        if self.child is None:
            return
        if self.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGCONT)
                os.kill(self.pid, number)
            try:
                self.child.wait(timeout_s)
            except subprocess.TimeoutExpired:
                pass
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)  # whatever it left in its session
        self.child.wait(5)

    def tail(self, lines=15):
        try:
            with open(self.log_path, encoding="utf-8", errors="replace") as f:
                return "".join(f.readlines()[-lines:])
        except OSError:
            return ""


def run(argv, **kwargs):
    """subprocess.run whose failure shows what the program said."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False, **kwargs)
    if done.returncode:
        raise StackError(f"{' '.join(map(str, argv))}: exit {done.returncode}\n"
                         f"{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


class Postgres:
    """A cluster of our own. As root it runs as user postgres, which PostgreSQL insists on."""

    def __init__(self, folder, short, is_durable=True):
        self.data = os.path.join(folder, "pg")
        self.sockets = os.path.join(short, "s")
        self.is_durable = is_durable
        self.bin = self._bin()
        self.user = "postgres" if os.getuid() == 0 else None
        self.log = os.path.join(folder, "postgres.log")
        self.options = []  # more words for the server, e.g. ["-c", "name=value"]
        self.process = None

    @staticmethod
    def _bin():
        base = "/usr/lib/postgresql"
        versions = sorted((v for v in os.listdir(base) if v.isdigit()), key=int) if os.path.isdir(base) else []
        if not versions:
            raise StackError("PostgreSQL is not installed: run ./dev setup")
        return os.path.join(base, versions[-1], "bin")

    def start(self):
        os.makedirs(self.sockets, exist_ok=True)
        os.makedirs(self.data, mode=0o700, exist_ok=True)
        if self.user:
            ids = pwd.getpwnam(self.user)
            os.chown(self.data, ids.pw_uid, ids.pw_gid)
            os.chown(self.sockets, ids.pw_uid, ids.pw_gid)
        if not os.path.exists(os.path.join(self.data, "PG_VERSION")):
            prefix = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if self.user else []
            run([*prefix, f"{self.bin}/initdb", "-D", self.data, "-U", "undercut", "-A", "trust",
                 "--no-sync", "-E", "UTF8", "--no-locale"], cwd="/")
        self.launch()
        wait_until("PostgreSQL", 30, lambda: self._answers("postgres"), self.process)
        names = self.sql("select datname from pg_database", "postgres").split()
        if "undercut" not in names:
            self.sql("create database undercut", "postgres")
        return self

    def launch(self):
        """Starts the server process only; also after a kill -9."""
        durable = [] if self.is_durable else ["-c", "fsync=off", "-c", "full_page_writes=off"]
        argv = [f"{self.bin}/postgres", "-D", self.data, "-k", self.sockets,
                "-c", "listen_addresses=", "-c", "max_connections=200", "-c", "shared_buffers=128MB",
                "-c", "log_min_messages=warning", "-c", "max_wal_size=1GB", *durable, *self.options]
        self.process = Process("postgres", argv, self.log, user=self.user, cwd="/").start()

    def kill(self):
        """kill -9 of the postmaster and of every backend, as a crash of the machine would."""
        children = run(["ps", "-o", "pid=", "--ppid", str(self.process.pid)]).split()
        self.process.kill()
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        self.process.wait()

    def revive(self):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.data, "postmaster.pid"))
        self.launch()
        wait_until("PostgreSQL", 60, lambda: self._answers("undercut"), self.process)

    def url(self, database="undercut"):
        return f"host={self.sockets} dbname={database} user=undercut"

    def sql(self, text, database="undercut"):
        """Runs SQL with psql; unaligned rows, '|' between columns."""
        return run([f"{self.bin}/psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1",
                    "-d", self.url(database), "-c", text]).strip()

    def _answers(self, database):
        done = subprocess.run([f"{self.bin}/psql", "-X", "-q", "-A", "-t", "-d", self.url(database),
                               "-c", "select 1"], capture_output=True, text=True, check=False)
        return done.returncode == 0

    def stop(self):
        if self.process:
            self.process.stop(signal.SIGINT, 20)


class Redis:
    def __init__(self, folder):
        self.folder = folder
        self.port = port_free()
        self.process = None

    def start(self):
        self.launch()
        return self

    def launch(self):
        argv = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1",
                "--save", "", "--appendonly", "no", "--dir", self.folder]
        self.process = Process("redis", argv, os.path.join(self.folder, "redis.log")).start()
        wait_until("Redis", 10, self._answers, self.process)

    def command(self, *words):
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as s:
            parts = [f"*{len(words)}\r\n"] + [f"${len(w)}\r\n{w}\r\n" for w in words]
            s.sendall("".join(parts).encode())
            return s.recv(65536).decode()

    def _answers(self):
        try:
            return self.command("PING").startswith("+PONG")
        except OSError:
            return False

    def stop(self):
        if self.process:
            self.process.stop()


class Podman:
    """`podman system service` on a socket of ours, with its own storage, seen by nobody else."""

    def __init__(self, folder, short):
        self.root = os.path.join(folder, "podman")
        self.runroot = os.path.join(short, "p")  # conmon's sockets live below; keep it short
        self.socket = os.path.join(short, "podman.sock")
        self.conf = os.path.join(folder, "containers.conf")
        self.log = os.path.join(folder, "podman.log")
        self.driver = None
        self.process = None

    def env(self):
        return {**os.environ, "CONTAINERS_CONF": self.conf, "TMPDIR": os.path.dirname(self.runroot),
                "CONTAINERS_STORAGE_CONF": self.conf + ".storage",
                "CONTAINERS_REGISTRIES_CONF": self.conf + ".registries"}

    def argv(self, *words):
        return ["podman", "--root", self.root, "--runroot", self.runroot,
                "--storage-driver", self.driver, *words]

    def start(self):
        os.makedirs(self.root, exist_ok=True)
        os.makedirs(self.runroot, exist_ok=True)
        with open(self.conf, "w", encoding="utf-8") as f:
            f.write('[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]\n'
                    '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
                    f'tmp_dir = "{self.runroot}/tmp"\n')
        with open(self.conf + ".storage", "w", encoding="utf-8") as f:
            f.write(f'[storage]\ndriver = "overlay"\nrunroot = "{self.runroot}"\ngraphroot = "{self.root}"\n')
        with open(self.conf + ".registries", "w", encoding="utf-8") as f:
            f.write("unqualified-search-registries = []\n")
        for driver in ("overlay", "vfs"):  # overlay does not stack on overlay; vfs copies instead
            self.driver = driver
            if subprocess.run(self.argv("info"), env=self.env(), capture_output=True, check=False).returncode == 0:
                break
        else:
            raise StackError("podman does not start here; try: podman info")
        self.launch()
        return self

    def launch(self):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.socket)
        self.process = Process("podman", self.argv("system", "service", "--time=0", f"unix://{self.socket}"),
                               self.log, env=self.env(), cwd=self.runroot).start()  # conmon leaves files in it
        wait_until("podman", 20, lambda: os.path.exists(self.socket), self.process)

    def run(self, *words, **kwargs):
        return run(self.argv(*words), env=self.env(), **kwargs)

    def containers(self, all_states=True):
        text = self.run("ps", *(["-a"] if all_states else []), "--format", "json")
        return json.loads(text or "[]")

    def stop(self):
        if self.process:
            with contextlib.suppress(StackError):
                self.run("rm", "-af", "-t", "0")
            self.process.stop()
            # The storage's own bind mount on itself would keep the folder busy.
            subprocess.run(["umount", "-l", os.path.join(self.root, "overlay")],
                           capture_output=True, check=False)


class HttpError(Exception):
    """An answer that was not 2xx; .status, .problem (dict) and .headers tell what it was."""

    def __init__(self, status, problem, headers):
        super().__init__(f"{status} {problem}")
        self.status, self.problem, self.headers = status, problem, headers


class Http:
    """A client of the API as one account sees it. Returns parsed JSON, or raises HttpError."""

    def __init__(self, base_url, key=None, timeout_s=35, on_exchange=None):
        self.base_url, self.key, self.timeout_s = base_url, key, timeout_s
        self.on_exchange = on_exchange  # called with (method, path, status, headers, body bytes)

    def raw(self, method, path, body=None, headers=None):
        """(status, headers, bytes) whatever the status."""
        data, head = None, dict(headers or {})
        if self.key:
            head.setdefault("Authorization", f"Bearer {self.key}")
        if body is not None:
            is_raw = isinstance(body, (bytes, str))
            data = body.encode() if isinstance(body, str) else body if is_raw else json.dumps(body).encode()
            head.setdefault("Content-Type", "application/json")
        request = urllib.request.Request(self.base_url + path, data=data, method=method, headers=head)
        try:
            with urllib.request.urlopen(request, timeout=self.timeout_s) as reply:
                answer = reply.status, reply.headers, reply.read()
        except urllib.error.HTTPError as e:
            answer = e.code, e.headers, e.read()
        if self.on_exchange:
            self.on_exchange(method, path, *answer)
        return answer

    def call(self, method, path, body=None, headers=None):
        status, head, data = self.raw(method, path, body, headers)
        is_json = "json" in (head.get("Content-Type") or "")
        value = json.loads(data) if data and is_json else data.decode(errors="replace")
        if status >= 300:
            raise HttpError(status, value, head)
        return value

    def get(self, path, **headers):
        return self.call("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})

    def post(self, path, body=None, headers=None):
        return self.call("POST", path, {} if body is None else body, headers)

    def put(self, path, body, headers=None):
        return self.call("PUT", path, body, headers)

    def delete(self, path):
        return self.call("DELETE", path)


class Broker:
    """One undercutd; several may share a database. `settings` are names of config.def."""

    def __init__(self, stack, name="broker", **settings):
        self.stack, self.name = stack, name
        self.folder = os.path.join(stack.folder, name)
        self.port_file = os.path.join(self.folder, "port")
        keys = stack.folder  # one market: one set of keys, whatever the number of brokers
        self.settings = {
            "port": 0, "port_file": self.port_file, "threads": 1, "database_url": stack.postgres.url(),
            "redis_url": f"redis://127.0.0.1:{stack.redis.port}" if stack.redis else "",
            "jwt_key_file": f"{keys}/jwt-key.pem", "market_key_file": f"{keys}/market.key",
            "secret_key_file": f"{keys}/secret.key", "rate_per_minute": 1000000,
            "rate_public_per_minute": 1000000, **settings}
        self.process = None
        self.url = None

    def start(self):
        os.makedirs(self.folder, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.port_file)
        argv = [self.stack.program("undercutd")]
        for name, value in self.settings.items():
            argv += ["--set", f"{name}={value}"]
        self.process = Process(self.name, argv, os.path.join(self.folder, "log"),
                               env=self.stack.env(), cwd=self.folder).start()
        self.settings["port"] = wait_until("broker", 30, self._port, self.process)
        self.url = f"http://127.0.0.1:{self.settings['port']}"
        wait_until("broker ready", 30, self.is_ready, self.process)
        return self

    def _port(self):
        try:
            with open(self.port_file, encoding="ascii") as f:
                return int(f.read() or 0)
        except (OSError, ValueError):
            return 0

    def is_ready(self):
        try:
            return Http(self.url, timeout_s=2).get("/readyz")["status"] == "ready"
        except (OSError, HttpError):
            return False

    def http(self, key=None, **kwargs):
        return Http(self.url, key, **kwargs)

    def restart(self):
        """After a kill: the same process on the same port."""
        return self.start()

    def stop(self):
        if self.process:
            self.process.stop()


class Agent:
    """One machine of one operator: an undercut-agent with its own state folder and stand-in devices."""

    def __init__(self, stack, name, region, key, price="0.30", gpus=1, runner="engine", options=(), **env):
        self.stack, self.name, self.region, self.key, self.price = stack, name, region, key, price
        self.gpus, self.runner, self.options, self.extra = gpus, runner, list(options), env
        self.folder = os.path.join(stack.folder, "agents", name)
        self.nvml_text = os.path.join(self.folder, "gpus.txt")
        self.process = None
        self.broker_url = stack.broker.url

    def start(self):
        os.makedirs(self.folder, exist_ok=True)
        with open(self.nvml_text, "w", encoding="ascii") as f:
            f.write("driver=535.183.01\n")
            for i in range(self.gpus):
                f.write("gpu NVIDIA GeForce RTX 4090\n"
                        f" uuid=GPU-{self.name}-{i} mem_mb=24564 cc=8.9\n")
        token = []
        if not os.path.exists(os.path.join(self.folder, "state")):
            made = Http(self.broker_url, self.key).post("/v1/node-tokens", {"region": self.region})
            token = ["--token", made["token"]]
        return self.launch(token)

    def launch(self, token=()):
        engine = ["--engine", f"unix://{self.stack.podman.socket}"] if self.runner == "engine" else []
        argv = [self.stack.program("undercut-agent"), "run", "--url", self.broker_url, *token,
                "--state-dir", os.path.join(self.folder, "state"), "--name", self.name,
                "--region", self.region, "--runner", self.runner, "--price", self.price,
                "--nvml", self.stack.fake_nvml(), *engine, *self.options]
        env = {**self.stack.env(), "UNDERCUT_FAKE_NVML": self.nvml_text, **self.extra}
        self.process = Process(self.name, argv, os.path.join(self.folder, "log"), env=env,
                               cwd=self.folder).start()
        return self

    def kill(self):
        """The agent's process alone; its containers run on."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process:
            self.process.stop()


def is_traversable(path, user):
    """May `user` reach `path`? PostgreSQL refuses root, and /root is closed to everybody else."""
    return subprocess.run(["setpriv", f"--reuid={user}", f"--regid={grp.getgrnam(user).gr_name}",
                           "--clear-groups", "test", "-x", path], check=False).returncode == 0


folders_held = {}  # path of a folder in use by this process -> its descriptor, which holds the lock


def folder_hold(path):
    """Keeps a folder for this process until it ends; raises StackError while another one has it."""
    if path in folders_held:
        os.close(folders_held.pop(path))
    held = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(held)
        raise StackError(f"{path} is in use: the same command runs already; stop that one first") from None
    folders_held[path] = held


def folder_for(name):
    """./var/NAME, or a folder in /var/tmp when the database's user cannot reach ./var; new and empty, and ours."""
    path = os.path.join(ROOT, "var", name)
    real = os.path.realpath(path)
    if os.path.isdir(real):
        folder_hold(real)
        shutil.rmtree(real, ignore_errors=True)
    if os.path.islink(path):
        os.unlink(path)
    os.makedirs(path, exist_ok=True)
    if os.getuid() == 0 and not is_traversable(path, "postgres"):
        real = tempfile.mkdtemp(prefix=f"undercut-{name}-", dir="/var/tmp")
        os.chmod(real, 0o755)
        os.rmdir(path)
        os.symlink(real, path)
        path = real
    folder_hold(os.path.realpath(path))
    return path


class Stack:
    """Everything together. `bin` is build/bin unless UNDERCUT_BIN says otherwise."""

    def __init__(self, name, is_durable=True, has_redis=True, has_podman=False, **settings):
        self.folder = folder_for(name)
        # Sockets want short paths; a deep checkout gets them in /tmp.
        self.short = self.folder
        if len(os.path.join(self.folder, "podman.sock")) > SOCKET_PATH_MAX:
            self.short = tempfile.mkdtemp(prefix="uc-", dir="/tmp")
            os.chmod(self.short, 0o755)
        self.bin = os.environ.get("UNDERCUT_BIN", os.path.join(ROOT, "build", "bin"))
        self.settings = settings
        self.postgres = Postgres(self.folder, self.short, is_durable)
        self.redis = Redis(self.folder) if has_redis else None
        self.podman = Podman(self.folder, self.short) if has_podman else None
        self.broker = None
        self.agents = []
        self.children = []  # in order of start; stopped in reverse
        self.admin_key = None

    def env(self):
        kept = {k: v for k, v in os.environ.items() if not k.startswith("UNDERCUT_")}
        return {**kept, "LSAN_OPTIONS": f"suppressions={ROOT}/tests/lib/lsan.supp:print_suppressions=0"}

    def program(self, name):
        path = os.path.join(self.bin, name)
        if not os.path.exists(path):
            raise StackError(f"{path} is not built: run ./dev build")
        return path

    def fake_nvml(self):
        return os.path.join(os.path.dirname(self.bin), "fake-nvml", "libnvidia-ml.so.1")

    def migrate(self, *words):
        return run([self.program("undercut-migrate"), "--database", self.postgres.url(), *words], cwd=ROOT,
                   env=self.env())

    def start(self):
        """Database, cache, engine, schema, one broker, and the operator's key."""
        for child in (self.postgres, self.redis, self.podman):
            if child:
                self.children.append(child)
                child.start()
        self.migrate("--apply")
        self.admin_key = run([self.program("undercutd"), "--set", f"database_url={self.postgres.url()}",
                              "--make-admin-key"], env=self.env()).strip()
        self.broker = self.broker_add("broker", **self.settings)
        return self

    def broker_add(self, name, **settings):
        broker = Broker(self, name, **settings)
        self.children.append(broker)
        return broker.start()

    def admin(self):
        return self.broker.http(self.admin_key)

    def account(self, name, credit_usd=0, mode="live"):
        """A fresh account: (account_id, Http with its first key)."""
        made = self.broker.http().post("/v1/accounts", {"name": name, "mode": mode})
        account_id = made["account"]["account_id"]
        if credit_usd:
            self.admin().post("/v1/admin/credits",
                              {"account_id": account_id, "amount_uusd": int(credit_usd * 1000000),
                               "memo": "test credit"}, {"Idempotency-Key": f'"credit-{account_id}"'})
        return account_id, self.broker.http(made["api_key"]["secret"])

    def agent_add(self, *args, **kwargs):
        agent = Agent(self, *args, **kwargs)
        self.agents.append(agent)
        self.children.append(agent)
        return agent.start()

    def invariant_violations(self):
        """[] for a healthy ledger, else rows as text."""
        rows = self.postgres.sql("select rule || ': ' || subject || ': ' || detail from invariant_violations()")
        return rows.splitlines()

    def stop(self):
        for child in reversed(self.children):
            with contextlib.suppress(Exception):
                child.stop()
        self.children = []
        if self.short != self.folder:
            shutil.rmtree(self.short, ignore_errors=True)

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_):
        self.stop()
