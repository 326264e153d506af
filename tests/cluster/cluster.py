"""What tests do with the API server: kubectl, both Helms, and copies of the charts that an old server takes."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time

from api import PATIENCE_SECONDS, Api
from render import CHART, HELMS

LEGACY = CHART / "ci" / "legacy-api.yaml"


class Failed(Exception):
    """A command ended with an error; the text is what it said."""


class Cluster:
    """An API server, and a directory for what tests write."""

    def __init__(self):
        self.scratch = pathlib.Path(tempfile.mkdtemp(prefix="fsync-charts-"))
        self.api = Api()

    def end(self):
        self.api.end()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def call(self, program, *arguments, given=None):
        env = {"PATH": os.environ["PATH"], "HOME": str(self.scratch), "KUBECONFIG": str(self.api.kubeconfig)}
        done = subprocess.run([program, *map(str, arguments)], env=env, input=given, capture_output=True, text=True,
                              timeout=PATIENCE_SECONDS, check=False)
        if done.returncode:
            raise Failed(done.stderr + done.stdout)
        return done.stdout

    def kubectl(self, *arguments, given=None):
        return self.call(os.environ["KUBECTL"], *arguments, given=given)

    def helm(self, version, *arguments):
        return self.call(HELMS[version], *arguments)

    def get(self, namespace, kind, name):
        return json.loads(self.kubectl("-n", namespace, "get", kind, name, "-o", "json"))

    def find(self, namespace, kind, name):
        """Returns an object, or None."""
        found = self.kubectl("-n", namespace, "get", kind, name, "-o", "json", "--ignore-not-found")
        return json.loads(found) if found else None

    def names(self, namespace, kind):
        return sorted(self.kubectl("-n", namespace, "get", kind, "-o", "name").split())

    def legacy(self, chart):
        """Returns a copy of a chart that an old server takes."""
        copy = self.scratch / f"legacy-{chart.name}"
        if not copy.exists():
            shutil.copytree(chart, copy)
            about = copy / "Chart.yaml"
            about.write_text(re.sub(r"(?m)^kubeVersion:.*\n", "", about.read_text()))
        return copy

    def install_kinds(self, chart):
        # Applied on the server, the rules in the schemas would be fields that 1.20 does not know.
        self.helm("4", "install", "kinds", self.legacy(chart), "--disable-openapi-validation", "--server-side=false")
        for name in ("synctrees.fsync.dev", "agenttokens.fsync.dev"):
            self.kubectl("wait", "--for=condition=Established", "crd", name, "--timeout=60s")


def until(what, seconds, look):
    """Returns what `look` returns once it is true; fails with `what` after so many seconds."""
    end = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.2)
