{{/* Values that cannot work together are refused, each with a sentence that names the key and what to do. What one value
may be is in values.schema.json. */}}

{{- define "fsync.check" -}}
{{- $v := .Values -}}
{{- $several := include "fsync.hasSeveral" . -}}
{{- $hasRedis := ne $v.redis.mode "none" -}}

{{- if and $several (not $hasRedis) -}}
{{- fail "several replicas need a Redis that they share: set redis.mode to external (or bundled, for evaluation), or replicas to 1 and autoscaling off" -}}
{{- end -}}
{{- if and (eq $v.blobs.type "memory") $hasRedis -}}
{{- fail "blobs.type=memory is seen by one process only, and redis.mode shares trees with others: set blobs.type to s3, or redis.mode to none" -}}
{{- end -}}
{{- if and (eq $v.blobs.type "redis") (not $hasRedis) -}}
{{- fail "blobs.type=redis needs a Redis: set redis.mode to external or bundled" -}}
{{- end -}}
{{- if and $several (eq $v.blobs.type "file") (not (has "ReadWriteMany" $v.persistence.accessModes)) -}}
{{- fail "blobs.type=file with several replicas needs a volume that all of them can write: set blobs.type to s3, or persistence.accessModes to [ReadWriteMany] with a storage class that can do it" -}}
{{- end -}}
{{- if and (eq $v.blobs.type "s3") (not $v.blobs.s3.bucket) -}}
{{- fail "blobs.type=s3 needs blobs.s3.bucket, the name of a bucket that exists" -}}
{{- end -}}

{{- $e := $v.redis.external -}}
{{- if eq $v.redis.mode "external" -}}
{{- if not (or $e.hosts $e.urlSecret) -}}
{{- fail "redis.mode=external needs redis.external.hosts, or redis.external.urlSecret with the whole URL" -}}
{{- end -}}
{{- if and $e.hosts $e.urlSecret -}}
{{- fail "redis.external.hosts and redis.external.urlSecret both say where Redis is: keep one of them" -}}
{{- end -}}
{{- if and $e.urlSecret (or $e.existingSecret $e.username) -}}
{{- fail "redis.external.urlSecret is the whole URL: put user and password into it, and take redis.external.existingSecret and username away" -}}
{{- end -}}
{{- if and (eq $e.topology "sentinel") $e.hosts (not $e.sentinelService) -}}
{{- fail "redis.external.topology=sentinel needs redis.external.sentinelService, the name that the Sentinels give the master" -}}
{{- end -}}
{{- if and (eq $e.topology "standalone") (gt (len $e.hosts) 1) -}}
{{- fail "redis.external.topology=standalone takes one of redis.external.hosts: name one, or set topology to cluster or sentinel" -}}
{{- end -}}
{{- if and (eq $e.topology "cluster") (gt (int $e.database) 0) -}}
{{- fail "a Redis Cluster has database 0 only: set redis.external.database to 0" -}}
{{- end -}}
{{- if and $e.username (not $e.existingSecret) -}}
{{- fail "redis.external.username needs redis.external.existingSecret with the password" -}}
{{- end -}}
{{- if and $e.tls.caSecret $e.hosts (not $e.tls.enabled) -}}
{{- fail "redis.external.tls.caSecret is used with TLS only: set redis.external.tls.enabled to true" -}}
{{- end -}}
{{- else if or $e.hosts $e.urlSecret -}}
{{- fail (printf "redis.external is used with redis.mode=external only, and redis.mode is %s: set it to external, or take redis.external away" $v.redis.mode) -}}
{{- end -}}

{{- if and (eq $v.auth.mode "jwks") (not $v.auth.jwks.url) -}}
{{- fail "auth.mode=jwks needs auth.jwks.url, where the issuer's keys are" -}}
{{- end -}}
{{- if and (eq $v.auth.mode "jwks") (not (and $v.auth.jwks.issuer $v.auth.jwks.audience)) -}}
{{- fail "auth.mode=jwks needs auth.jwks.issuer and auth.jwks.audience: without them tokens that the issuer made for others would be taken" -}}
{{- end -}}
{{- if and $v.controller.enabled (eq $v.auth.mode "none") -}}
{{- fail "controller.enabled gives out tokens and rights, which a server with auth.mode=none does not ask for: set auth.mode to hs256, or to jwks for SyncTrees alone" -}}
{{- end -}}
{{- if and $v.tls.enabled (not $v.tls.existingSecret) -}}
{{- fail "tls.enabled needs tls.existingSecret, a secret of type kubernetes.io/tls" -}}
{{- end -}}

{{- $a := $v.autoscaling -}}
{{- if and $a.enabled $a.keda.enabled -}}
{{- fail "autoscaling.enabled and autoscaling.keda.enabled would both scale the server: switch one of them off" -}}
{{- end -}}
{{- if or $a.enabled $a.keda.enabled -}}
{{- if gt (int $a.minReplicas) (int $a.maxReplicas) -}}
{{- fail "autoscaling.minReplicas is above autoscaling.maxReplicas: raise the one or lower the other" -}}
{{- end -}}
{{- end -}}
{{- if and $a.enabled (not (or $a.cpuPercent $a.connections)) -}}
{{- fail "autoscaling.enabled needs a target: set autoscaling.cpuPercent or autoscaling.connections" -}}
{{- end -}}
{{- if and $a.enabled $a.cpuPercent (not (dig "requests" "cpu" "" $v.resources)) -}}
{{- fail "autoscaling.cpuPercent is a share of resources.requests.cpu, which is not set: set it, or autoscaling.cpuPercent to 0" -}}
{{- end -}}
{{- if and $a.keda.enabled (not $a.keda.prometheusUrl) -}}
{{- fail "autoscaling.keda.enabled needs autoscaling.keda.prometheusUrl" -}}
{{- end -}}

{{- if and (or $v.metrics.serviceMonitor.enabled $v.metrics.podMonitor.enabled) $v.networkPolicy.enabled (not $v.networkPolicy.admin) -}}
{{- fail "metrics.serviceMonitor and metrics.podMonitor let Prometheus ask the admin port, which networkPolicy closes: name Prometheus in networkPolicy.admin, or set networkPolicy.enabled to false" -}}
{{- end -}}
{{- include "fsync.checkIngress" . -}}
{{- include "fsync.checkNotYet" . -}}
{{- end -}}

{{- define "fsync.checkIngress" -}}
{{- $v := .Values -}}
{{- $i := $v.ingress -}}
{{- if eq $i.preset "none" -}}
{{- if $i.hosts -}}
{{- fail "ingress.hosts is not used with ingress.preset=none: set ingress.preset to your controller" -}}
{{- end -}}
{{- else -}}
{{- if and (not $i.hosts) (ne $i.preset "alb") -}}
{{- fail (printf "ingress.preset=%s needs ingress.hosts" $i.preset) -}}
{{- end -}}
{{- if and $i.tls.enabled (not $i.tls.secretName) (not (has $i.preset (list "alb" "gateway"))) -}}
{{- fail "ingress.tls.enabled needs ingress.tls.secretName, the secret of the certificate" -}}
{{- end -}}
{{- end -}}
{{- if and (eq $i.preset "gateway") (not $i.gateway.parentRefs) -}}
{{- fail "ingress.preset=gateway needs ingress.gateway.parentRefs, the Gateways that the route belongs to" -}}
{{- end -}}
{{- if and (eq $i.preset "gateway") $v.tls.enabled -}}
{{- fail "ingress.preset=gateway speaks plain HTTP to the server unless there is a BackendTLSPolicy: set tls.enabled to false, or make route and policy yourself in extraObjects and set ingress.preset to none" -}}
{{- end -}}
{{- if and (eq $i.preset "alb") $v.networkPolicy.enabled (not $v.networkPolicy.admin) -}}
{{- fail "ingress.preset=alb asks the admin port for health from the load balancer's addresses: name them in networkPolicy.admin (ipBlock of your subnets), or set networkPolicy.enabled to false" -}}
{{- end -}}
{{- if and (ne $v.service.type "NodePort") $v.service.nodePort -}}
{{- fail "service.nodePort is used with service.type=NodePort only" -}}
{{- end -}}
{{- if and (ne $v.service.type "LoadBalancer") (or $v.service.loadBalancerClass $v.service.loadBalancerSourceRanges) -}}
{{- fail "service.loadBalancerClass and loadBalancerSourceRanges are used with service.type=LoadBalancer only" -}}
{{- end -}}
{{- end -}}

{{/* Values that ask for what files/not-yet lists. */}}
{{- define "fsync.checkNotYet" -}}
{{- $v := .Values -}}
{{- $asked := dict -}}
{{- if eq $v.auth.mode "hs256" }}{{ $_ := set $asked "flag --auth-hs256-file" "auth.mode=hs256" }}{{ end -}}
{{- if eq $v.auth.mode "jwks" }}{{ $_ := set $asked "flag --auth-jwks" "auth.mode=jwks" }}{{ end -}}
{{- if $v.controller.enabled }}{{ $_ := set $asked "flag --admin-token-file" "controller.enabled" }}{{ end -}}
{{- if $v.tls.enabled }}{{ $_ := set $asked "flag --tls-cert-file" "tls.enabled" }}{{ end -}}
{{- if eq $v.blobs.type "redis" }}{{ $_ := set $asked "blobs redis" "blobs.type=redis" }}{{ end -}}
{{- if $v.metrics.serviceMonitor.enabled }}{{ $_ := set $asked "path /metrics" "metrics.serviceMonitor.enabled" }}{{ end -}}
{{- if $v.metrics.podMonitor.enabled }}{{ $_ := set $asked "path /metrics" "metrics.podMonitor.enabled" }}{{ end -}}
{{- if and $v.autoscaling.enabled $v.autoscaling.connections }}{{ $_ := set $asked "path /metrics" "autoscaling.connections" }}{{ end -}}
{{- if $v.autoscaling.keda.enabled }}{{ $_ := set $asked "path /metrics" "autoscaling.keda.enabled" }}{{ end -}}
{{- if $v.telemetry.endpoint }}{{ $_ := set $asked "otel otlp" "telemetry.endpoint" }}{{ end -}}
{{- range .Files.Get "files/not-yet" | splitList "\n" -}}
{{- with get $asked (trim .) -}}
{{- fail (printf "%s needs what fsync-server %s cannot do yet: take it away, or wait for a later version of this chart" . $.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}
{{- end -}}
