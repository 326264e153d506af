"""Charts in a real API server, with both Helms."""

import base64
import json
import unittest

import values as v
import yaml
from cluster import LEGACY, Cluster, Failed
from render import CHART, CRDS, HELMS, ROOT, complete_chart

CLUSTER = None


def setUpModule():
    global CLUSTER
    CLUSTER = Cluster()


def tearDownModule():
    CLUSTER.end()


def kubectl(*arguments, given=None):
    return CLUSTER.kubectl(*arguments, given=given)


def get(namespace, kind, name):
    return CLUSTER.get(namespace, kind, name)


def names(namespace, kind):
    return CLUSTER.names(namespace, kind)


def legacy(chart):
    return CLUSTER.legacy(chart)


class Release:
    """A release of the chart in a namespace of its own."""

    def __init__(self, version, values):
        self.version, self.namespace = version, f"helm-{version}"
        self.values = CLUSTER.scratch / f"values-{version}.json"
        self.values.write_text(json.dumps(values))
        kubectl("create", "namespace", self.namespace)

    def helm(self, *arguments):
        return CLUSTER.helm(self.version, "--namespace", self.namespace, *arguments)

    def apply(self, verb, *settings):
        # Fields that 1.20 does not know yet are dropped by it, not refused.
        files = ["--values", LEGACY, "--values", self.values, "--disable-openapi-validation"]
        return self.helm(verb, "fsync", legacy(complete_chart()), *files, *settings)

    def secrets(self):
        found = {}
        for name in ("fsync-auth", "fsync-redis", "fsync-admin"):
            found[name] = get(self.namespace, "secret", name)["data"]
        return found


class Chart(unittest.TestCase):
    """The life of a release."""

    def test_a_release_keeps_its_secrets_from_install_to_reinstall(self):
        values = v.merged(v.CONTROLLER, {"blobs": {"type": "file"}, "persistence": {"accessModes": ["ReadWriteMany"]}})
        for version in HELMS:
            with self.subTest(helm=version):
                release = Release(version, values)
                release.apply("install")
                drawn = release.secrets()
                password = base64.b64decode(drawn["fsync-redis"]["password"]).decode()
                self.assertRegex(password, "^[A-Za-z0-9]{40}$")
                self.assertEqual(get(release.namespace, "deployment", "fsync")["spec"]["replicas"], 2)
                self.assertEqual(names(release.namespace, "networkpolicy"), [f"networkpolicy.networking.k8s.io/{n}" for n in ("fsync", "fsync-controller", "fsync-redis")])

                release.apply("upgrade", "--set", "replicas=3")
                self.assertEqual(get(release.namespace, "deployment", "fsync")["spec"]["replicas"], 3)
                self.assertEqual(release.secrets(), drawn, "an upgrade drew other secrets")

                release.helm("rollback", "fsync", "1")
                self.assertEqual(get(release.namespace, "deployment", "fsync")["spec"]["replicas"], 2)
                self.assertEqual(release.secrets(), drawn, "a rollback drew other secrets")

                release.helm("uninstall", "fsync")
                self.assertEqual(names(release.namespace, "deployment,statefulset,service,networkpolicy,role,rolebinding,serviceaccount"), [])
                self.assertEqual(names(release.namespace, "pvc"), ["persistentvolumeclaim/fsync-data"])

                release.apply("install")
                again = release.secrets()
                self.assertEqual(again["fsync-auth"], drawn["fsync-auth"], "tokens would be worthless")
                self.assertNotEqual(again["fsync-redis"], drawn["fsync-redis"])

    def test_a_release_without_values_is_accepted(self):
        kubectl("create", "namespace", "plain")
        chart = legacy(CHART)
        CLUSTER.helm("4", "-n", "plain", "install", "fsync", chart, "--values", LEGACY, "--disable-openapi-validation")
        spec = get("plain", "deployment", "fsync")["spec"]
        self.assertEqual((spec["replicas"], spec["strategy"]["type"]), (2, "RollingUpdate"))
        env = {each["name"]: each.get("value") for each in spec["template"]["spec"]["containers"][0]["env"]}
        self.assertEqual(env["FSYNC_BLOBS"], "$(FSYNC_REDIS)")

    def test_every_set_of_values_is_accepted(self):
        kubectl("create", "namespace", "all")
        # Kinds of others, and those that 1.20 has in an older version only.
        unknown = {"HTTPRoute", "ScaledObject", "ServiceMonitor", "PodMonitor", "HorizontalPodAutoscaler"}
        for name, values in v.ALL.items():
            if name == "extras":
                continue  # its containers are no real ones
            with self.subTest(name):
                file = CLUSTER.scratch / "one.json"
                file.write_text(json.dumps(values))
                rendered = CLUSTER.helm("4", "template", "fsync", legacy(complete_chart()), "-n", "all", "--values", LEGACY, "--values", file)
                known = [o for o in yaml.safe_load_all(rendered) if o and o["kind"] not in unknown]
                kubectl("-n", "all", "apply", "--dry-run=server", "--validate=false", "-f", "-", given=yaml.safe_dump_all(known))


class Definitions(unittest.TestCase):
    """The kinds, as the server takes them."""

    @classmethod
    def setUpClass(cls):
        CLUSTER.install_kinds(CRDS)

    def make(self, kind, name, spec):
        one = {"apiVersion": "fsync.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}
        return kubectl("apply", "--validate=false", "-f", "-", given=json.dumps(one))

    def test_schemas_are_structural(self):
        for name in ("synctrees.fsync.dev", "agenttokens.fsync.dev"):
            conditions = json.loads(kubectl("get", "crd", name, "-o", "json"))["status"]["conditions"]
            said = {one["type"]: one["status"] for one in conditions}
            self.assertEqual((said.get("NonStructuralSchema"), said["NamesAccepted"]), (None, "True"))

    def test_a_tree_has_defaults_and_columns_and_a_status_of_its_own(self):
        self.make("SyncTree", "docs", {"name": "docs", "access": [{"subject": "me", "rights": ["read", "write"]}], "retention": {"age": "90d"}, "unknown": 1})
        spec = get("default", "stree", "docs")["spec"]
        self.assertEqual(spec["tenant"], "default")
        self.assertNotIn("unknown", spec)

        ready = {"type": "Ready", "status": "True", "reason": "Known", "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        status = {"head": "ba32ee2f", "seq": 7, "bytes": 1024, "agents": 3, "conditions": [ready]}
        CLUSTER.call("curl", "--silent", "--show-error", "--fail", "--insecure", "-X", "PATCH", "-H", "Content-Type: application/merge-patch+json",
             "-H", "Authorization: Bearer admin-of-the-tests", "-d", json.dumps({"status": status, "spec": {"name": "other"}}),
             f"https://127.0.0.1:{CLUSTER.api.port}/apis/fsync.dev/v1alpha1/namespaces/default/synctrees/docs/status")
        self.assertEqual(get("default", "stree", "docs")["spec"]["name"], "docs")
        head, row = (line.split() for line in kubectl("get", "stree").splitlines())
        self.assertEqual(head, ["NAME", "TREE", "HEAD", "SEQ", "BYTES", "AGENTS", "READY", "CHANGED", "AGE"])
        self.assertEqual(row[:7], ["docs", "docs", "ba32ee2f", "7", "1024", "3", "True"])

    def test_a_token_has_defaults_and_columns(self):
        self.make("AgentToken", "ci", {"subject": "ci", "trees": [{"name": "docs-*", "rights": ["read"]}]})
        self.assertEqual(get("default", "atoken", "ci")["spec"]["ttl"], "720h")
        self.assertEqual(kubectl("get", "atoken").split()[:5], ["NAME", "SUBJECT", "SECRET", "EXPIRES", "READY"])

    def test_what_breaks_a_rule_is_refused_with_the_field(self):
        wrong = [
            ("SyncTree", {}, "spec.name"),
            ("SyncTree", {"name": "../x"}, "spec.name"),
            ("SyncTree", {"name": "x" * 65}, "spec.name"),
            ("SyncTree", {"name": "x", "retention": {"age": "30"}}, "spec.retention.age"),
            ("SyncTree", {"name": "x", "retention": {"revisions": 0}}, "spec.retention.revisions"),
            ("SyncTree", {"name": "x", "quota": {"bytes": -1}}, "spec.quota.bytes"),
            ("SyncTree", {"name": "x", "access": [{"subject": "me", "rights": ["own"]}]}, "spec.access"),
            ("SyncTree", {"name": "x", "access": [{"subject": "me", "rights": ["read"]}, {"subject": "me", "rights": ["write"]}]}, "spec.access"),
            ("AgentToken", {"subject": "x", "trees": []}, "spec.trees"),
            ("AgentToken", {"subject": "x", "trees": [{"name": "a/b", "rights": ["read"]}]}, "spec.trees"),
            ("AgentToken", {"subject": "x", "trees": [{"name": "a", "rights": ["read"]}], "ttl": "soon"}, "spec.ttl"),
            ("AgentToken", {"subject": "x", "trees": [{"name": "a", "rights": ["read"]}], "secretName": "A_B"}, "spec.secretName"),
        ]
        for kind, spec, field in wrong:
            with self.subTest(kind, spec=spec):
                with self.assertRaises(Failed) as failed:
                    self.make(kind, "wrong", spec)
                self.assertIn(field, str(failed.exception))

    def test_uninstalling_keeps_the_kinds_and_their_objects(self):
        self.make("SyncTree", "kept", {"name": "kept"})
        CLUSTER.helm("4", "uninstall", "kinds")
        self.assertEqual(get("default", "stree", "kept")["spec"]["name"], "kept")
        CLUSTER.install_kinds(CRDS)

    def test_generated_manifests_are_accepted(self):
        kubectl("create", "namespace", "fsync")
        found = list(yaml.safe_load_all((ROOT / "k8s" / "generated" / "fsync.yaml").read_text()))
        deployment = next(one for one in found if one["kind"] == "Deployment")
        # 1.20 drops `sleep`, and what is left is no handler.
        del deployment["spec"]["template"]["spec"]["containers"][0]["lifecycle"]
        kubectl("apply", "--dry-run=server", "--validate=false", "-f", "-", given=yaml.safe_dump_all(found))
