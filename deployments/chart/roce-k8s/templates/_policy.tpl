{{/* The policy file's text, empty if there is none. The state folder is the DaemonSet's volume and the plugin's alike. */}}
{{- define "roce-k8s.policy" -}}
{{- $policy := deepCopy .Values.policy -}}
{{- $given := not (empty $policy) -}}
{{- if kindIs "string" $policy -}}
{{- $policy = $policy | default "{}" | fromJson -}}
{{- with $policy.Error }}{{ fail (printf "policy is no JSON object: %s" .) }}{{ end -}}
{{- end -}}
{{- if ne ($policy.stateDir | default .Values.stateDir) .Values.stateDir -}}
{{- fail (printf "policy.stateDir is %s, stateDir is %s; they are one folder: set stateDir, and leave it out of policy" $policy.stateDir .Values.stateDir) -}}
{{- end -}}
{{- if ne .Values.stateDir "/var/lib/cni/roce-host-device" -}}
{{- $_ := set $policy "stateDir" .Values.stateDir -}}
{{- end -}}
{{- if or $given $policy }}{{ toPrettyJson $policy }}{{ end -}}
{{- end -}}
