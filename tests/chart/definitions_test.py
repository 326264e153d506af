"""Rules in the definitions (CEL), which the API server that tests can build is too old to enforce."""

import unittest

import cel
import yaml
from render import CRDS, at, helm


def rule(crd, path):
    """Returns the one rule that stands at a path of a definition's schema."""
    found = list(yaml.safe_load_all(helm("4", "template", "x", CRDS)))
    one = next(o for o in found if o["metadata"]["name"] == crd)
    rules = at(one, f"spec/versions/0/schema/openAPIV3Schema/properties/spec/{path}x-kubernetes-validations")
    (only,) = rules
    return only


class Rules(unittest.TestCase):
    """Each rule, on values that it is about."""

    def test_a_tree_keeps_its_name_and_tenant(self):
        for name in ("name", "tenant"):
            one = rule("synctrees.fsync.dev", f"properties/{name}/")
            self.assertTrue(cel.evaluate(one["rule"], {"self": "docs", "oldSelf": "docs"}))
            self.assertFalse(cel.evaluate(one["rule"], {"self": "docs", "oldSelf": "other"}))
            self.assertIn(f"spec.{name}", one["message"])

    def test_a_token_is_replaced_before_it_ends(self):
        one = rule("agenttokens.fsync.dev", "")
        rows = [
            ({"ttl": "720h"}, True),
            ({"ttl": "720h", "rotateBefore": "240h"}, True),
            ({"ttl": "1h", "rotateBefore": "59m59s"}, True),
            ({"ttl": "1h", "rotateBefore": "60m"}, False),
            ({"ttl": "1h", "rotateBefore": "2h"}, False),
        ]
        for spec, holds in rows:
            with self.subTest(spec):
                self.assertEqual(cel.evaluate(one["rule"], {"self": spec}), holds)
        self.assertIn("spec.rotateBefore", one["message"])
