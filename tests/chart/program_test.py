"""The real programs take what the chart renders for them, and what they cannot do yet is exactly what the chart refuses."""

import json
import pathlib
import re
import subprocess
import tempfile
import unittest
import urllib.error
import urllib.request

import values as v
from program import Server, at, bucket, environment, program, redis_with_password, valkey
from render import CHART, Refused, find, objects, text


def help_of(*arguments):
    return subprocess.run([*arguments, "--help"], capture_output=True, text=True, check=True).stdout


def not_yet():
    lines = (CHART / "files" / "not-yet").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def flags(found):
    args = at(find(found, "Deployment"), "spec/template/spec/containers/name=server/args")
    return {re.match(r"--[a-z0-9-]+", one)[0] for one in args}


class NotYet(unittest.TestCase):
    """`charts/fsync/files/not-yet`, against the program."""

    def can(self, line):
        kind, what = line.split()
        server = program("fsync-server")
        if kind == "flag":
            return what in help_of(server)
        if kind == "blobs":
            # A scheme that is known is tried, and fails as nothing listens there; another is refused for what it is.
            tried = [server, f"--blobs={what}://127.0.0.1:1", "--redis=redis://127.0.0.1:1", "--listen=127.0.0.1:0"]
            said = subprocess.run(tried, capture_output=True, text=True, timeout=60, check=False).stderr
            return "is no blob store" not in said
        if kind == "otel":
            return b"OTEL_EXPORTER_OTLP_ENDPOINT" in pathlib.Path(server).read_bytes()
        if kind == "path":
            with tempfile.TemporaryDirectory() as data:
                running = Server(objects({"tests": {"enabled": False}}), pathlib.Path(data), stderr=subprocess.DEVNULL)
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{running.admin}{what}", timeout=10)
                    return True
                except urllib.error.HTTPError:
                    return False
                finally:
                    running.kill()
        raise AssertionError(f"files/not-yet: {line!r} is of no known kind")

    def test_what_stands_there_cannot_be_done(self):
        for line in not_yet():
            with self.subTest(line):
                self.assertFalse(
                    self.can(line),
                    f"the server has it now: take the line {line!r} out of charts/fsync/files/not-yet, and see whether the "
                    "chart's defaults can be what they are meant to be (README of the chart, `Not yet`)",
                )

    def test_values_that_need_it_are_refused_with_a_sentence(self):
        asking = {
            "flag --auth-hs256-file": ("auth.mode=hs256", v.TOKENS),
            "flag --auth-jwks": ("auth.mode=jwks", v.ISSUER),
            "flag --auth-issuer": ("auth.mode=jwks", v.ISSUER),
            "flag --auth-audience": ("auth.mode=jwks", v.ISSUER),
            "flag --admin-token-file": ("controller.enabled", v.CONTROLLER),
            "flag --tls-cert-file": ("tls.enabled", v.TLS),
            "flag --tls-key-file": ("tls.enabled", v.TLS),
            "blobs redis": ("blobs.type=redis", v.IN_REDIS),
            "path /metrics": ("metrics.", v.MONITORS),
            "otel otlp": ("telemetry.endpoint", v.TELEMETRY),
        }
        for line in not_yet():
            key, values = asking[line]
            with self.subTest(line):
                with self.assertRaises(Refused) as refused:
                    text(values, chart=CHART)
                self.assertRegex(str(refused.exception), rf"{re.escape(key)}\S* needs what fsync-server")


class Flags(unittest.TestCase):
    """Names of flags and variables, against `--help`."""

    def test_every_flag_is_known_or_not_yet(self):
        known = help_of(program("fsync-server"))
        missing = {f for values in v.ALL.values() for f in flags(objects(values)) if f not in known}
        self.assertEqual(missing, {line.split()[1] for line in not_yet() if line.startswith("flag ")})

    def test_the_controller_knows_its_flags(self):
        known = help_of(program("fsync-controller"), "run")
        for values in (v.CONTROLLER, v.ALL["controller-of-issuer"]):
            verb, *given = at(find(objects(values), "Deployment", "fsync-controller"), "spec/template/spec/containers/0/args")
            self.assertEqual(verb, "run")
            for flag in given:
                self.assertIn(flag.split("=")[0] + " ", known)

    def test_every_variable_is_known(self):
        known = help_of(program("fsync-server"))
        for values in v.ALL.values():
            env = at(find(objects(values), "Deployment"), "spec/template/spec/containers/name=server/env")
            for name in (one["name"] for one in env if one["name"].startswith("FSYNC_")):
                self.assertTrue(name == "FSYNC_REDIS_PASSWORD" or f"env: {name}" in known, name)

    def test_the_test_pod_speaks_to_the_agent_as_it_understands(self):
        known = help_of(program("fsync-agent"), "sync")
        for container in at(find(objects(v.TOKENS), "Pod", "fsync-test-sync"), "spec/initContainers"):
            for flag in re.findall(r"--[a-z-]+", " ".join(container.get("args", []))):
                self.assertIn(flag, known)

    def test_every_redis_address_is_understood(self):
        nowhere = {"redis.data:6379": "127.0.0.1:1", "a:26379": "127.0.0.1:1", "b:26379": "127.0.0.1:1", "a:7000": "127.0.0.1:1", "b:7001": "127.0.0.1:1"}
        tried = {}
        for name in ("external", "sentinel", "cluster-tls"):
            container = at(find(objects(v.ALL[name]), "Deployment"), "spec/template/spec/containers/name=server")
            url = next(one["value"] for one in container["env"] if one["name"] == "FSYNC_REDIS")
            for old, new in nowhere.items():
                url = url.replace(old, new)
            with tempfile.TemporaryDirectory() as data:
                command = [program("fsync-server"), "--listen=127.0.0.1:0", f"--data-dir={data}", f"--redis={url.replace('$(FSYNC_REDIS_PASSWORD)', 'x')}"]
                tried[name] = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stderr
        for name, said in tried.items():
            self.assertIn("cannot be reached", said, name)


class Started(unittest.TestCase):
    """What is rendered runs."""

    def ask(self, port, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status

    def play_test_pod(self, found, folder, urls):
        """Does what the pod of `helm test` does; each agent is sent to the next of the servers."""
        pod = find(found, "Pod", "fsync-test-sync")
        source = find(found, "ConfigMap", "fsync-test-sync")["data"]
        sent = {}
        for number, container in enumerate(at(pod, "spec/initContainers")):
            if container["name"] == "write":
                _, origin, target = container["command"]
                place = folder / target.removeprefix("/")
                place.parent.mkdir(parents=True)
                place.write_text(source[pathlib.Path(origin).name])
                continue
            args = [re.sub(r"^(--state-dir=)?/(synced|state)/", rf"\g<1>{folder}/\2/", one) for one in container["args"]]
            args = [one if not one.startswith("--server=") else f"--server={urls[number % len(urls)]}" for one in args]
            pathlib.Path(args[1]).mkdir(parents=True, exist_ok=True)
            done = subprocess.run([program("fsync-agent"), *args], capture_output=True, text=True, timeout=60, check=False)
            self.assertEqual(done.returncode, 0, f"{container['name']}: {done.stderr}")
            sent[container["name"]] = number % len(urls)
        sums = folder / "sums"
        sums.write_text(source["sums"].replace("/synced/", f"{folder}/synced/"))
        command = at(pod, "spec/containers/0/command")
        done = subprocess.run([*command[:2], str(sums)], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return sent

    def test_one_server_alone_syncs_and_keeps_what_it_has(self):
        found = objects(v.ALONE, chart=CHART)
        with tempfile.TemporaryDirectory() as scratch:
            scratch = pathlib.Path(scratch)
            for start in ("first", "second"):
                running = Server(found, scratch / "data", stderr=subprocess.DEVNULL)
                try:
                    for path in ("/startupz", "/livez", "/readyz"):
                        self.assertEqual(self.ask(running.admin, path), 200)
                    self.play_test_pod(found, scratch / start, [running.url])
                    self.assertEqual(running.end(), 0)
                finally:
                    running.kill()

    def test_without_values_two_replicas_sync_and_drain(self):
        self.two_replicas_with_the_bundled_redis({})

    def test_two_replicas_with_the_bundled_redis_and_a_shared_volume_sync_and_drain(self):
        self.two_replicas_with_the_bundled_redis(v.SHARED_VOLUME)

    def two_replicas_with_the_bundled_redis(self, values):
        found = objects(v.merged(values, {"server": {"drainSeconds": 1}}), chart=CHART)
        with tempfile.TemporaryDirectory() as scratch:
            scratch = pathlib.Path(scratch)
            with valkey(found, scratch) as port, (scratch / "log").open("w+") as log:
                there = {"fsync-redis:6379": f"127.0.0.1:{port}"}
                servers = []
                try:
                    for _ in range(2):
                        servers.append(Server(found, scratch / "shared", there, log))
                    sent = self.play_test_pod(found, scratch / "test", [one.url for one in servers])
                    self.assertEqual(set(sent.values()), {0, 1})
                    self.assertEqual([one.end() for one in servers], [0, 0])
                finally:
                    for one in servers:
                        one.kill()
                log.seek(0)
                said = log.read()
                self.assertIn("draining", said)
                # It may look at how Redis is set up, and is content with it.
                self.assertNotIn("Redis may forget", said)

    def test_replicas_with_a_redis_and_a_bucket_of_yours_sync(self):
        elsewhere = {"blobs": {"s3": {"endpoint": "http://s3.data:9000", "region": "eu-1"}}}
        found = objects(v.merged(v.EXTERNAL, elsewhere, {"server": {"drainSeconds": 1}}), chart=CHART)
        redis = {"kind": "Secret", "metadata": {"name": "redis"}, "stringData": {"password": "p%40ss~word"}}
        found = [*found, bucket_secret(), redis]
        with tempfile.TemporaryDirectory() as scratch, redis_with_password("p@ss~word") as port, bucket("contents") as s3:
            scratch = pathlib.Path(scratch)
            there = {"redis.data:6379": f"127.0.0.1:{port}", "s3.data:9000": f"127.0.0.1:{s3}"}
            servers = []
            try:
                for number in range(2):
                    servers.append(Server(found, scratch / f"data-{number}", there, subprocess.DEVNULL))
                sent = self.play_test_pod(found, scratch / "test", [one.url for one in servers])
                self.assertEqual(set(sent.values()), {0, 1})
                self.assertEqual([one.end() for one in servers], [0, 0])
            finally:
                for one in servers:
                    one.kill()
            listed = urllib.request.urlopen(f"http://127.0.0.1:{s3}/contents?list-type=2&prefix=fsync/packs/", timeout=10).read()
            self.assertIn(b"<Key>fsync/packs/default/", listed)

    def test_the_bundled_redis_refuses_who_has_no_password_and_other_keys(self):
        found = objects(v.BUNDLED)
        container = at(find(found, "Deployment"), "spec/template/spec/containers/name=server")
        password = environment([*found, bucket_secret()], container)["FSYNC_REDIS_PASSWORD"]
        with tempfile.TemporaryDirectory() as scratch, valkey(found, pathlib.Path(scratch)) as port:
            cli = ["redis-cli", "-e", "-p", str(port)]
            user = [*cli, "--no-auth-warning", "--user", "fsync", "-a", password]
            said = {
                "stranger": subprocess.run([*cli, "get", "fsync:x"], capture_output=True, text=True, check=False),
                "other key": subprocess.run([*user, "get", "other"], capture_output=True, text=True, check=False),
                "admin": subprocess.run([*user, "flushall"], capture_output=True, text=True, check=False),
                "probe": subprocess.run([*user, "ping"], capture_output=True, text=True, check=False),
            }
        self.assertIn("NOAUTH", json.dumps(said["stranger"].stdout + said["stranger"].stderr))
        for name in ("other key", "admin"):
            self.assertIn("NOPERM", said[name].stdout + said[name].stderr)
        self.assertEqual((said["probe"].returncode, said["probe"].stdout.strip()), (0, "PONG"))


def bucket_secret():
    """A secret of the user's, as the value set names it."""
    return {
        "kind": "Secret",
        "metadata": {"name": "bucket"},
        "stringData": {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_SESSION_TOKEN": ""},
    }
