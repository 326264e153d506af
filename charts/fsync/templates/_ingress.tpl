{{/* Annotations that each preset sets. A cookie keeps a Socket.IO client that long-polls at its replica; agents need none. */}}

{{- define "fsync.ingressClass" -}}
{{- $usual := dict "traefik" "traefik" "haproxy" "haproxy" "nginx-community" "nginx" "alb" "alb" -}}
{{- default (get $usual .Values.ingress.preset) .Values.ingress.className -}}
{{- end -}}

{{/* Some controllers read them from the service. */}}
{{- define "fsync.ingressServiceAnnotations" -}}
{{- $i := .Values.ingress -}}
{{- if eq $i.preset "traefik" -}}
traefik.ingress.kubernetes.io/service.sticky.cookie: "true"
traefik.ingress.kubernetes.io/service.sticky.cookie.name: {{ $i.sticky.cookie | quote }}
traefik.ingress.kubernetes.io/service.sticky.cookie.secure: {{ $i.tls.enabled | quote }}
traefik.ingress.kubernetes.io/service.sticky.cookie.httponly: "true"
traefik.ingress.kubernetes.io/service.sticky.cookie.maxage: {{ int $i.sticky.maxAgeSeconds | quote }}
{{- if .Values.tls.enabled }}
traefik.ingress.kubernetes.io/service.serversscheme: https
{{- end }}
{{- else if eq $i.preset "haproxy" -}}
haproxy.org/cookie-persistence: {{ $i.sticky.cookie | quote }}
{{- if .Values.tls.enabled }}
haproxy.org/server-ssl: "true"
{{- end }}
{{- end -}}
{{- end -}}

{{- define "fsync.ingressAnnotations" -}}
{{- $i := .Values.ingress -}}
{{- $timeout := int $i.timeoutSeconds | quote -}}
{{- if eq $i.preset "nginx-community" -}}
{{- $nginx := "nginx.ingress.kubernetes.io" -}}
{{ $nginx }}/affinity: cookie
# `balanced` would move sessions when replicas are added.
{{ $nginx }}/affinity-mode: persistent
{{ $nginx }}/session-cookie-name: {{ $i.sticky.cookie | quote }}
{{ $nginx }}/session-cookie-path: /socket.io/
{{ $nginx }}/session-cookie-samesite: Lax
{{ $nginx }}/session-cookie-secure: {{ $i.tls.enabled | quote }}
{{ $nginx }}/session-cookie-max-age: {{ int $i.sticky.maxAgeSeconds | quote }}
# Else a pod that is gone is asked again and again.
{{ $nginx }}/session-cookie-change-on-failure: "true"
{{ $nginx }}/proxy-read-timeout: {{ $timeout }}
{{ $nginx }}/proxy-send-timeout: {{ $timeout }}
{{ $nginx }}/proxy-body-size: "0"
{{ $nginx }}/proxy-request-buffering: "off"
{{- if .Values.tls.enabled }}
{{ $nginx }}/backend-protocol: HTTPS
{{- end }}
{{- else if eq $i.preset "alb" -}}
{{- $alb := "alb.ingress.kubernetes.io" -}}
{{ $alb }}/target-type: ip
{{ $alb }}/target-group-attributes: stickiness.enabled=true,stickiness.type=lb_cookie,stickiness.lb_cookie.duration_seconds={{ int $i.sticky.maxAgeSeconds }},deregistration_delay.timeout_seconds=60
{{ $alb }}/load-balancer-attributes: idle_timeout.timeout_seconds={{ int $i.timeoutSeconds }}
{{ $alb }}/healthcheck-protocol: HTTP
{{ $alb }}/healthcheck-port: "9090"
{{ $alb }}/healthcheck-path: /readyz
{{ $alb }}/backend-protocol: {{ include "fsync.scheme" . | upper }}
{{ $alb }}/listen-ports: {{ ternary "[{\"HTTPS\":443}]" "[{\"HTTP\":80}]" $i.tls.enabled | squote }}
{{- end -}}
{{- end -}}
