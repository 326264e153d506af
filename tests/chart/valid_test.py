"""What is rendered are valid objects of the lowest and the highest Kubernetes that the chart is for."""

import copy
import functools
import json
import pathlib
import unittest

import kubernetes_validate
import values as v
import yaml
from render import CRDS, HIGHEST, LOWEST, ROOT, Refused, helm, objects, text

# Kinds of other projects; no schema of theirs is at hand.
FOREIGN = {"HTTPRoute", "ScaledObject", "ServiceMonitor", "PodMonitor", "SyncTree", "AgentToken"}


def minor(version):
    return version.rsplit(".", 1)[0]


@functools.cache
def check_text(text, kube):
    # Most sets of values have most objects in common.
    kubernetes_validate.validate(json.loads(text), minor(kube), strict=True)


class Valid(unittest.TestCase):
    """Every object against the schema of its kind, strictly: an unknown field is an error."""

    def check(self, found, kube):
        for one in found:
            if one["kind"] in FOREIGN:
                continue
            check_text(json.dumps(one, default=str), kube)

    def test_the_chart(self):
        for kube in (LOWEST, HIGHEST):
            for name, values in v.ALL.items():
                with self.subTest(name, kubernetes=kube):
                    self.check(objects(values), kube)

    def test_nothing_depends_on_the_version(self):
        values = v.merged(v.EXTERNAL, {"tests": {"enabled": False}})
        self.assertEqual(text(values, kube=LOWEST), text(values))
        for file in (ROOT / "charts").rglob("templates/**/*"):
            self.assertNotIn(b".Capabilities", file.read_bytes() if file.is_file() else b"")

    def test_the_definitions(self):
        for kube in (LOWEST, HIGHEST):
            found = list(yaml.safe_load_all(helm("4", "template", "x", CRDS)))
            self.assertEqual({one["kind"] for one in found}, {"CustomResourceDefinition"})
            self.check(found, kube)

    def test_a_misspelt_field_is_found(self):
        one = copy.deepcopy(next(o for o in objects() if o["kind"] == "Deployment"))
        one["spec"]["template"]["spec"]["containers"][0]["ports"][0]["containersPort"] = 1
        with self.assertRaises(kubernetes_validate.ValidationError):
            self.check([one], HIGHEST)

    def test_what_stands_in_k8s(self):
        for file in sorted(pathlib.Path(ROOT / "k8s").rglob("*.yaml")):
            found = [o for o in yaml.safe_load_all(file.read_text()) if o]
            found = [o for o in found if "apiVersion" in o and not o["apiVersion"].startswith(("kustomize", "kind.x"))]
            for kube in (LOWEST, HIGHEST):
                with self.subTest(file.name, kubernetes=kube):
                    self.check(found, kube)


class Examples(unittest.TestCase):
    """Values files that the documents name."""

    def test_every_values_file_of_the_examples_renders(self):
        files = sorted((ROOT / "k8s").glob("*/values*.yaml"))
        self.assertGreater(len(files), 5)
        for file in files:
            with self.subTest(file.name):
                try:
                    found = objects(yaml.safe_load(file.read_text()), chart=ROOT / "charts" / "fsync")
                except Refused as refused:
                    self.fail(str(refused))
                self.assertTrue(found)
