"""Starts the real programs with what the chart renders for their containers.

What a kubelet does is done here: secrets become environment and files, `$(NAME)` is filled in, volumes become directories.
"""

import base64
import contextlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import urllib.request

from render import ROOT, at

# Relative to the top, as tests/run takes them.
BIN = ROOT / (os.environ.get("FSYNC_BIN") or f"{os.environ.get('CARGO_TARGET_DIR', 'target')}/release")
# Nothing that is waited for here takes longer; whatever does is ended, and the test fails.
PATIENCE_SECONDS = 60


def program(name):
    path = BIN / name
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: cargo build --release --workspace --bins, or set FSYNC_BIN")
    return str(path)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def secret(found, name, key):
    """Returns what a rendered Secret holds."""
    one = next(o for o in found if o["kind"] == "Secret" and o["metadata"]["name"] == name)
    if key in one.get("stringData", {}):
        return one["stringData"][key]
    return base64.b64decode(one["data"][key]).decode()


def environment(found, container):
    """Returns the container's variables, in the order and with the references that Kubernetes resolves."""
    out = {}
    for one in container.get("env", []):
        source = one.get("valueFrom", {})
        if "secretKeyRef" in source:
            value = secret(found, source["secretKeyRef"]["name"], source["secretKeyRef"]["key"])
        elif "fieldRef" in source:
            value = "here"
        else:
            value = re.sub(r"\$\((\w+)\)", lambda name: out.get(name[1], name[0]), one["value"])
        out[one["name"]] = value
    return out


class Running:
    """A process that is ended with the test, by its own id."""

    def __init__(self, arguments, env, ready, stderr=None):
        self.process = subprocess.Popen(
            arguments, env={"PATH": os.environ["PATH"], **env}, stdout=subprocess.PIPE, stderr=stderr, text=True
        )
        self.line = self._read_until(ready)

    def _read_until(self, ready):
        watchdog = threading.Timer(PATIENCE_SECONDS, self.process.kill)
        watchdog.start()
        seen = []
        try:
            for line in self.process.stdout:
                seen.append(line)
                if ready in line:
                    return line
        finally:
            watchdog.cancel()
        raise AssertionError(f"ended before it said {ready!r}: {''.join(seen)}")

    def end(self):
        """Sends SIGTERM and returns the exit code and the seconds it took."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_SECONDS)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


@contextlib.contextmanager
def valkey(found, directory):
    """Runs a Redis with the rendered arguments of the bundled Valkey; yields its port."""
    container = at(next(o for o in found if o["kind"] == "StatefulSet"), "spec/template/spec/containers/0")
    acl = directory / "users.acl"
    acl.write_text(secret(found, "fsync-redis", "users.acl"))
    data = directory / "redis"
    data.mkdir()
    known = {"/data": str(data), "/etc/redis/users.acl": str(acl)}
    port = free_port()
    arguments = [known.get(one, one) for one in container["args"]]
    running = Running(["redis-server", *arguments, "--port", str(port)], {}, "Ready to accept connections")
    try:
        yield port
    finally:
        running.kill()


@contextlib.contextmanager
def redis_with_password(password):
    """Runs a Redis as a user of the chart has it; yields its port."""
    port = free_port()
    keeps = ["--appendonly", "no", "--save", ""]
    running = Running(["redis-server", "--port", str(port), "--requirepass", password, *keeps], {}, "Ready to accept connections")
    try:
        yield port
    finally:
        running.kill()


@contextlib.contextmanager
def bucket(name):
    """Runs an S3 server with one bucket; yields its port."""
    port = free_port()
    running = Running([os.environ["MOTO"], "-H", "127.0.0.1", "-p", str(port)], {"PYTHONUNBUFFERED": "1"}, "Running on", subprocess.STDOUT)
    try:
        made = urllib.request.Request(f"http://127.0.0.1:{port}/{name}", method="PUT")
        urllib.request.urlopen(made, timeout=10)
        yield port
    finally:
        running.kill()


class Server(Running):
    """A server with the rendered arguments and environment of its container."""

    def __init__(self, found, directory, addresses=None, stderr=None):
        container = at(next(o for o in found if o["kind"] == "Deployment"), "spec/template/spec/containers/name=server")
        self.admin = free_port()
        moved = {
            "0.0.0.0:8484": "127.0.0.1:0",
            "0.0.0.0:9090": f"127.0.0.1:{self.admin}",
            "/var/lib/fsync": str(directory),
            **(addresses or {}),
        }

        def local(text):
            for old, new in moved.items():
                text = text.replace(old, new)
            return text

        arguments = [local(one) for one in container["args"]]
        env = {name: local(value) for name, value in environment(found, container).items()}
        super().__init__([program("fsync-server"), *arguments], env, "listening on", stderr)
        self.url = self.line.split()[-1]
