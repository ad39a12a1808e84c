{{/* The image, by tag or by digest. Without either it is that of the chart's version. */}}
{{- define "roce-k8s.image" -}}
{{- $tag := .Values.image.tag | default .Chart.AppVersion -}}
{{- .Values.image.repository }}{{ if hasPrefix "sha256:" $tag }}@{{ else }}:{{ end }}{{ $tag }}
{{- end -}}
{{/* The same for the image with the DRA driver. */}}
{{- define "roce-k8s.draImage" -}}
{{- $tag := .Values.dra.image.tag | default .Chart.AppVersion -}}
{{- .Values.dra.image.repository }}{{ if hasPrefix "sha256:" $tag }}@{{ else }}:{{ end }}{{ $tag }}
{{- end -}}
