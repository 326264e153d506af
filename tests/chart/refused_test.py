"""Values that cannot work are refused with a sentence that names the key and says what to do."""

import unittest

import values as v
from render import CHART, CRDS, HELMS, Refused, helm, text

# (name, values, what the refusal must contain)
TOGETHER = [
    ("several replicas without Redis", v.merged(v.ALONE, {"replicas": 2}), ("redis.mode to external", "replicas to 1")),
    ("autoscaling without Redis", v.merged(v.ALONE, {"autoscaling": {"enabled": True}}), ("redis.mode to external",)),
    ("memory and Redis", v.merged(v.BUNDLED, {"blobs": {"type": "memory"}}), ("blobs.type=memory", "set blobs.type to s3")),
    ("memory and several replicas", v.merged(v.MEMORY, {"replicas": 2}), ("redis.mode",)),
    ("contents in no Redis", v.merged(v.ALONE, {"blobs": {"type": "redis"}}), ("blobs.type=redis", "redis.mode")),
    ("files of several replicas on one node's volume", v.merged(v.BUNDLED, {"blobs": {"type": "file"}}), ("persistence.accessModes", "ReadWriteMany")),
    ("s3 without bucket", {"blobs": {"type": "s3"}}, ("blobs.s3.bucket",)),
    ("external Redis nowhere", {"redis": {"mode": "external"}}, ("redis.external.hosts",)),
    ("Redis at two places", v.merged(v.URL_SECRET, {"redis": {"external": {"hosts": ["a:1"]}}}), ("urlSecret", "keep one")),
    ("a URL and a password beside it", v.merged(v.URL_SECRET, {"redis": {"external": {"existingSecret": "x"}}}), ("put user and password into it",)),
    ("Sentinels without service", v.merged(v.SENTINEL, {"redis": {"external": {"sentinelService": ""}}}), ("redis.external.sentinelService",)),
    ("a standalone of two", v.merged(v.EXTERNAL, {"redis": {"external": {"hosts": ["a:1", "b:1"]}}}), ("redis.external.hosts", "topology")),
    ("a Cluster's database", v.merged(v.CLUSTER_TLS, {"redis": {"external": {"database": 1}}}), ("redis.external.database to 0",)),
    ("a user without password", v.merged(v.CLUSTER_TLS, {"redis": {"external": {"existingSecret": ""}}}), ("redis.external.username",)),
    ("certificates without TLS", v.merged(v.CLUSTER_TLS, {"redis": {"external": {"tls": {"enabled": False}}}}), ("redis.external.tls.enabled",)),
    ("an external Redis that is not used", v.merged(v.ALONE, {"redis": {"external": {"hosts": ["a:1"]}}}), ("redis.mode is none",)),
    ("a controller of a server without tokens", {"controller": {"enabled": True}}, ("auth.mode to hs256",)),
    ("an issuer nowhere", {"auth": {"mode": "jwks"}}, ("auth.jwks.url",)),
    ("an issuer of tokens for anybody", v.merged(v.ISSUER, {"auth": {"jwks": {"audience": ""}}}), ("auth.jwks.issuer and auth.jwks.audience",)),
    ("TLS without certificate", {"tls": {"enabled": True}}, ("tls.existingSecret",)),
    ("a Prometheus that is kept out", v.merged(v.MONITORS, {"networkPolicy": {"admin": []}}), ("networkPolicy.admin",)),
    ("two autoscalers", v.merged(v.HPA, v.KEDA), ("autoscaling.enabled and autoscaling.keda.enabled", "switch one of them off")),
    ("fewest above most", v.merged(v.HPA, {"autoscaling": {"minReplicas": 11}}), ("autoscaling.minReplicas",)),
    ("no target", v.merged(v.HPA, {"autoscaling": {"connections": 0, "cpuPercent": 0}}), ("needs a target",)),
    ("a share of no request", v.merged(v.HPA, {"resources": {"requests": None}}), ("resources.requests.cpu",)),
    ("KEDA without Prometheus", v.merged(v.KEDA, {"autoscaling": {"keda": {"prometheusUrl": ""}}}), ("autoscaling.keda.prometheusUrl",)),
    ("hosts without ingress", {"ingress": {"hosts": ["x"]}}, ("ingress.preset",)),
    ("ingress without host", {"ingress": {"preset": "traefik"}}, ("needs ingress.hosts",)),
    ("ingress TLS without certificate", v.ingress("traefik", tls={"enabled": True}), ("ingress.tls.secretName",)),
    ("a route of no gateway", v.ingress("gateway"), ("ingress.gateway.parentRefs",)),
    ("a route to TLS", v.merged(v.GATEWAY, v.TLS), ("BackendTLSPolicy",)),
    ("an ALB that cannot ask for health", v.ingress("alb"), ("networkPolicy.admin",)),
    ("a node port of another type", {"service": {"nodePort": 30000}}, ("service.type=NodePort",)),
    ("a load balancer's class of another type", {"service": {"loadBalancerClass": "x"}}, ("service.type=LoadBalancer",)),
]

# What values.schema.json refuses: (name, values, key as it is named, in either Helm's spelling)
ALONE = [
    ("an unknown key", {"replica": 2}, "replica"),
    ("an unknown key further down", {"redis": {"external": {"host": "x"}}}, "host"),
    ("an unknown key of an image", {"image": {"name": "x"}}, "name"),
    ("a number as text", {"replicas": "one"}, "replicas"),
    ("no replica", {"replicas": 0}, "replicas"),
    ("a mode that is none", {"redis": {"mode": "on"}}, "mode"),
    ("a time without unit", {"server": {"retain": "30"}}, "retain"),
    ("a Redis without port", {"redis": {"external": {"hosts": ["redis"]}}}, "hosts"),
    ("a password in the Redis address", {"redis": {"external": {"hosts": ["u:p@redis:6379"]}}}, "hosts"),
    ("a tag as digest", {"image": {"digest": "latest"}}, "digest"),
    ("a preset that is none", {"ingress": {"preset": "nginx"}}, "preset"),
    ("an idle time below the ping", {"ingress": {"timeoutSeconds": 20}}, "timeoutSeconds"),
    ("a peer that is none", {"networkPolicy": {"clients": [{"cidr": "10.0.0.0/8"}]}}, "clients"),
    ("an endpoint with credentials in a query", {"blobs": {"s3": {"endpoint": "https://x?key=1"}}}, "endpoint"),
    ("a resource that is none", {"resources": {"limit": {"cpu": 1}}}, "limit"),
    ("a size that is none", {"persistence": {"size": "big"}}, "size"),
    ("a server's URL with a path", {"controller": {"serverUrl": "https://x/y"}}, "serverUrl"),
    ("a schedule without unit", {"controller": {"gcSchedule": "6"}}, "gcSchedule"),
    ("a ratio above one", {"telemetry": {"sampleRatio": 5}}, "sampleRatio"),
]


class Together(unittest.TestCase):
    """Combinations, refused by templates."""


class Alone(unittest.TestCase):
    """Single values, refused by the schema."""


def make(values, parts, from_template):
    def test(self):
        for version in HELMS:
            with self.assertRaises(Refused) as refused:
                text(values, version=version)
            said = str(refused.exception)
            for part in parts:
                self.assertIn(part, said)
            self.assertEqual(from_template, "execution error" in said, said)

    return test


for title, what, sentence in TOGETHER:
    setattr(Together, f"test {title}", make(what, sentence, True))
for title, what, key in ALONE:
    setattr(Alone, f"test {title}", make(what, (key,), False))


class Lint(unittest.TestCase):
    """What Helm's own checks say of the charts."""

    def test_lint_is_clean_in_both_helms(self):
        for version in HELMS:
            for chart in (CHART, CRDS):
                helm(version, "lint", "--strict", "--quiet", chart)

    def test_an_old_kubernetes_is_refused_with_the_version_it_needs(self):
        with self.assertRaises(Refused) as refused:
            text(kube="1.29.0")
        self.assertIn(">=1.30.0", str(refused.exception))

    def test_every_sentence_of_the_templates_is_provoked(self):
        source = (CHART / "templates" / "_check.tpl").read_text()
        # One more belongs to files/not-yet; see program_test.py.
        self.assertEqual(source.count("fail "), len(TOGETHER) - len(SAME_SENTENCE) + 1)


# Rows of TOGETHER whose sentence another row provokes too.
SAME_SENTENCE = ("autoscaling without Redis", "memory and several replicas")
