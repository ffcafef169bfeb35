"""What a bench stands on: deploy/stack.py's private stack, release programs, a durable database."""

import os
import subprocess

import stack as st

os.environ.setdefault("UNDERCUT_BIN", os.path.join(st.ROOT, "build", "release", "bin"))


class Rig(st.Stack):
    """A stack with a durable database and no rate limits to speak of."""

    def __init__(self, name, **settings):
        has_podman = settings.pop("has_podman", False)
        super().__init__(f"bench-{name}", has_podman=has_podman, **{
            "log_level": "warn", "rate_per_minute": 1000000000,
            "rate_public_per_minute": 1000000000, **settings})
        self.postgres.options = ["-c", "track_commit_timestamp=on"]

    def sql_script(self, name, text):
        path = f"{self.folder}/{name}.sql"
        with open(path, "w", encoding="ascii") as f:
            f.write(text)
        return path

    def simulated(self, name, client, nodes, devices, price, options=(), **env):
        """One process with `nodes` stand-in nodes of one operator, `devices` GPUs each."""
        folder = f"{self.folder}/agents/{name}"
        os.makedirs(folder, exist_ok=True)
        with open(f"{folder}/tokens", "w", encoding="ascii") as f:
            for _ in range(nodes):
                f.write(client.post("/v1/node-tokens", {"region": "eu-west"})["token"] + "\n")
        agent = st.Agent(self, name, "eu-west", client.key, price, gpus=devices, runner="simulated",
                         options=["--simulate-nodes", str(nodes), "--tokens", f"{folder}/tokens",
                                  *options], **env)
        os.makedirs(f"{agent.folder}/state", exist_ok=True)  # no token of its own
        self.children.append(agent)
        return agent.start()


def hello(threads, body_bytes=13):
    """A running bare libh2o server: (process, url)."""
    program = os.path.join(os.environ["UNDERCUT_BIN"], "bench_hello")
    child = subprocess.Popen([program, str(threads), str(body_bytes)], stdout=subprocess.PIPE, text=True)
    return child, child.stdout.readline().split()[-1] + "/"
