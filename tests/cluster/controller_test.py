"""The controller against a real API server: it runs with exactly the rights that the chart gives it."""

import base64
import json
import os
import re
import signal
import subprocess
import threading
import time
import unittest
import urllib.error
import urllib.request

import values as v
from cluster import LEGACY, Cluster, Failed, until
from program import PATIENCE_SECONDS, Running, free_port, program
from render import CRDS, at, complete_chart
from service import Service

NAMESPACE = "apps"
CLUSTER, SERVICE, MAIN, WAITED = None, None, None, None


def help_of(name):
    return subprocess.run([program(name), "--help"], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=True).stdout


class Controller:
    """The real program, as the pod of a release: its arguments, its account and nothing more."""

    def __init__(self, name, namespace=NAMESPACE, moved=None):
        self.name, self.log = name, []
        container = at(CLUSTER.get(namespace, "deployment", "fsync-controller"), "spec/template/spec/containers/0")
        moved = {
            "http://fsync-control:9090": SERVICE.url,
            "/etc/fsync/admin/token": str(CLUSTER.scratch / "admin-token"),
            "0.0.0.0:9090": "127.0.0.1:0",
            **(moved or {}),
        }
        arguments = container["args"]
        for old, new in moved.items():
            arguments = [one.replace(old, new) for one in arguments]
        env = {"PATH": os.environ["PATH"], "KUBECONFIG": str(kubeconfig(namespace)), "POD_NAME": name, "POD_NAMESPACE": namespace}
        self.process = subprocess.Popen(
            [program("fsync-controller"), *arguments], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        # One that says nothing is ended, and the test fails.
        watchdog = threading.Timer(PATIENCE_SECONDS, self.process.kill)
        watchdog.start()
        said = self.process.stdout.readline()
        watchdog.cancel()
        if not said:
            raise AssertionError(f"{name} ended before it listened: {''.join(self.log)}")
        self.url = said.split()[-1]

    def read(self):
        for line in self.process.stderr:
            self.log.append(line)

    def says(self, text):
        return any(text in line for line in list(self.log))

    def ask(self, path):
        try:
            with urllib.request.urlopen(self.url + path, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def leads(self):
        return gauge(self.ask("/metrics")[1], "fsync_controller_leader") == 1

    def end(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        try:
            ended = self.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        self.reader.join(PATIENCE_SECONDS)
        self.process.stdout.close()
        self.process.stderr.close()
        return ended


def gauge(text, name):
    """Returns the value of a metric of one series, or None."""
    found = re.search(rf"^{name}(\{{.*\}})? (\S+)$", text, re.MULTILINE)
    return found and float(found[2])


def kubeconfig(namespace):
    """Makes one of a token of a release's service account."""
    path = CLUSTER.scratch / f"kubeconfig-{namespace}"
    token = CLUSTER.kubectl("-n", namespace, "create", "token", "fsync-controller").strip()
    path.write_text(re.sub(r"user: \{token: .*?\}", f"user: {{token: {token}}}", CLUSTER.api.kubeconfig.read_text()))
    return path


def release(namespace, schedule):
    """Installs the chart, and returns the credential that it drew for the admin API."""
    CLUSTER.kubectl("create", "namespace", namespace)
    values = CLUSTER.scratch / f"values-{namespace}.json"
    values.write_text(json.dumps(v.merged(v.CONTROLLER, {"controller": {"gcSchedule": schedule}})))
    chart = CLUSTER.legacy(complete_chart())
    files = ["--values", LEGACY, "--values", values, "--disable-openapi-validation"]
    CLUSTER.helm("4", "--namespace", namespace, "install", "fsync", chart, *files)
    drawn = CLUSTER.get(namespace, "secret", "fsync-admin")["data"]["token"]
    return base64.b64decode(drawn).decode()


def setUpModule():
    global CLUSTER, SERVICE, MAIN, WAITED
    CLUSTER = Cluster()
    SERVICE = Service(release(NAMESPACE, "10s"))
    (CLUSTER.scratch / "admin-token").write_text(SERVICE.credential)
    MAIN = Controller("pod-1")
    # Without the kinds at first.
    until("it says what it waits for", 20, lambda: MAIN.says("waiting for kinds"))
    time.sleep(6)  # longer than the time between two looks
    WAITED = (MAIN.ask("/readyz"), MAIN.ask("/livez"), MAIN.ask("/metrics"), MAIN.process.poll(), list(MAIN.log))
    CLUSTER.install_kinds(CRDS)
    until("it is ready once the kinds are there", 30, lambda: MAIN.ask("/readyz")[0] == 200)
    until("it acts", 30, MAIN.leads)


def tearDownModule():
    if MAIN.process.poll() is None:
        MAIN.end()
    SERVICE.end()
    CLUSTER.end()


def make(kind, name, spec, namespace=NAMESPACE):
    one = {"apiVersion": "fsync.dev/v1alpha1", "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec}
    CLUSTER.kubectl("apply", "--validate=false", "-f", "-", given=json.dumps(one))


def change(kind, name, spec):
    CLUSTER.kubectl("-n", NAMESPACE, "patch", kind, name, "--type=merge", "-p", json.dumps({"spec": spec}))


def delete(kind, name, namespace=NAMESPACE):
    CLUSTER.kubectl("-n", namespace, "delete", kind, name, "--timeout=60s")


def status(kind, name, namespace=NAMESPACE):
    return CLUSTER.get(namespace, kind, name).get("status", {})


def ready(kind, name, namespace=NAMESPACE):
    found = status(kind, name, namespace).get("conditions", [])
    one = next((c for c in found if c["type"] == "Ready"), None)
    return one and (one["status"], one["reason"])


def becomes(kind, name, expected, seconds=30, namespace=NAMESPACE):
    return until(f"{kind} {name} is {expected}", seconds, lambda: ready(kind, name, namespace) == expected)


def events(name):
    found = json.loads(CLUSTER.kubectl("-n", NAMESPACE, "get", "events.v1.events.k8s.io", "-o", "json"))["items"]
    return [(e["type"], e["reason"]) for e in found if e["regarding"]["name"] == name]


def secret(name, namespace=NAMESPACE):
    found = CLUSTER.find(namespace, "secret", name)
    if found:
        found["text"] = {key: base64.b64decode(value).decode() for key, value in found.get("data", {}).items()}
    return found


class Waiting(unittest.TestCase):
    """Before the kinds are installed."""

    def test_it_is_alive_and_not_ready_and_says_why(self):
        (code, text), (alive, _), (_, metrics), ended, _ = WAITED
        self.assertEqual((code, alive, ended), (503, 200, None))
        self.assertIn("synctrees.fsync.dev, agenttokens.fsync.dev", text)
        self.assertEqual(gauge(metrics, "fsync_controller_kinds_missing"), 2)

    def test_it_says_so_once(self):
        self.assertEqual(sum("waiting for kinds" in line for line in WAITED[4]), 1)


class Trees(unittest.TestCase):
    """SyncTrees."""

    def test_a_tree_gets_its_policy_and_tells_its_status(self):
        access = [{"subject": "ann", "rights": ["read", "write"]}]
        make("SyncTree", "docs", {"name": "docs", "quota": {"bytes": 5000}, "retention": {"age": "90d"}, "access": access})
        becomes("stree", "docs", ("True", "Applied"))
        expected = {"retention": {"age_seconds": 7776000}, "quota_bytes": 5000, "access": [{"subject": "ann", "right": "write"}]}
        self.assertEqual(SERVICE.policies["default/docs"], expected)
        said = status("stree", "docs")
        self.assertEqual((len(said["head"]), said["epoch"], said["agents"]), (64, "5", 2))
        self.assertEqual(said["lastChange"][:17], "2026-01-01T00:00:")
        self.assertIn(("Normal", "Applied"), events("docs"))
        row = CLUSTER.kubectl("-n", NAMESPACE, "get", "stree", "docs").splitlines()[1].split()
        self.assertEqual(row[6], "True")

        change("stree", "docs", {"quota": {"bytes": 6000}})
        until("the new quota is told", 10, lambda: SERVICE.policies["default/docs"]["quota_bytes"] == 6000)
        managers = CLUSTER.kubectl("-n", NAMESPACE, "get", "stree", "docs", "-o", "json", "--show-managed-fields")
        self.assertIn(("fsync-controller", "Apply"), {(m["manager"], m["operation"]) for m in json.loads(managers)["metadata"]["managedFields"]})

    def test_a_busy_tree_is_written_once_in_ten_seconds(self):
        make("SyncTree", "busy", {"name": "busy"})
        becomes("stree", "busy", ("True", "Applied"))
        seen, end = set(), time.monotonic() + 25
        while time.monotonic() < end:
            seen.add(CLUSTER.get(NAMESPACE, "stree", "busy")["metadata"]["resourceVersion"])
            time.sleep(0.5)
        self.assertGreaterEqual(len(seen), 2, "the status is never new")
        self.assertLessEqual(len(seen), 4)

    def test_what_is_not_valid_has_a_condition_and_an_event_and_harms_no_other(self):
        make("SyncTree", "invalid", {"name": "invalid", "access": [{"subject": "a b", "rights": ["read"]}]})
        becomes("stree", "invalid", ("False", "Invalid"))
        self.assertIn(("Warning", "Invalid"), events("invalid"))
        self.assertNotIn("default/invalid", SERVICE.policies)
        self.assertIsNone(MAIN.process.poll())
        change("stree", "invalid", {"access": []})
        becomes("stree", "invalid", ("True", "Applied"))

    def test_the_older_of_two_objects_counts(self):
        make("SyncTree", "twice-a", {"name": "twice", "quota": {"bytes": 1}})
        becomes("stree", "twice-a", ("True", "Applied"))
        # Ages have whole seconds.
        time.sleep(1.1)
        make("SyncTree", "twice-b", {"name": "twice", "quota": {"bytes": 2}})
        becomes("stree", "twice-b", ("False", "Conflict"))
        self.assertEqual(SERVICE.policies["default/twice"], {"quota_bytes": 1})
        delete("stree", "twice-a")
        becomes("stree", "twice-b", ("True", "Applied"))
        self.assertEqual(SERVICE.policies["default/twice"], {"quota_bytes": 2})

    def test_the_end_of_an_object_takes_its_policy_and_leaves_the_tree(self):
        make("SyncTree", "ended", {"name": "ended", "quota": {"bytes": 1}})
        becomes("stree", "ended", ("True", "Applied"))
        delete("stree", "ended")
        self.assertNotIn("default/ended", SERVICE.policies)
        deleted = {path for method, path in SERVICE.asked if method == "DELETE" and "/ended" in path}
        self.assertEqual(deleted, {"/admin/v1/trees/default/ended/policy"})

    def test_a_tree_of_another_namespace_is_nobodys(self):
        CLUSTER.kubectl("create", "namespace", "others")
        make("SyncTree", "theirs", {"name": "theirs"}, namespace="others")
        make("SyncTree", "after", {"name": "after"})
        becomes("stree", "after", ("True", "Applied"))
        self.assertNotIn("status", CLUSTER.get("others", "stree", "theirs"))

    def test_what_a_newer_kind_says_stops_no_other_object(self):
        at_rights = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/access/items/properties/rights/items/enum"
        newer = [{"op": "add", "path": f"{at_rights}/-", "value": "own"}]
        CLUSTER.kubectl("patch", "crd", "synctrees.fsync.dev", "--type=json", "-p", json.dumps(newer))
        access = [{"subject": "ann", "rights": ["own"]}]
        until("the kind is newer", 20, lambda: self.is_taken("newer", {"name": "newer", "access": access}))
        becomes("stree", "newer", ("False", "Invalid"))
        self.assertIn(("Warning", "Invalid"), events("newer"))
        make("SyncTree", "beside", {"name": "beside"})
        becomes("stree", "beside", ("True", "Applied"))
        change("stree", "newer", {"access": []})
        becomes("stree", "newer", ("True", "Applied"))

    def is_taken(self, name, spec):
        try:
            make("SyncTree", name, spec)
            return True
        except Failed:
            return False


class Tokens(unittest.TestCase):
    """AgentTokens."""

    SPEC = {"subject": "ci", "trees": [{"name": "docs-*", "rights": ["read", "write"]}]}

    def issue(self, name, **more):
        make("AgentToken", name, {**self.SPEC, **more})
        becomes("atoken", name, ("True", "Issued"))
        return secret(more.get("secretName", name))

    def test_a_secret_has_the_token_and_the_server(self):
        found = self.issue("plain")
        said = status("atoken", "plain")
        self.assertEqual(found["text"], {"token": f"text.of.{said['tokenId']}", "server": "http://fsync.apps.svc:8484"})
        self.assertEqual(found["type"], "Opaque")
        (owner,) = found["metadata"]["ownerReferences"]
        self.assertEqual((owner["kind"], owner["name"], owner["controller"]), ("AgentToken", "plain", True))
        order = SERVICE.tokens[said["tokenId"]]
        self.assertEqual(order, {"subject": "ci", "tenant": "default", "trees": ["docs-*:rw"], "ttl_seconds": 2592000})
        self.assertNotIn("text.of", json.dumps(said))
        self.assertIn(("Normal", "Issued"), events("plain"))

    def test_another_spec_revokes_the_token_and_another_time_lets_it_run_out(self):
        self.issue("changing", ttl="24h")
        first = status("atoken", "changing")["tokenId"]
        change("atoken", "changing", {"subject": "other"})
        second = until("another token", 20, lambda: (t := status("atoken", "changing")["tokenId"]) != first and t)
        self.assertIn(first, SERVICE.revoked)
        self.assertEqual(secret("changing")["text"]["token"], f"text.of.{second}")
        # The server says that the token is 2 hours old already, so that it is due by this word alone.
        SERVICE.age = 7200
        try:
            change("atoken", "changing", {"ttl": "23h"})
            old = until("a token that is old", 20, lambda: (t := status("atoken", "changing")["tokenId"]) != second and t)
        finally:
            SERVICE.age = 0
        change("atoken", "changing", {"rotateBefore": "22h"})
        fresh = until("a fresh one", 20, lambda: (t := status("atoken", "changing")["tokenId"]) != old and t)
        said = status("atoken", "changing")
        self.assertEqual([one["id"] for one in said["earlier"]], [old])
        self.assertNotIn(old, SERVICE.revoked)
        delete("atoken", "changing")
        self.assertLessEqual({old, fresh}, set(SERVICE.revoked))
        self.assertIsNone(secret("changing"))

    def test_a_secret_that_is_deleted_or_damaged_is_made_again(self):
        self.issue("fragile")
        first = status("atoken", "fragile")["tokenId"]
        CLUSTER.kubectl("-n", NAMESPACE, "delete", "secret", "fragile")
        again = until("the Secret is there again", 45, lambda: secret("fragile"))
        self.assertNotIn(first, again["text"]["token"])
        damage = {"data": {"token": base64.b64encode(b"edited").decode()}}
        CLUSTER.kubectl("-n", NAMESPACE, "patch", "secret", "fragile", "-p", json.dumps(damage))
        until("the token is good again", 45, lambda: secret("fragile")["text"]["token"].startswith("text.of."))

    def test_a_secret_of_somebody_else_is_left_alone(self):
        CLUSTER.kubectl("-n", NAMESPACE, "create", "secret", "generic", "taken", "--from-literal=token=mine")
        made = len(SERVICE.tokens)
        make("AgentToken", "taken", self.SPEC)
        becomes("atoken", "taken", ("False", "SecretTaken"))
        self.assertEqual(secret("taken")["text"], {"token": "mine"})
        self.assertIn(("Warning", "SecretTaken"), events("taken"))
        change("atoken", "taken", {"secretName": "free"})
        becomes("atoken", "taken", ("True", "Issued"))
        self.assertEqual(len(SERVICE.tokens), made + 1)
        delete("atoken", "taken")
        self.assertEqual(secret("taken")["text"], {"token": "mine"})

    def test_a_secret_moves_with_its_name(self):
        self.issue("moving", secretName="here")
        first = status("atoken", "moving")["tokenId"]
        change("atoken", "moving", {"secretName": "there"})
        until("the new Secret", 20, lambda: secret("there") and not secret("here"))
        until("the first token is revoked", 20, lambda: first in SERVICE.revoked)

    def test_what_is_not_valid_has_a_condition_and_an_event(self):
        make("AgentToken", "invalid-token", {**self.SPEC, "ttl": "1h", "rotateBefore": "1h"})
        becomes("atoken", "invalid-token", ("False", "Invalid"))
        self.assertIn(("Warning", "Invalid"), events("invalid-token"))
        self.assertIsNone(secret("invalid-token"))


class Failures(unittest.TestCase):
    """What is around it fails."""

    def test_a_server_that_is_away_is_a_condition_until_it_is_back(self):
        make("SyncTree", "weather", {"name": "weather"})
        becomes("stree", "weather", ("True", "Applied"))
        SERVICE.status = 503
        try:
            becomes("stree", "weather", ("False", "Unreachable"))
            self.assertIn(("Warning", "Unreachable"), events("weather"))
            said = status("stree", "weather")
            self.assertIn("bytes", said, "the last numbers stay")
        finally:
            SERVICE.status = 200
        becomes("stree", "weather", ("True", "Applied"), seconds=60)

    def test_a_credential_is_read_again_when_it_changes(self):
        path, old = CLUSTER.scratch / "admin-token", SERVICE.credential
        make("SyncTree", "credential", {"name": "credential"})
        becomes("stree", "credential", ("True", "Applied"))
        SERVICE.credential = "another-credential"
        try:
            becomes("stree", "credential", ("False", "Unauthorized"))
            path.write_text(SERVICE.credential)
            becomes("stree", "credential", ("True", "Applied"), seconds=60)
        finally:
            SERVICE.credential = old
            path.write_text(old)

    def test_one_of_two_replicas_acts_and_the_other_takes_over(self):
        global MAIN
        second = Controller("pod-2")
        try:
            until("the second is ready", 20, lambda: second.ask("/readyz")[0] == 200)
            self.assertFalse(second.leads())
            self.assertEqual(CLUSTER.get(NAMESPACE, "lease", "fsync-controller")["spec"]["holderIdentity"], "pod-1")
            # An orderly end gives the Lease away.
            self.assertEqual(MAIN.end(), 0)
            started = time.monotonic()
            until("the second acts", 20, second.leads)
            self.assertLess(time.monotonic() - started, 8)
            make("SyncTree", "taken-over", {"name": "taken-over"})
            becomes("stree", "taken-over", ("True", "Applied"))
            check_log(self, MAIN)
            # One that is killed holds it until it runs out.
            MAIN = Controller("pod-3")
            until("the third is ready", 20, lambda: MAIN.ask("/readyz")[0] == 200)
            second.end(signal.SIGKILL)
            self.assertFalse(MAIN.leads())
            until("the third acts", 40, MAIN.leads)
            check_log(self, second)
        finally:
            if second.process.poll() is None:
                second.end(signal.SIGKILL)

    def test_a_lease_that_is_taken_away_stops_it(self):
        lease = {"spec": {"holderIdentity": "somebody", "renewTime": "2026-01-01T00:00:00.000000Z", "leaseDurationSeconds": 15}}
        CLUSTER.kubectl("-n", NAMESPACE, "patch", "lease", "fsync-controller", "--type=merge", "-p", json.dumps(lease))
        until("it stands by", 20, lambda: not MAIN.leads())
        self.assertEqual(MAIN.ask("/readyz")[0], 200)
        self.assertTrue(MAIN.says("this replica stands by"))
        until("it acts again once nobody renews", 40, MAIN.leads)


@unittest.skipUnless("--admin-token-file" in help_of("fsync-server"), "this fsync-server has no admin API yet")
class Real(unittest.TestCase):
    """With the real server and the real agent, in a namespace of their own."""

    NAMESPACE = "real"

    @classmethod
    def setUpClass(cls):
        scratch = CLUSTER.scratch / "real"
        scratch.mkdir()
        for name, text in (("credential", release(cls.NAMESPACE, "3s")), ("key", "k" * 64)):
            (scratch / name).write_text(text)
            (scratch / name).chmod(0o600)
        admin = f"127.0.0.1:{free_port()}"
        arguments = ["--listen=127.0.0.1:0", f"--admin-listen={admin}", f"--data-dir={scratch / 'data'}", "--gc-interval=0s",
                     f"--auth-hs256-file={scratch / 'key'}", f"--admin-token-file={scratch / 'credential'}"]
        cls.scratch = scratch
        cls.server = Running([program("fsync-server"), *arguments], {"HOME": str(scratch)}, "listening on", subprocess.DEVNULL)
        cls.url = cls.server.line.split()[-1]
        moved = {"http://fsync-control:9090": f"http://{admin}", "/etc/fsync/admin/token": str(scratch / "credential"),
                 "http://fsync.real.svc:8484": cls.url}
        cls.controller = Controller("real-1", cls.NAMESPACE, moved)
        until("it acts", 30, cls.controller.leads)

    @classmethod
    def tearDownClass(cls):
        cls.controller.end()
        cls.server.kill()

    def sync(self, folder, token):
        """Brings a folder in step once; returns whether it could, and what was said."""
        file = self.scratch / "agent-token"
        file.write_text(token)
        file.chmod(0o600)
        folder.mkdir(exist_ok=True)
        command = [program("fsync-agent"), "sync", folder, "--once", f"--server={self.url}", "--tree=website", f"--token-file={file}",
                   f"--state-dir={self.scratch / 'state'}"]
        done = subprocess.run(command, env={"PATH": os.environ["PATH"], "HOME": str(self.scratch)}, capture_output=True, text=True,
                              timeout=PATIENCE_SECONDS, check=False)
        return done.returncode == 0, done.stdout + done.stderr

    def test_a_tree_and_a_token_live_and_end(self):
        real = {"namespace": self.NAMESPACE}
        make("SyncTree", "website", {"name": "website", "quota": {"bytes": 100_000_000}}, **real)
        make("AgentToken", "website-agent", {"subject": "website", "trees": [{"name": "website", "rights": ["read", "write"]}]}, **real)
        becomes("stree", "website", ("True", "Applied"), **real)
        becomes("atoken", "website-agent", ("True", "Issued"), **real)
        given = secret("website-agent", **real)["text"]
        self.assertEqual(given["server"], self.url)

        folder = self.scratch / "folder"
        folder.mkdir()
        (folder / "index.html").write_text("hello " * 1000)
        could, said = self.sync(folder, given["token"])
        self.assertTrue(could, said)
        seen = until("the status has the head", 30, lambda: (s := status("stree", "website", **real)).get("head") and s)
        self.assertGreater(seen["bytes"], 0)
        self.assertGreater(seen["objects"], 0)
        until("garbage was collected", 20, lambda: 'result="started"' in self.controller.ask("/metrics")[1])

        delete("atoken", "website-agent", **real)
        until("the token is shut out", 20, lambda: not self.sync(folder, given["token"])[0])
        self.assertIsNone(secret("website-agent", **real))
        delete("stree", "website", **real)
        make("SyncTree", "website", {"name": "website"}, **real)
        becomes("stree", "website", ("True", "Applied"), **real)
        self.assertEqual(status("stree", "website", **real)["head"], seen["head"], "the tree stayed")
        check_log(self, self.controller)


class Rights(unittest.TestCase):
    """What the chart's Role gives, and no more."""

    def can(self, verb, what, namespace=NAMESPACE):
        account = f"system:serviceaccount:{NAMESPACE}:fsync-controller"
        try:
            return CLUSTER.kubectl("auth", "can-i", verb, what, "-n", namespace, "--as", account).strip() == "yes"
        except Failed:
            return False

    def test_it_can_do_no_more_than_it_needs(self):
        for verb, what in (("watch", "synctrees.fsync.dev"), ("patch", "agenttokens.fsync.dev"), ("get", "secrets"), ("create", "leases.coordination.k8s.io")):
            self.assertTrue(self.can(verb, what), f"{verb} {what}")
        for verb, what in (
            ("list", "secrets"), ("watch", "secrets"), ("create", "synctrees.fsync.dev"), ("delete", "agenttokens.fsync.dev"),
            ("get", "pods"), ("update", "leases.coordination.k8s.io/other"), ("get", "customresourcedefinitions.apiextensions.k8s.io"),
        ):
            self.assertFalse(self.can(verb, what), f"{verb} {what}")
        for what in ("secrets", "synctrees.fsync.dev"):
            self.assertFalse(self.can("get", what, "default"), what)
            self.assertFalse(self.can("patch", what, "default"), what)


def check_log(test, controller):
    """Nothing was forbidden, nothing secret was said, nothing broke."""
    log = "".join(controller.log)
    test.assertNotIn("forbidden", log.lower())
    test.assertNotIn("panicked", log)
    test.assertNotIn("text.of.", log)
    test.assertNotIn(SERVICE.credential, log)


class Zlast(unittest.TestCase):
    """After all others: what the log of the replica says that acted to the end."""

    def test_nothing_was_forbidden_and_nothing_secret_said(self):
        check_log(self, MAIN)
        for line in MAIN.log:
            json.loads(line)

    def test_garbage_is_collected_by_schedule(self):
        until("the server is told to", 20, lambda: SERVICE.collections)

    def test_it_counts_what_it_does(self):
        text = MAIN.ask("/metrics")[1]
        self.assertRegex(text, r'fsync_controller_reconciles_total\{kind="SyncTree",[^}]*result="Applied"[^}]*\} [1-9]')


if __name__ == "__main__":
    unittest.main()
