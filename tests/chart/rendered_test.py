"""What stands where for which values: a row is (name, values, kind, object's name, path, expected)."""

import unittest

import values as v
import yaml
from render import CHART, HELMS, at, find, notes, objects, text

SERVER = "spec/template/spec/containers/name=server"
POD = "spec/template/spec"
NGINX = "metadata/annotations"


DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text())


def contains(*parts):
    return lambda found: all(part in (found or []) for part in parts)


def lacks(part):
    return lambda found: all(part not in one for one in found)


def env(name):
    return f"{SERVER}/env/name={name}"


D, DEPLOY = "Deployment", "fsync"
ROWS = [
    # what is installed without any value
    ("two replicas", {}, D, DEPLOY, "spec/replicas", 2),
    ("contents are in the Redis that the chart brings", {}, D, DEPLOY, env("FSYNC_BLOBS"), {"name": "FSYNC_BLOBS", "value": "$(FSYNC_REDIS)"}),
    ("which syncs what it takes", {}, "StatefulSet", "fsync-redis", "spec/template/spec/containers/0/args", lambda a: "always" in str(a)),
    # one server alone
    ("one replica", v.ALONE, D, DEPLOY, "spec/replicas", 1),
    ("an embedded journal is open once", v.ALONE, D, DEPLOY, "spec/strategy", {"type": "Recreate"}),
    ("the image is the chart's version", {}, D, DEPLOY, f"{SERVER}/image", "ghcr.io/fsync-dev/fsync-server:0.1.0"),
    ("contents are on the volume", v.ALONE, D, DEPLOY, f"{SERVER}/args", contains("--blobs=file:///var/lib/fsync/blobs")),
    ("no Redis is named", v.ALONE, D, DEPLOY, env("FSYNC_REDIS"), None),
    ("the volume is a claim", v.ALONE, D, DEPLOY, f"{POD}/volumes/name=data/persistentVolumeClaim/claimName", "fsync-data"),
    ("the claim outlives the release", v.ALONE, "PersistentVolumeClaim", "fsync-data", "metadata/annotations/helm.sh~1resource-policy", "keep"),
    ("one replica has no budget", v.ALONE, "PodDisruptionBudget", "fsync", "", None),
    ("no service account token", {}, D, DEPLOY, f"{POD}/automountServiceAccountToken", False),
    ("the account's object has none either", {}, "ServiceAccount", "fsync", "automountServiceAccountToken", False),
    ("liveness asks for the event loop only", {}, D, DEPLOY, f"{SERVER}/livenessProbe/httpGet", {"path": "/livez", "port": "admin"}),
    ("readiness", {}, D, DEPLOY, f"{SERVER}/readinessProbe/httpGet", {"path": "/readyz", "port": "admin"}),
    ("a start may take a minute", {}, D, DEPLOY, f"{SERVER}/startupProbe", {"httpGet": {"path": "/startupz", "port": "admin"}, "periodSeconds": 2, "failureThreshold": 30}),
    ("preStop needs no shell", {}, D, DEPLOY, f"{SERVER}/lifecycle/preStop", {"sleep": {"seconds": 5}}),
    ("a server alone ends soon", v.ALONE, D, DEPLOY, f"{POD}/terminationGracePeriodSeconds", 15),
    ("the admin port is not in the service", {}, "Service", "fsync", "spec/ports", lambda p: [x["port"] for x in p] == [8484]),
    ("no ingress", {}, "Ingress", "fsync", "", None),
    ("the root is read-only", {}, D, DEPLOY, f"{SERVER}/securityContext/readOnlyRootFilesystem", True),
    ("policy: the admin port is closed", {}, "NetworkPolicy", "fsync", "spec/ingress", [{"ports": [{"port": "http", "protocol": "TCP"}]}]),
    ("policy: clients are yours and the test", {"networkPolicy": {"clients": [v.PROMETHEUS]}}, "NetworkPolicy", "fsync", "spec/ingress/0/from", lambda f: f[0] == v.PROMETHEUS and f[1]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "test" and len(f) == 2),
    ("policy: Prometheus may ask the admin port", v.MONITORS, "NetworkPolicy", "fsync", "spec/ingress/1", {"ports": [{"port": "admin", "protocol": "TCP"}], "from": [v.PROMETHEUS]}),
    ("policy: DNS only goes out", v.ALONE, "NetworkPolicy", "fsync", "spec/egress", lambda e: len(e) == 1 and e[0]["ports"][0]["port"] == 53),
    # replicas
    ("replicas roll one by one", v.BUNDLED, D, DEPLOY, "spec/strategy/rollingUpdate", {"maxSurge": 1, "maxUnavailable": 0}),
    ("the grace covers preStop, lead, drain twice and a rest", v.BUNDLED, D, DEPLOY, f"{POD}/terminationGracePeriodSeconds", 5 + 5 + 2 * 45 + 10),
    ("a longer drain has a longer grace", v.merged(v.BUNDLED, {"server": {"drainSeconds": 120}}), D, DEPLOY, f"{POD}/terminationGracePeriodSeconds", 260),
    ("and a later deadline of progress", v.merged(v.BUNDLED, {"server": {"drainSeconds": 120}}), D, DEPLOY, "spec/progressDeadlineSeconds", 600 + 260 + 10),
    ("no drain has no lead", v.merged(v.BUNDLED, {"server": {"drainSeconds": 0, "preStopSeconds": 0}}), D, DEPLOY, f"{POD}/terminationGracePeriodSeconds", 10),
    ("no preStop of 0 s", v.merged(v.BUNDLED, {"server": {"preStopSeconds": 0}}), D, DEPLOY, f"{SERVER}/lifecycle", None),
    ("the drain is told to the server", v.BUNDLED, D, DEPLOY, f"{SERVER}/args", contains("--drain-seconds=45", "--redis-prefix=fsync")),
    ("replicas have a budget", v.BUNDLED, "PodDisruptionBudget", "fsync", "spec/maxUnavailable", 1),
    ("which never holds a sick pod", v.BUNDLED, "PodDisruptionBudget", "fsync", "spec/unhealthyPodEvictionPolicy", "AlwaysAllow"),
    ("pods spread over zones and nodes", v.BUNDLED, D, DEPLOY, f"{POD}/topologySpreadConstraints", lambda t: [x["topologyKey"] for x in t] == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]),
    ("a bucket needs no volume", v.BUNDLED, "PersistentVolumeClaim", "fsync-data", "", None),
    ("a shared volume may roll", v.SHARED_VOLUME, D, DEPLOY, "spec/strategy/type", "RollingUpdate"),
    ("a volume of one node may not", v.merged(v.SHARED_VOLUME, {"replicas": 1, "persistence": {"accessModes": ["ReadWriteOnce"]}}), D, DEPLOY, "spec/strategy/type", "Recreate"),
    # Redis
    ("bundled: the address", v.BUNDLED, D, DEPLOY, env("FSYNC_REDIS") + "/value", "redis://fsync:$(FSYNC_REDIS_PASSWORD)@fsync-redis:6379"),
    ("bundled: the password is a secret", v.BUNDLED, D, DEPLOY, env("FSYNC_REDIS_PASSWORD") + "/valueFrom/secretKeyRef", {"name": "fsync-redis", "key": "password"}),
    ("bundled: what is acknowledged is kept", v.BUNDLED, "StatefulSet", "fsync-redis", f"{POD}/containers/0/args", contains("--appendfsync", "always", "noeviction")),
    ("bundled: only the server reaches it", v.BUNDLED, "NetworkPolicy", "fsync-redis", "spec/ingress/0/from/0/podSelector/matchLabels/app.kubernetes.io~1component", "server"),
    ("bundled: the server may reach it", v.BUNDLED, "NetworkPolicy", "fsync", "spec/egress/1/to/0/podSelector/matchLabels/app.kubernetes.io~1component", "redis"),
    ("bundled: its user can do what the server needs", v.BUNDLED, "Secret", "fsync-redis", "stringData/users.acl", lambda a: "~fsync:* &fsync:*" in a and "user default off" in a),
    ("bundled: your secret", v.merged(v.BUNDLED, {"redis": {"bundled": {"existingSecret": "mine"}}}), "Secret", "fsync-redis", "", None),
    ("external: the address", v.EXTERNAL, D, DEPLOY, env("FSYNC_REDIS") + "/value", "redis://:$(FSYNC_REDIS_PASSWORD)@redis.data:6379"),
    ("external: nothing is bundled", v.EXTERNAL, "StatefulSet", "fsync-redis", "", None),
    ("external: its port may be reached", v.EXTERNAL, "NetworkPolicy", "fsync", "spec/egress/1/ports", [{"port": 6379, "protocol": "TCP"}, {"port": 443, "protocol": "TCP"}]),
    ("sentinel: the address", v.SENTINEL, D, DEPLOY, env("FSYNC_REDIS") + "/value", "redis-sentinel://:$(FSYNC_REDIS_PASSWORD)@a:26379?sentinelServiceName=main&node=b:26379"),
    ("cluster with TLS: the address", v.CLUSTER_TLS, D, DEPLOY, env("FSYNC_REDIS") + "/value", "rediss-cluster://fsync:$(FSYNC_REDIS_PASSWORD)@a:7000?node=b:7001"),
    ("cluster with TLS: the certificates", v.CLUSTER_TLS, D, DEPLOY, f"{SERVER}/args", contains("--redis-ca-file=/etc/fsync/redis-ca/ca.crt")),
    ("cluster with TLS: where they are mounted", v.CLUSTER_TLS, D, DEPLOY, f"{SERVER}/volumeMounts/name=redis-ca/mountPath", "/etc/fsync/redis-ca"),
    ("a secret with the whole URL", v.URL_SECRET, D, DEPLOY, env("FSYNC_REDIS") + "/valueFrom/secretKeyRef", {"name": "redis-url", "key": "url"}),
    ("no password is an argument", v.CLUSTER_TLS, D, DEPLOY, f"{SERVER}/args", lacks("PASSWORD")),
    # contents
    ("s3: the bucket", v.S3_ELSEWHERE, D, DEPLOY, f"{SERVER}/args", contains("--blobs=s3://contents/fsync?endpoint=https://s3.example.com:9000&region=eu-1")),
    ("s3: the key is a secret", v.S3, D, DEPLOY, env("AWS_SECRET_ACCESS_KEY") + "/valueFrom/secretKeyRef", {"name": "bucket", "key": "AWS_SECRET_ACCESS_KEY"}),
    ("s3: the session token need not be there", v.S3, D, DEPLOY, env("AWS_SESSION_TOKEN") + "/valueFrom/secretKeyRef/optional", True),
    ("s3: the cloud's identity needs no secret", {"blobs": {"type": "s3", "s3": {"bucket": "b"}}}, D, DEPLOY, env("AWS_ACCESS_KEY_ID"), None),
    ("s3: the cloud's identity may be reached", v.merged(v.ALONE, {"blobs": {"type": "s3", "s3": {"bucket": "b"}}}), "NetworkPolicy", "fsync", "spec/egress/1/ports", lambda p: [x["port"] for x in p] == [443, 80]),
    ("s3: certificates", v.S3_ELSEWHERE, D, DEPLOY, env("AWS_CA_BUNDLE") + "/value", "/etc/fsync/s3-ca/ca.crt"),
    ("s3: its port may be reached", v.merged(v.ALONE, v.S3_ELSEWHERE), "NetworkPolicy", "fsync", "spec/egress/1/ports/0/port", 9000),
    ("s3 with an embedded journal keeps a volume", v.merged(v.ALONE, v.S3), "PersistentVolumeClaim", "fsync-data", "spec/accessModes", ["ReadWriteOnce"]),
    ("memory needs no volume", v.MEMORY, D, DEPLOY, f"{POD}/volumes/name=data/emptyDir/sizeLimit", "1Gi"),
    ("your claim", v.merged(v.ALONE, {"persistence": {"existingClaim": "mine"}}), D, DEPLOY, f"{POD}/volumes/name=data/persistentVolumeClaim/claimName", "mine"),
    ("a claim that goes with the release", {"persistence": {"keep": False}}, "PersistentVolumeClaim", "fsync-data", "metadata/annotations", None),
    # tokens and TLS
    ("no tokens: the flag that says so", {}, D, DEPLOY, f"{SERVER}/args", contains("--insecure-no-auth")),
    ("tokens: the key is a file", v.TOKENS, D, DEPLOY, f"{SERVER}/args", contains("--auth-hs256-file=/etc/fsync/auth/key")),
    ("tokens: not open to all", v.TOKENS, D, DEPLOY, f"{SERVER}/args", lacks("insecure")),
    ("tokens: the key is generated and kept", v.TOKENS, "Secret", "fsync-auth", "metadata/annotations/helm.sh~1resource-policy", "keep"),
    ("tokens: your key", v.merged(v.TOKENS, {"auth": {"hs256": {"existingSecret": "mine"}}}), D, DEPLOY, f"{POD}/volumes/name=auth/secret/secretName", "mine"),
    ("an issuer", v.ISSUER, D, DEPLOY, f"{SERVER}/args", contains("--auth-jwks=https://id.example.com/keys", "--auth-issuer=https://id.example.com", "--auth-audience=fsync")),
    ("an issuer may be reached", v.merged(v.ALONE, v.ISSUER), "NetworkPolicy", "fsync", "spec/egress/1/ports/0/port", 443),
    ("TLS: files", v.TLS, D, DEPLOY, f"{SERVER}/args", contains("--tls-cert-file=/etc/fsync/tls/tls.crt", "--tls-key-file=/etc/fsync/tls/tls.key")),
    ("TLS: the port says so", v.TLS, "Service", "fsync", "spec/ports/0/appProtocol", "https"),
    # controller
    ("no controller", {}, D, "fsync-controller", "", None),
    ("without one the server has no admin API", v.TOKENS, D, DEPLOY, f"{SERVER}/args", lacks("admin-token")),
    ("controller: the server has its credential", v.CONTROLLER, D, DEPLOY, f"{SERVER}/args", contains("--admin-token-file=/etc/fsync/admin/token")),
    ("controller: as a file", v.CONTROLLER, D, DEPLOY, f"{POD}/volumes/name=admin/secret/secretName", "fsync-admin"),
    ("controller: which it shares", v.CONTROLLER, D, "fsync-controller", f"{POD}/volumes/name=admin/secret/secretName", "fsync-admin"),
    ("controller: drawn by the chart", v.CONTROLLER, "Secret", "fsync-admin", "stringData/token", lambda t: len(t) == 64),
    ("controller: or yours", v.ALL["controller-of-issuer"], D, DEPLOY, f"{POD}/volumes/name=admin/secret/secretName", "mine"),
    ("controller: then none is drawn", v.ALL["controller-of-issuer"], "Secret", "fsync-admin", "", None),
    ("controller: what it is told", v.CONTROLLER, D, "fsync-controller", f"{POD}/containers/0/args", contains("run", "--server-admin=http://fsync-control:9090", "--server-url=http://fsync.apps.svc:8484", "--lease=fsync-controller", "--gc-schedule=0s")),
    ("controller: what you tell it", v.ALL["controller-of-issuer"], D, "fsync-controller", f"{POD}/containers/0/args", contains("--server-url=https://fsync.example.com", "--gc-schedule=6h")),
    ("controller: its account alone has a token", v.CONTROLLER, D, "fsync-controller", POD, lambda p: (p["serviceAccountName"], p["automountServiceAccountToken"]) == ("fsync-controller", True)),
    ("controller: it asks servers that are ready", v.CONTROLLER, "Service", "fsync-control", "spec", lambda s: s["selector"]["app.kubernetes.io/component"] == "server" and not s.get("publishNotReadyAddresses")),
    ("controller: nothing of the cluster", v.CONTROLLER, "ClusterRole", "fsync-controller", "", None),
    ("controller: it lists no Secrets", v.CONTROLLER, "Role", "fsync-controller", "rules", lambda rules: [r["verbs"] for r in rules if r["resources"] == ["secrets"]] == [["get", "create", "patch", "delete"]]),
    ("controller: one Lease is its own", v.CONTROLLER, "Role", "fsync-controller", "rules", lambda rules: [(r["verbs"], r.get("resourceNames")) for r in rules if r["resources"] == ["leases"]] == [(["create"], None), (["get", "update"], ["fsync-controller"])]),
    ("controller: every right is named", v.CONTROLLER, "Role", "fsync-controller", "rules", lambda rules: "*" not in str(rules)),
    ("controller: the account has them", v.CONTROLLER, "RoleBinding", "fsync-controller", "subjects", [{"kind": "ServiceAccount", "name": "fsync-controller", "namespace": "apps"}]),
    ("controller: it alone reaches the admin port", v.CONTROLLER, "NetworkPolicy", "fsync", "spec/ingress", lambda i: [x["from"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for x in i if x["ports"][0]["port"] == "admin"] == ["controller"]),
    ("controller: nobody reaches it", v.CONTROLLER, "NetworkPolicy", "fsync-controller", "spec/ingress", []),
    ("controller: it reaches the server and the API", v.CONTROLLER, "NetworkPolicy", "fsync-controller", "spec/egress", lambda e: [[p["port"] for p in x["ports"]] for x in e] == [[53, 53], ["admin"], [443, 6443]]),
    ("controller: Prometheus may ask it", v.merged(v.CONTROLLER, v.MONITORS), "NetworkPolicy", "fsync-controller", "spec/ingress/0/from", [v.PROMETHEUS]),
    ("controller: it exports as itself", v.merged(v.CONTROLLER, v.TELEMETRY), D, "fsync-controller", f"{POD}/containers/0/env/name=OTEL_SERVICE_NAME/value", "fsync-controller"),
    ("controller: the collector may be reached", v.merged(v.CONTROLLER, v.TELEMETRY), "NetworkPolicy", "fsync-controller", "spec/egress/2/ports", lambda p: [x["port"] for x in p] == [443, 6443, 4317]),
    ("server: it exports as itself", v.TELEMETRY, D, DEPLOY, env("OTEL_SERVICE_NAME") + "/value", "fsync-server"),
    # ingress
    ("traefik: sticky at the service", v.ALL["traefik"], "Service", "fsync", NGINX + "/traefik.ingress.kubernetes.io~1service.sticky.cookie.name", "fsync_lb"),
    ("traefik: secure with TLS only", v.ingress("traefik"), "Service", "fsync", NGINX + "/traefik.ingress.kubernetes.io~1service.sticky.cookie.secure", "false"),
    ("traefik: its class", v.ALL["traefik"], "Ingress", "fsync", "spec/ingressClassName", "traefik"),
    ("haproxy: sticky at the service", v.ALL["haproxy"], "Service", "fsync", NGINX + "/haproxy.org~1cookie-persistence", "fsync_lb"),
    ("nginx: sessions stay", v.NGINX_TLS, "Ingress", "fsync", NGINX + "/nginx.ingress.kubernetes.io~1affinity-mode", "persistent"),
    ("nginx: idle sockets live", v.NGINX_TLS, "Ingress", "fsync", NGINX + "/nginx.ingress.kubernetes.io~1proxy-read-timeout", "3600"),
    ("nginx: uploads stream", v.NGINX_TLS, "Ingress", "fsync", NGINX + "/nginx.ingress.kubernetes.io~1proxy-request-buffering", "off"),
    ("nginx: a dead pod is left", v.NGINX_TLS, "Ingress", "fsync", NGINX + "/nginx.ingress.kubernetes.io~1session-cookie-change-on-failure", "true"),
    ("nginx: TLS to the server", v.ALL["nginx-to-tls"], "Ingress", "fsync", NGINX + "/nginx.ingress.kubernetes.io~1backend-protocol", "HTTPS"),
    ("your annotations win", v.merged(v.NGINX_TLS, {"ingress": {"annotations": {"nginx.ingress.kubernetes.io/proxy-body-size": "9g"}}}), "Ingress", "fsync", NGINX + "/nginx.ingress.kubernetes.io~1proxy-body-size", "9g"),
    ("nginx: the certificate", v.NGINX_TLS, "Ingress", "fsync", "spec/tls", [{"hosts": ["fsync.example.com"], "secretName": "web"}]),
    ("alb: idle timeout", v.ALB, "Ingress", "fsync", NGINX + "/alb.ingress.kubernetes.io~1load-balancer-attributes", "idle_timeout.timeout_seconds=3600"),
    ("alb: health from the admin port", v.ALB, "Ingress", "fsync", NGINX + "/alb.ingress.kubernetes.io~1healthcheck-port", "9090"),
    ("alb: which the policy lets it reach", v.ALB, "NetworkPolicy", "fsync", "spec/ingress/1/from", [{"ipBlock": {"cidr": "10.0.0.0/8"}}]),
    ("gateway: a route and no ingress", v.GATEWAY, "Ingress", "fsync", "", None),
    ("gateway: sticky only if asked for", v.merged(v.GATEWAY, {"ingress": {"gateway": {"sessionPersistence": False, "requestTimeout": ""}}}), "HTTPRoute", "fsync", "spec/rules/0", lambda r: set(r) == {"matches", "backendRefs"}),
    ("gateway: sticky", v.GATEWAY, "HTTPRoute", "fsync", "spec/rules/0/sessionPersistence", {"sessionName": "fsync_lb", "type": "Cookie"}),
    ("a plain load balancer: by address", {"service": {"type": "LoadBalancer", "sessionAffinity": "ClientIP"}}, "Service", "fsync", "spec/sessionAffinityConfig/clientIP/timeoutSeconds", 10800),
    # scaling and looking
    ("hpa: replicas are not fixed", v.HPA, D, DEPLOY, "spec/replicas", None),
    ("hpa: connections, then CPU", v.HPA, "HorizontalPodAutoscaler", "fsync", "spec/metrics", lambda m: [x["type"] for x in m] == ["Pods", "Resource"]),
    ("hpa: one pod goes in 5 minutes", v.HPA, "HorizontalPodAutoscaler", "fsync", "spec/behavior/scaleDown/policies", [{"type": "Pods", "value": 1, "periodSeconds": 300}]),
    ("keda: in place of it", v.KEDA, "HorizontalPodAutoscaler", "fsync", "", None),
    ("keda: the query", v.KEDA, "ScaledObject", "fsync", "spec/triggers/0/metadata/query", 'sum(fsync_connections{namespace="apps",pod=~"fsync-.*"})'),
    ("a monitor's service shows pods that are not ready", v.MONITORS, "Service", "fsync-admin", "spec/publishNotReadyAddresses", True),
    ("a monitor has your labels", v.MONITORS, "ServiceMonitor", "fsync", "metadata/labels/release", "prom"),
    ("telemetry: who sends", v.TELEMETRY, D, DEPLOY, env("OTEL_RESOURCE_ATTRIBUTES") + "/value", lambda s: "k8s.pod.name=$(POD_NAME)" in s and s.endswith(",team=x")),
    ("telemetry: the collector may be reached", v.merged(v.ALONE, v.TELEMETRY), "NetworkPolicy", "fsync", "spec/egress/1/ports/0/port", 4317),
    ("no collector, no variables", {}, D, DEPLOY, env("OTEL_EXPORTER_OTLP_ENDPOINT"), None),
    # what is yours
    ("a digest and a mirror win", v.EXTRAS, D, DEPLOY, f"{SERVER}/image", "mirror.example.com/fsync-dev/fsync-server@sha256:" + "a" * 64),
    ("pull secrets", v.EXTRAS, D, DEPLOY, f"{POD}/imagePullSecrets", [{"name": "pull"}]),
    ("your arguments come last", v.EXTRAS, D, DEPLOY, f"{SERVER}/args", lambda a: a[-1] == "--log-level=debug"),
    ("your environment", v.EXTRAS, D, DEPLOY, env("HTTPS_PROXY") + "/value", "http://proxy:3128"),
    ("your environment from secrets", v.EXTRAS, D, DEPLOY, f"{SERVER}/envFrom", [{"secretRef": {"name": "more"}}]),
    ("your volumes", v.EXTRAS, D, DEPLOY, f"{SERVER}/volumeMounts/name=more/mountPath", "/more"),
    ("your init containers", v.EXTRAS, D, DEPLOY, f"{POD}/initContainers/0/name", "before"),
    ("your containers", v.EXTRAS, D, DEPLOY, f"{POD}/containers/1/name", "beside"),
    ("your objects are templates", v.EXTRAS, "ConfigMap", "fsync-more", "kind", "ConfigMap"),
    ("also as text", v.EXTRAS, "ConfigMap", "text", "kind", "ConfigMap"),
    ("labels of all objects", v.EXTRAS, "Service", "fsync", "metadata/labels/team", "files"),
    ("labels of pods", v.EXTRAS, D, DEPLOY, "spec/template/metadata/labels", lambda x: x["mesh"] == "on" and x["team"] == "files"),
    ("annotations of pods", v.EXTRAS, D, DEPLOY, "spec/template/metadata/annotations", {"mesh/inject": "true", "note": "ours"}),
    ("where pods run", v.EXTRAS, D, DEPLOY, POD, lambda p: (p["nodeSelector"], p["priorityClassName"], p["runtimeClassName"]) == ({"disk": "ssd"}, "high", "gvisor")),
    ("names in the pod", v.EXTRAS, D, DEPLOY, POD, lambda p: p["hostAliases"][0]["ip"] == "10.0.0.1" and p["dnsConfig"]["options"][0]["name"] == "ndots"),
    ("the account's annotations", v.EXTRAS, "ServiceAccount", "fsync", "metadata/annotations/eks.amazonaws.com~1role-arn", "arn"),
    ("an account of yours", {"serviceAccount": {"create": False}}, D, DEPLOY, f"{POD}/serviceAccountName", "default"),
    ("no policies", v.merged(v.BUNDLED, {"networkPolicy": {"enabled": False}}), "NetworkPolicy", "fsync", "", None),
    # helm test
    ("the test fetches over several connections", v.BUNDLED, "Pod", "fsync-test-sync", "spec/initContainers", lambda c: [x["name"] for x in c] == ["write", "send"] + [f"fetch-{n}" for n in range(1, 8)]),
    ("the test compares all copies", v.BUNDLED, "Pod", "fsync-test-sync", "spec/containers/0/command", ["sha256sum", "-c", "/source/sums"]),
    ("with tokens the test needs one", v.merged(v.TOKENS, {"tests": {"tokenSecret": ""}}), "Pod", "fsync-test-sync", "", None),
    ("the test has its token", v.TOKENS, "Pod", "fsync-test-sync", "spec/initContainers/name=send/args", contains("--token-file=/token/token")),
]


def look(values, kind, name, path):
    one = find(objects(values), kind, name)
    if one is None or not path:
        return one
    for part in path.split("/"):
        one = at(one, part.replace("~1", "/")) if "~1" not in part else (one or {}).get(part.replace("~1", "/"))
    return one


class Rendered(unittest.TestCase):
    """One test for each row."""

    maxDiff = None


def make(values, kind, name, path, expected):
    def test(self):
        found = look(values, kind, name, path)
        if callable(expected):
            self.assertTrue(expected(found), found)
        else:
            self.assertEqual(found, expected)

    return test


for row in ROWS:
    title = row[0]
    assert not hasattr(Rendered, f"test {title}"), title
    setattr(Rendered, f"test {title}", make(*row[1:]))


class Everything(unittest.TestCase):
    """Rules for whatever is rendered."""

    def test_both_helms_render_the_same(self):
        for name, values in v.ALL.items():
            with self.subTest(name):
                # A password is drawn at each rendering, unless it is given.
                with_test_off = v.merged(values, {"tests": {"enabled": False}})
                if v.merged(DEFAULTS, values)["redis"]["mode"] == "bundled":
                    with_test_off = v.merged(with_test_off, {"redis": {"bundled": {"existingSecret": "redis"}}})
                if v.merged(DEFAULTS, values)["auth"]["mode"] == "hs256":
                    with_test_off = v.merged(with_test_off, {"auth": {"hs256": {"existingSecret": "key"}}})
                with_test_off = v.merged(with_test_off, {"controller": {"existingSecret": "admin"}})
                three, four = (text(with_test_off, version=version) for version in HELMS)
                self.assertEqual(three, four)

    def test_pods_satisfy_the_restricted_standard(self):
        for name, values in v.ALL.items():
            for one in objects(values):
                pod = one["spec"] if one["kind"] == "Pod" else at(one, "spec/template/spec")
                if not pod or "containers" not in pod:
                    continue
                with self.subTest(name, kind=one["kind"]):
                    self.assertTrue(pod["securityContext"]["runAsNonRoot"])
                    self.assertEqual(pod["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
                    # The controller alone speaks to the Kubernetes API.
                    self.assertEqual(pod["automountServiceAccountToken"], one["metadata"]["name"] == "fsync-controller")
                    self.assertFalse({"hostNetwork", "hostPID", "hostIPC"} & set(pod))
                    kinds = {next(k for k in volume if k != "name") for volume in pod["volumes"]}
                    self.assertLessEqual(kinds, {"emptyDir", "secret", "configMap", "persistentVolumeClaim"})
                    ours = [c for c in pod["containers"] + pod.get("initContainers", []) if c["image"] != "i"]
                    for container in ours:
                        context = container["securityContext"]
                        self.assertFalse(context["allowPrivilegeEscalation"])
                        self.assertTrue(context["readOnlyRootFilesystem"])
                        self.assertEqual(context["capabilities"], {"drop": ["ALL"]})
                        self.assertFalse([p for p in container.get("ports", []) if "hostPort" in p])

    def test_no_container_needs_a_shell(self):
        for name, values in v.ALL.items():
            self.assertNotRegex(text(values), r"(/bin/)?\b(ba)?sh\b[\"',\]]* -?c", name)

    def test_every_object_is_labelled_and_in_the_release_namespace(self):
        for name, values in v.ALL.items():
            for one in objects(values):
                if one["metadata"]["name"] in ("text", "fsync-more"):
                    continue  # of extraObjects
                with self.subTest(name, kind=one["kind"]):
                    self.assertEqual(one["metadata"]["namespace"], "apps")
                    self.assertEqual(one["metadata"]["labels"]["app.kubernetes.io/instance"], "fsync")

    def test_selectors_choose_the_pods(self):
        found = objects(v.CONTROLLER)
        pods = {}
        for workload, name in (("Deployment", "fsync"), ("Deployment", "fsync-controller"), ("StatefulSet", "fsync-redis")):
            one = find(found, workload, name)
            pods[name] = at(one, "spec/template/metadata/labels")
            self.assertLessEqual(at(one, "spec/selector/matchLabels").items(), pods[name].items())
        for service, name in (("fsync", "fsync"), ("fsync-control", "fsync"), ("fsync-redis", "fsync-redis")):
            self.assertLessEqual(at(find(found, "Service", service), "spec/selector").items(), pods[name].items())

    def test_a_long_release_name_stays_within_63_characters(self):
        for one in objects(v.merged(v.BUNDLED, v.CONTROLLER), name="a" * 53):
            self.assertLessEqual(len(one["metadata"]["name"]), 63)

    def test_secrets_are_drawn_anew_for_each_installation(self):
        one, other = (find(objects(v.TOKENS, version=version), "Secret", "fsync-auth") for version in HELMS)
        self.assertNotEqual(one["data"]["key"], other["data"]["key"])


class Notes(unittest.TestCase):
    """What an installation says at its end."""

    def test_notes_name_the_agent_command_and_every_danger(self):
        said = notes()
        self.assertIn("fsync-agent sync ~/docs --server http://127.0.0.1:8484 --tree docs", said)
        for danger in ("auth.mode is none", "there is no TLS"):
            self.assertIn(f"WARNING: {danger}", said)
        self.assertIn("WARNING: redis.mode is none", notes(v.ALONE))

    def test_notes_of_memory_say_that_all_is_lost(self):
        self.assertIn("WARNING: blobs.type is memory", notes(v.MEMORY))

    def test_notes_of_a_safe_installation_warn_of_nothing(self):
        safe = v.merged(v.EXTERNAL, v.NGINX_TLS, {"auth": {"mode": "hs256"}, "ingress": {"preset": "plain"}})
        said = notes(safe)
        self.assertNotIn("WARNING", said)
        self.assertIn("--server https://fsync.example.com --tree docs --token-file docs.token", said)


if __name__ == "__main__":
    unittest.main()
