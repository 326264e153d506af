{{/* Arguments and environment of the server, and how long it may take to end. */}}

{{- define "fsync.args" -}}
{{- $v := .Values -}}
{{- $s := $v.server -}}
{{- $args := list (printf "--listen=%s:8484" $s.bindAddress) (printf "--admin-listen=%s:9090" $s.bindAddress) -}}
{{- $args = append $args "--data-dir=/var/lib/fsync" -}}
{{- if ne $v.blobs.type "redis" -}}
{{- $args = append $args (printf "--blobs=%s" (include "fsync.blobs" .)) -}}
{{- end -}}
{{- if ne $v.redis.mode "none" -}}
{{- $args = append $args (printf "--redis-prefix=%s" $v.redis.prefix) -}}
{{- $args = append $args (printf "--drain-seconds=%d" (int $s.drainSeconds)) -}}
{{- if and (eq $v.redis.mode "external") $v.redis.external.tls.caSecret -}}
{{- $args = append $args (printf "--redis-ca-file=/etc/fsync/redis-ca/%s" $v.redis.external.tls.caKey) -}}
{{- end -}}
{{- end -}}
{{- if eq $v.auth.mode "none" -}}
{{- $args = append $args "--insecure-no-auth" -}}
{{- else if eq $v.auth.mode "hs256" -}}
{{- $args = append $args (printf "--auth-hs256-file=/etc/fsync/auth/%s" $v.auth.hs256.secretKey) -}}
{{- else -}}
{{- $j := $v.auth.jwks -}}
{{- $args = concat $args (list (printf "--auth-jwks=%s" $j.url) (printf "--auth-issuer=%s" $j.issuer) (printf "--auth-audience=%s" $j.audience)) -}}
{{- end -}}
{{- if $v.controller.enabled -}}
{{- $args = append $args "--admin-token-file=/etc/fsync/admin/token" -}}
{{- end -}}
{{- if $v.tls.enabled -}}
{{- $args = concat $args (list "--tls-cert-file=/etc/fsync/tls/tls.crt" "--tls-key-file=/etc/fsync/tls/tls.key") -}}
{{- end -}}
{{- $args = concat $args (list (printf "--retain=%s" $s.retain) (printf "--retain-revisions=%d" (int $s.retainRevisions))) -}}
{{- $args = concat $args (list (printf "--gc-grace=%s" $s.gcGrace) (printf "--gc-interval=%s" $s.gcInterval)) -}}
{{- $args = concat $args (list (printf "--log-level=%s" $s.logLevel) (printf "--log-format=%s" $s.logFormat)) -}}
{{- toYaml (concat $args $v.extraArgs) -}}
{{- end -}}

{{- define "fsync.blobs" -}}
{{- $b := .Values.blobs -}}
{{- if eq $b.type "file" -}}
file:///var/lib/fsync/blobs
{{- else if eq $b.type "memory" -}}
memory:
{{- else -}}
{{- $query := list -}}
{{- with $b.s3.endpoint }}{{ $query = append $query (printf "endpoint=%s" .) }}{{ end -}}
{{- with $b.s3.region }}{{ $query = append $query (printf "region=%s" .) }}{{ end -}}
{{- $at := printf "s3://%s" $b.s3.bucket -}}
{{- with $b.s3.prefix }}{{ $at = printf "%s/%s" $at (trimAll "/" .) }}{{ end -}}
{{- with $query }}{{ $at = printf "%s?%s" $at (join "&" .) }}{{ end -}}
{{- $at -}}
{{- end -}}
{{- end -}}

{{/* Secrets come as environment, never as arguments, which anybody on the node may read. */}}
{{- define "fsync.env" -}}
{{- $v := .Values }}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
{{- if ne $v.redis.mode "none" }}
{{- include "fsync.redisEnv" . }}
{{- end }}
{{- if eq $v.blobs.type "redis" }}
- name: FSYNC_BLOBS
  value: $(FSYNC_REDIS)
{{- end }}
{{- if eq $v.blobs.type "s3" }}
{{- with $v.blobs.s3.existingSecret }}
{{- range $name := list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" "AWS_SESSION_TOKEN" }}
- name: {{ $name }}
  valueFrom: {secretKeyRef: {name: {{ $v.blobs.s3.existingSecret }}, key: {{ $name }}{{ if eq $name "AWS_SESSION_TOKEN" }}, optional: true{{ end }}}}
{{- end }}
{{- end }}
{{- if $v.blobs.s3.caSecret }}
- name: AWS_CA_BUNDLE
  value: /etc/fsync/s3-ca/ca.crt
{{- end }}
{{- end }}
{{- include "fsync.telemetryEnv" (dict "ctx" . "name" "fsync-server") }}
{{- with $v.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "fsync.redisEnv" -}}
{{- $e := .Values.redis.external }}
{{- if eq .Values.redis.mode "bundled" }}
- name: FSYNC_REDIS_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ include "fsync.redisSecret" . }}, key: password}}
- name: FSYNC_REDIS
  value: "redis://fsync:$(FSYNC_REDIS_PASSWORD)@{{ include "fsync.fullname" . }}-redis:6379"
{{- else if $e.urlSecret }}
- name: FSYNC_REDIS
  valueFrom: {secretKeyRef: {name: {{ $e.urlSecret }}, key: {{ $e.urlKey }}}}
{{- else }}
{{- if $e.existingSecret }}
- name: FSYNC_REDIS_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ $e.existingSecret }}, key: {{ $e.passwordKey }}}}
{{- end }}
- name: FSYNC_REDIS
  value: {{ include "fsync.redisUrl" . | quote }}
{{- end }}
{{- end -}}

{{- define "fsync.redisUrl" -}}
{{- $e := .Values.redis.external -}}
{{- $kind := get (dict "standalone" "" "sentinel" "-sentinel" "cluster" "-cluster") $e.topology -}}
{{- $login := "" -}}
{{- if $e.existingSecret }}{{ $login = printf "%s:$(FSYNC_REDIS_PASSWORD)@" $e.username }}{{ end -}}
{{- $query := list -}}
{{- if eq $e.topology "sentinel" }}{{ $query = append $query (printf "sentinelServiceName=%s" $e.sentinelService) }}{{ end -}}
{{- range rest $e.hosts }}{{ $query = append $query (printf "node=%s" .) }}{{ end -}}
{{- printf "%s%s://%s%s" (ternary "rediss" "redis" $e.tls.enabled) $kind $login (first $e.hosts) -}}
{{- if $e.database }}/{{ int $e.database }}{{ end -}}
{{- with $query }}?{{ join "&" . }}{{ end -}}
{{- end -}}

{{/* Takes {ctx, name}; nothing without a collector. */}}
{{- define "fsync.telemetryEnv" -}}
{{- $t := .ctx.Values.telemetry }}
{{- if $t.endpoint }}
- name: K8S_NODE_NAME
  valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
- name: OTEL_SERVICE_NAME
  value: {{ .name }}
- name: OTEL_RESOURCE_ATTRIBUTES
  {{- $about := printf "service.instance.id=$(POD_NAME),k8s.pod.name=$(POD_NAME),k8s.namespace.name=%s,k8s.node.name=$(K8S_NODE_NAME)" .ctx.Release.Namespace }}
  {{- range $name, $value := $t.resourceAttributes }}{{ $about = printf "%s,%s=%s" $about $name $value }}{{ end }}
  value: {{ $about | quote }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ $t.endpoint | quote }}
- name: OTEL_EXPORTER_OTLP_PROTOCOL
  value: {{ $t.protocol }}
- name: OTEL_TRACES_SAMPLER
  value: parentbased_traceidratio
- name: OTEL_TRACES_SAMPLER_ARG
  value: {{ $t.sampleRatio | quote }}
{{- with $t.headersSecret }}
- name: OTEL_EXPORTER_OTLP_HEADERS
  valueFrom: {secretKeyRef: {name: {{ . }}, key: headers}}
{{- end }}
{{- end }}
{{- end -}}

{{/* Seconds from SIGTERM to the end, at most: 5 for load balancers, then sockets are sent away over the drain time, then
uploads that still run have the same time once more, then 10 for tasks and journal. preStop comes before it. */}}
{{- define "fsync.grace" -}}
{{- $drain := ternary 0 (int .Values.server.drainSeconds) (eq .Values.redis.mode "none") -}}
{{- $lead := ternary 5 0 (gt $drain 0) -}}
{{- add (int .Values.server.preStopSeconds) $lead (mul 2 $drain) 10 -}}
{{- end -}}
