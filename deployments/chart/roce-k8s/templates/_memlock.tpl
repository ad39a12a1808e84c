{{/* The container that raises memlock limits, of both DaemonSets. */}}
{{- define "roce-k8s.memlock" -}}
- name: memlock
  image: {{ include "roce-k8s.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  args:
    - memlock
    - --log-format=json
    - --memlock-socket=/run/memlock/memlock.sock
    - --memlock-limit={{ .Values.memlock.limit }}
    {{- if ne .Values.logLevel "info" }}
    - --log-level={{ .Values.logLevel }}
    {{- end }}
  securityContext:
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities: {drop: [ALL]}
  resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {memory: 64Mi}}
  volumeMounts:
    - {name: memlock, mountPath: /run/memlock}
    # The folder: a runtime that restarts makes a new socket.
    - {name: nri, mountPath: /var/run/nri, readOnly: true}
{{- end -}}
