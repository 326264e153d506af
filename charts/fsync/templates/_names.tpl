{{/* Names, labels and images. */}}

{{- define "fsync.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* 46 characters, so that the suffixes of this chart fit into the 63 of a label. */}}
{{- define "fsync.fullname" -}}
{{- $name := include "fsync.name" . -}}
{{- $full := .Values.fullnameOverride -}}
{{- if not $full -}}
{{- $full = ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- end -}}
{{- $full | trunc 46 | trimSuffix "-" -}}
{{- end -}}

{{- define "fsync.selector" -}}
app.kubernetes.io/name: {{ include "fsync.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* What every object has. Takes {ctx, component, annotations}. */}}
{{- define "fsync.meta" -}}
{{- $ctx := .ctx -}}
namespace: {{ $ctx.Release.Namespace }}
labels:
  {{- include "fsync.selector" $ctx | nindent 2 }}
  app.kubernetes.io/component: {{ .component }}
  app.kubernetes.io/version: {{ $ctx.Chart.AppVersion | quote }}
  app.kubernetes.io/managed-by: {{ $ctx.Release.Service }}
  helm.sh/chart: {{ printf "%s-%s" $ctx.Chart.Name $ctx.Chart.Version | replace "+" "_" }}
  {{- with $ctx.Values.commonLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (default dict .annotations | deepCopy) $ctx.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Takes {ctx, image}; a digest wins over a tag, a mirror over the registry. */}}
{{- define "fsync.image" -}}
{{- $registry := default .image.registry .ctx.Values.global.imageRegistry -}}
{{- $name := printf "%s/%s" $registry .image.repository | trimPrefix "/" -}}
{{- if .image.digest -}}
{{- printf "%s@%s" $name .image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default .ctx.Chart.AppVersion .image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "fsync.pullSecrets" -}}
{{- with .Values.global.imagePullSecrets -}}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "fsync.serviceAccount" -}}
{{- default (ternary (include "fsync.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "fsync.redisSecret" -}}
{{- default (printf "%s-redis" (include "fsync.fullname" .)) .Values.redis.bundled.existingSecret -}}
{{- end -}}

{{- define "fsync.authSecret" -}}
{{- default (printf "%s-auth" (include "fsync.fullname" .)) .Values.auth.hs256.existingSecret -}}
{{- end -}}

{{/* The credential that server and controller have in common. */}}
{{- define "fsync.adminSecret" -}}
{{- default (printf "%s-admin" (include "fsync.fullname" .)) .Values.controller.existingSecret -}}
{{- end -}}

{{- define "fsync.claim" -}}
{{- default (printf "%s-data" (include "fsync.fullname" .)) .Values.persistence.existingClaim -}}
{{- end -}}

{{/* Whether the pods use a volume: for contents, or for an embedded journal. Empty is no. */}}
{{- define "fsync.usesClaim" -}}
{{- if or (eq .Values.blobs.type "file") (and (eq .Values.redis.mode "none") (ne .Values.blobs.type "memory")) -}}
yes
{{- end -}}
{{- end -}}

{{/* Whether there may be more than one replica. Empty is no. */}}
{{- define "fsync.hasSeveral" -}}
{{- if or .Values.autoscaling.enabled .Values.autoscaling.keda.enabled (gt (int .Values.replicas) 1) -}}
yes
{{- end -}}
{{- end -}}

{{- define "fsync.scheme" -}}
{{- ternary "https" "http" .Values.tls.enabled -}}
{{- end -}}
