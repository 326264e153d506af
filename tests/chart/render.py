"""Renders the charts with the real Helm, 3 and 4, and finds things in what comes out."""

import atexit
import functools
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "fsync"
CRDS = ROOT / "charts" / "fsync-crds"
HELMS = {"3": os.environ["HELM3"], "4": os.environ["HELM4"]}
# Versions that the chart is for: the lowest that Chart.yaml allows, and the highest whose schemas are at hand.
LOWEST, HIGHEST = "1.30.0", "1.37.0"

_scratch = pathlib.Path(tempfile.mkdtemp(prefix="fsync-chart-"))
atexit.register(shutil.rmtree, _scratch, ignore_errors=True)


class Refused(Exception):
    """Helm refused the values; the text is what it said."""


@functools.cache
def complete_chart():
    """Returns a copy of the chart for a server that can do everything: the list of what it cannot do yet is empty."""
    copy = _scratch / "fsync"
    shutil.copytree(CHART, copy)
    (copy / "files" / "not-yet").write_text("")
    return copy


def helm(version, *arguments):
    """Runs Helm and returns its output, or raises Refused."""
    home = {f"HELM_{part}_HOME": str(_scratch / part) for part in ("CACHE", "CONFIG", "DATA")}
    # No cluster is asked: a kubeconfig of the machine must not matter.
    env = {"PATH": os.environ["PATH"], "HOME": str(_scratch), "KUBECONFIG": os.devnull, **home}
    done = subprocess.run([HELMS[version], *map(str, arguments)], env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused(done.stderr.strip() + done.stdout.strip())
    return done.stdout


@functools.cache
def _rendered(values, chart, version, name, kube):
    file = _scratch / f"values-{abs(hash(values))}.json"
    file.write_text(values)
    return helm(version, "template", name, chart, "--namespace", "apps", "--values", file, "--kube-version", kube)


def text(values=None, chart=None, version="4", name="fsync", kube=HIGHEST):
    """Returns the manifests as text."""
    return _rendered(json.dumps(values or {}, sort_keys=True), str(chart or complete_chart()), version, name, kube)


def objects(values=None, **how):
    """Returns the manifests as values; whoever changes them does so for all."""
    return _parsed(text(values, **how))


@functools.cache
def _parsed(manifests):
    return [o for o in yaml.load_all(manifests, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)) if o]


def find(found, kind, name="fsync"):
    """Returns the object of that kind and name, or None."""
    for one in found:
        if (one["kind"], one["metadata"]["name"]) == (kind, name):
            return one
    return None


def at(value, path):
    """Returns what stands at a dotted path; a part `name=x` chooses from a list of mappings; None if there is nothing."""
    for part in path.split("/"):
        if value is None:
            return None
        if isinstance(value, list) and "=" in part:
            key, wanted = part.split("=", 1)
            value = next((one for one in value if str(one.get(key)) == wanted), None)
        elif isinstance(value, list):
            value = value[int(part)] if int(part) < len(value) else None
        else:
            value = value.get(part)
    return value


def notes(values=None):
    """Returns what `helm install` would say at its end. Helm 3 asks a cluster even when it only pretends; 4 does not."""
    file = _scratch / "notes.json"
    file.write_text(json.dumps(values or {}))
    said = helm("4", "install", "fsync", complete_chart(), "--namespace", "apps", "--values", file, "--dry-run=client")
    return said.split("NOTES:", 1)[-1]
