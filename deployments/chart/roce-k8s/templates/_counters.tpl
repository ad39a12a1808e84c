{{/* The container that reads counters in the namespaces of pods, of both DaemonSets. */}}
{{- define "roce-k8s.counters" -}}
- name: counters
  image: {{ include "roce-k8s.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  args:
    - counters
    - --log-format=json
    - --counters-socket=/run/counters/counters.sock
    {{- if ne .Values.logLevel "info" }}
    - --log-level={{ .Values.logLevel }}
    {{- end }}
  securityContext:
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities: {drop: [ALL], add: [SYS_ADMIN]}
  resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {memory: 64Mi}}
  volumeMounts:
    - {name: counters, mountPath: /run/counters}
    - {name: state, mountPath: /var/lib/cni/roce-host-device, readOnly: true}
    # Where container runtimes keep the namespaces of pods, by both names
    # that records have of it. What the host unmounts goes here as well, or
    # this would keep NICs of ended pods.
    - {name: netns, mountPath: /var/run/netns, readOnly: true, mountPropagation: HostToContainer}
    - {name: netns, mountPath: /run/netns, readOnly: true, mountPropagation: HostToContainer}
{{- end -}}
