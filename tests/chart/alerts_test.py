"""Alerts and dashboard look at metrics that the server has, and fire when they must."""

import json
import os
import pathlib
import re
import subprocess
import unittest

import yaml
from render import CHART, ROOT, find, objects

RULES = CHART / "files" / "rules.yaml"
ENABLED = {"metrics": {"rules": {"enabled": True}, "dashboard": {"enabled": True}}}
PROMTOOL = os.environ["PROMTOOL"]


def table():
    """Returns the series that the server's metrics make, by README's table, which the server's tests compare with it."""
    series = set()
    for name, kind in re.findall(r"^\| `([a-z_]+)` \| (counter|gauge|histogram) \|", (ROOT / "README.md").read_text(), re.M):
        series |= {name + end for end in ("_bucket", "_count", "_sum")} if kind == "histogram" else {name}
    return series


def asked(expression):
    """Returns the series that an expression names."""
    return set(re.findall(r"\b(?:fsync|http)_[a-z_]+", re.sub(r"\{[^}]*\}|\bby \([^)]*\)", "", expression)))


class Alerts(unittest.TestCase):
    def test_rules_fire_when_they_must(self):
        subprocess.run([PROMTOOL, "check", "rules", RULES], check=True, capture_output=True)
        here = pathlib.Path(__file__).parent
        done = subprocess.run([PROMTOOL, "test", "rules", "rules.yaml"], cwd=here, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_every_query_asks_for_what_there_is(self):
        rules = [rule["expr"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
        panels = json.loads((CHART / "files" / "dashboard.json").read_text())["panels"]
        shown = [target["expr"] for panel in panels for target in panel["targets"]]
        series = table()
        self.assertGreater(len(series), 20)
        for expression in rules + shown:
            named = asked(expression)
            with self.subTest(expression):
                self.assertLessEqual(named, series)
                self.assertTrue(named or "fsync:" in expression)

    def test_both_are_rendered_as_they_stand(self):
        found = objects(ENABLED)
        self.assertEqual(find(found, "PrometheusRule")["spec"], yaml.safe_load(RULES.read_text()))
        text = find(found, "ConfigMap", "fsync-dashboard")["data"]["fsync.json"]
        self.assertEqual(json.loads(text), json.loads((CHART / "files" / "dashboard.json").read_text()))


if __name__ == "__main__":
    unittest.main()
