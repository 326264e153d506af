"""What is made from something else is as it would be made now, and values say what they are for."""

import os
import re
import subprocess
import sys
import unittest

import yaml
from render import CHART, ROOT


class Drift(unittest.TestCase):
    """Made files."""

    def check(self, command):
        done = subprocess.run([sys.executable, ROOT / command, "--check"], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_schemas_and_tables_of_values(self):
        self.check("charts/generate")

    def test_the_kinds_are_those_of_the_controller(self):
        self.check("charts/definitions")

    def test_manifests_in_k8s(self):
        self.check("k8s/generate")


class Kustomize(unittest.TestCase):
    """k8s/ as `kubectl apply -k` reads it."""

    def test_it_has_a_restricted_namespace_with_all_objects_in_it(self):
        done = subprocess.run([os.environ["KUBECTL"], "kustomize", ROOT / "k8s"], capture_output=True, text=True, check=True)
        found = list(yaml.safe_load_all(done.stdout))
        namespace = next(one for one in found if one["kind"] == "Namespace")
        self.assertEqual(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted")
        inside = [one for one in found if one["kind"] not in ("Namespace", "CustomResourceDefinition")]
        self.assertEqual({one["metadata"]["namespace"] for one in inside}, {"fsync"})
        self.assertIn("Deployment", {one["kind"] for one in inside})
        for one in found:
            self.assertNotIn("Helm", str(one["metadata"].get("labels")))


class Scripts(unittest.TestCase):
    """Shell scripts, of which some cannot be run where tests run."""

    def test_shellcheck_finds_nothing(self):
        places = (".ci/run", ".ci/image/*", "tests/run", "tests/*/run", "tests/cluster/build", "k8s/dev/*")
        files = [file for place in places for file in ROOT.glob(place) if file.read_bytes().startswith(b"#!")]
        files = [file for file in files if b"sh" in file.read_bytes().split(b"\n")[0]]
        self.assertGreater(len(files), 8)
        done = subprocess.run(["shellcheck", "-x", *files], cwd=ROOT, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout)


class Values(unittest.TestCase):
    """values.yaml."""

    def paths(self, value, path=()):
        if isinstance(value, dict) and value and path not in (("podSecurityContext",), ("securityContext",)):
            for key, below in value.items():
                yield from self.paths(below, (*path, key))
        else:
            yield path

    def test_every_value_is_used_by_a_template(self):
        source = "\n".join(file.read_text() for file in (CHART / "templates").rglob("*") if file.is_file())
        unused = []
        for path in self.paths(yaml.safe_load((CHART / "values.yaml").read_text())):
            if path[0] in ("resources",) or path[-2:-1] in (("requests",), ("limits",)):
                continue
            # A template may go down by a variable: the last name, and an upper one, must stand somewhere.
            if not (re.search(rf"[.\"]{path[-1]}\b", source) and re.search(rf"[.\"]{path[0]}\b", source)):
                unused.append(".".join(path))
        self.assertEqual(unused, [])

    def test_the_chart_has_the_version_of_the_programs(self):
        workspace = re.search(r'^version = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[1]
        for chart in ("fsync", "fsync-crds"):
            about = yaml.safe_load((ROOT / "charts" / chart / "Chart.yaml").read_text())
            self.assertEqual(about["appVersion"], workspace, chart)
