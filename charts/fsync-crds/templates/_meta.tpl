{{/* Takes {ctx, name}. */}}
{{- define "crds.meta" -}}
{{- $ctx := .ctx -}}
name: {{ .name }}
labels:
  app.kubernetes.io/name: {{ $ctx.Chart.Name }}
  app.kubernetes.io/instance: {{ $ctx.Release.Name }}
  app.kubernetes.io/version: {{ $ctx.Chart.AppVersion | quote }}
  app.kubernetes.io/managed-by: {{ $ctx.Release.Service }}
  helm.sh/chart: {{ printf "%s-%s" $ctx.Chart.Name $ctx.Chart.Version }}
  {{- with $ctx.Values.commonLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (ternary (dict "helm.sh/resource-policy" "keep") dict $ctx.Values.keep) $ctx.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Conditions, as all kinds of Kubernetes have them. */}}
{{- define "crds.conditions" -}}
conditions:
  description: What is the case with the object, by type.
  type: array
  maxItems: 16
  x-kubernetes-list-type: map
  x-kubernetes-list-map-keys: [type]
  items:
    type: object
    required: [type, status, lastTransitionTime, reason, message]
    properties:
      type: {type: string, maxLength: 316}
      status: {type: string, enum: ["True", "False", Unknown]}
      observedGeneration: {type: integer, format: int64, minimum: 0}
      lastTransitionTime: {type: string, format: date-time}
      reason: {type: string, minLength: 1, maxLength: 1024}
      message: {type: string, maxLength: 32768}
observedGeneration:
  description: Generation of the spec that this status is about.
  type: integer
  format: int64
  minimum: 0
{{- end -}}

{{/* A name of a tree, tenant, agent or subject: the rule of the service. */}}
{{- define "crds.name" -}}
type: string
minLength: 1
maxLength: 64
pattern: ^[A-Za-z0-9][A-Za-z0-9._-]*$
{{- end -}}
