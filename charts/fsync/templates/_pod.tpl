{{/* Parts of the server's pod. */}}

{{/* Secrets that are files, under /etc/fsync. */}}
{{- define "fsync.secretVolumes" -}}
{{- $v := .Values -}}
{{- $found := list -}}
{{- if and (eq $v.redis.mode "external") $v.redis.external.tls.caSecret -}}
{{- $found = append $found (dict "name" "redis-ca" "secret" $v.redis.external.tls.caSecret) -}}
{{- end -}}
{{- if and (eq $v.blobs.type "s3") $v.blobs.s3.caSecret -}}
{{- $found = append $found (dict "name" "s3-ca" "secret" $v.blobs.s3.caSecret) -}}
{{- end -}}
{{- if eq $v.auth.mode "hs256" -}}
{{- $found = append $found (dict "name" "auth" "secret" (include "fsync.authSecret" .)) -}}
{{- end -}}
{{- if $v.controller.enabled -}}
{{- $found = append $found (dict "name" "admin" "secret" (include "fsync.adminSecret" .)) -}}
{{- end -}}
{{- if $v.tls.enabled -}}
{{- $found = append $found (dict "name" "tls" "secret" $v.tls.existingSecret) -}}
{{- end -}}
{{- toYaml $found -}}
{{- end -}}

{{- define "fsync.scheduling" -}}
{{- $v := .Values -}}
topologySpreadConstraints:
  {{- if $v.topologySpreadConstraints }}
  {{- toYaml $v.topologySpreadConstraints | nindent 2 }}
  {{- else }}
  {{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - topologyKey: {{ $key }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    matchLabelKeys: [pod-template-hash]
    labelSelector:
      matchLabels:
        {{- include "fsync.selector" $ | nindent 8 }}
        app.kubernetes.io/component: server
  {{- end }}
  {{- end }}
{{- range $key := list "nodeSelector" "tolerations" "affinity" "hostAliases" "dnsConfig" }}
{{- with get $v $key }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- range $key := list "priorityClassName" "runtimeClassName" }}
{{- with get $v $key }}
{{ $key }}: {{ . }}
{{- end }}
{{- end }}
{{- end -}}
