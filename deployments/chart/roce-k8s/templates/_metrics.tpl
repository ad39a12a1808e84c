{{/* Whether somebody outside of the node can scrape. */}}
{{- define "roce-k8s.scraped" -}}
{{- if or .Values.metrics.service .Values.serviceMonitor.enabled -}}
{{- if or (hasPrefix "127." .Values.metrics.address) (eq .Values.metrics.address "localhost") (eq .Values.metrics.address "[::1]") -}}
{{- fail (printf "metrics.address is %s, which no Prometheus in a pod reaches: set metrics.address, and docs/monitoring.md before that" .Values.metrics.address) -}}
{{- end -}}
yes
{{- end -}}
{{- end -}}

{{/* The Secrets to mount, a list. */}}
{{- define "roce-k8s.metricsSecrets" -}}
{{- if and (not .Values.metrics.tlsSecret) (or .Values.metrics.clientCASecret .Values.metrics.tokenSecret) -}}
{{- fail "metrics.clientCASecret and metrics.tokenSecret need metrics.tlsSecret: without TLS there are no certificates, and a token is anybody's" -}}
{{- end -}}
{{- $mounts := list -}}
{{- with .Values.metrics.tlsSecret }}{{ $mounts = append $mounts (dict "name" "metrics-tls" "path" "/run/metrics/tls" "secret" .) }}{{ end -}}
{{- with .Values.metrics.clientCASecret }}{{ $mounts = append $mounts (dict "name" "metrics-client-ca" "path" "/run/metrics/client-ca" "secret" .) }}{{ end -}}
{{- with .Values.metrics.tokenSecret }}{{ $mounts = append $mounts (dict "name" "metrics-token" "path" "/run/metrics/token" "secret" .) }}{{ end -}}
{{ toJson $mounts }}
{{- end -}}

{{/* The flags of the metrics, a list: none for what the program does anyway. */}}
{{- define "roce-k8s.metricsArgs" -}}
{{- $args := list -}}
{{- $address := printf "%s:%v" .Values.metrics.address .Values.metrics.port -}}
{{- if ne $address "127.0.0.1:9817" }}{{ $args = append $args (printf "--metrics-address=%s" $address) }}{{ end -}}
{{- if .Values.metrics.tlsSecret }}{{ $args = append $args "--metrics-tls-dir=/run/metrics/tls" }}{{ end -}}
{{- if .Values.metrics.clientCASecret }}{{ $args = append $args "--metrics-client-ca=/run/metrics/client-ca/ca.crt" }}{{ end -}}
{{- if .Values.metrics.tokenSecret }}{{ $args = append $args "--metrics-token-file=/run/metrics/token/token" }}{{ end -}}
{{ toJson $args }}
{{- end -}}
