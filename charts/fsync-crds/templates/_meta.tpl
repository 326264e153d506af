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
