"""Values that tests render: one set for each way that the chart is used."""


def merged(*parts):
    """Returns the parts as one, later ones winning, mappings joined."""
    out = {}
    for part in parts:
        for key, value in part.items():
            old = out.get(key)
            out[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return out


def ingress(preset, **more):
    return {"ingress": {"preset": preset, "hosts": ["fsync.example.com"], **more}}


PROMETHEUS = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
ALONE = {"replicas": 1, "redis": {"mode": "none"}, "blobs": {"type": "file"}}
S3 = {"blobs": {"type": "s3", "s3": {"bucket": "contents", "existingSecret": "bucket"}}}
S3_ELSEWHERE = merged(S3, {"blobs": {"s3": {"endpoint": "https://s3.example.com:9000", "region": "eu-1", "caSecret": "ca"}}})
BUNDLED = merged(S3, {"redis": {"mode": "bundled"}, "replicas": 2})
EXTERNAL = merged(
    S3, {"replicas": 3, "redis": {"mode": "external", "external": {"hosts": ["redis.data:6379"], "existingSecret": "redis"}}}
)
SENTINEL = merged(
    EXTERNAL,
    {"redis": {"external": {"topology": "sentinel", "sentinelService": "main", "hosts": ["a:26379", "b:26379"]}}},
)
CLUSTER_TLS = merged(
    EXTERNAL,
    {
        "redis": {
            "external": {
                "topology": "cluster",
                "hosts": ["a:7000", "b:7001"],
                "username": "fsync",
                "tls": {"enabled": True, "caSecret": "redis-ca"},
            }
        }
    },
)
URL_SECRET = merged(S3, {"redis": {"mode": "external", "external": {"urlSecret": "redis-url"}}})
SHARED_VOLUME = merged(BUNDLED, {"blobs": {"type": "file"}, "persistence": {"accessModes": ["ReadWriteMany"]}})
IN_REDIS = {"replicas": 2, "redis": {"mode": "bundled"}, "blobs": {"type": "redis"}}
MEMORY = merged(ALONE, {"blobs": {"type": "memory"}})
TOKENS = merged(BUNDLED, {"auth": {"mode": "hs256"}, "tests": {"tokenSecret": "test-token"}})
CONTROLLER = merged(TOKENS, {"controller": {"enabled": True, "replicas": 2}})
ISSUER = {"auth": {"mode": "jwks", "jwks": {"url": "https://id.example.com/keys", "issuer": "https://id.example.com", "audience": "fsync"}}}
TLS = {"tls": {"enabled": True, "existingSecret": "cert"}}
TELEMETRY = {"telemetry": {"endpoint": "http://otel.obs:4317", "headersSecret": "otel", "resourceAttributes": {"team": "x"}}}
MONITORS = {"metrics": {"serviceMonitor": {"enabled": True, "labels": {"release": "prom"}}, "podMonitor": {"enabled": True}}, "networkPolicy": {"admin": [PROMETHEUS]}}
HPA = merged(EXTERNAL, {"autoscaling": {"enabled": True, "connections": 5000}})
KEDA = merged(EXTERNAL, {"autoscaling": {"keda": {"enabled": True, "prometheusUrl": "http://prom:9090"}}})
ALB = merged(ingress("alb"), {"networkPolicy": {"admin": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}})
GATEWAY = ingress("gateway", gateway={"parentRefs": [{"name": "public"}], "sessionPersistence": True, "requestTimeout": "0s"})
NGINX_TLS = ingress("nginx-community", tls={"enabled": True, "secretName": "web"})
EXTRAS = merged(
    EXTERNAL,
    {
        "global": {"imageRegistry": "mirror.example.com", "imagePullSecrets": ["pull"]},
        "image": {"digest": "sha256:" + "a" * 64},
        "commonLabels": {"team": "files"},
        "commonAnnotations": {"note": "ours"},
        "podLabels": {"mesh": "on"},
        "podAnnotations": {"mesh/inject": "true"},
        "extraArgs": ["--log-level=debug"],
        "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
        "extraEnvFrom": [{"secretRef": {"name": "more"}}],
        "extraVolumes": [{"name": "more", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
        "extraInitContainers": [{"name": "before", "image": "i"}],
        "extraContainers": [{"name": "beside", "image": "i"}],
        "extraObjects": [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-more"}},
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: text}\n",
        ],
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"podAntiAffinity": {}},
        "priorityClassName": "high",
        "runtimeClassName": "gvisor",
        "dnsConfig": {"options": [{"name": "ndots", "value": "2"}]},
        "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["x"]}],
        "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn"}},
    },
)

# By name, for tests that go over all of them.
ALL = {
    "nothing": {},
    "s3": S3,
    "s3-elsewhere": S3_ELSEWHERE,
    "bundled": BUNDLED,
    "external": EXTERNAL,
    "sentinel": SENTINEL,
    "cluster-tls": CLUSTER_TLS,
    "url-secret": URL_SECRET,
    "shared-volume": SHARED_VOLUME,
    "in-redis": IN_REDIS,
    "memory": MEMORY,
    "tokens": TOKENS,
    "controller": CONTROLLER,
    "controller-of-issuer": merged(S3, ISSUER, {"controller": {"enabled": True, "existingSecret": "mine", "serverUrl": "https://fsync.example.com", "gcSchedule": "6h"}}),
    "issuer": ISSUER,
    "tls": TLS,
    "telemetry": TELEMETRY,
    "monitors": MONITORS,
    "hpa": HPA,
    "keda": KEDA,
    "plain": ingress("plain"),
    "traefik": ingress("traefik", tls={"enabled": True, "secretName": "web"}),
    "haproxy": ingress("haproxy"),
    "nginx-tls": NGINX_TLS,
    "nginx-to-tls": merged(NGINX_TLS, TLS),
    "alb": ALB,
    "gateway": GATEWAY,
    "extras": EXTRAS,
}
