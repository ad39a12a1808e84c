{{/* The service account's name, empty for the namespace's own. */}}
{{- define "roce-k8s.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary "roce-k8s" "" .Values.serviceAccount.create) -}}
{{- end -}}
