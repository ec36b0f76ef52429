{{/* Parts of pods. */}}

{{/* Fields of every pod of the release. */}}
{{- define "parley.podBasics" -}}
automountServiceAccountToken: false
# Otherwise Kubernetes sets PARLEY_… variables for services, which look like configuration.
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Fields of every container. */}}
{{- define "parley.containerBasics" -}}
image: {{ include "parley.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
{{- end }}

{{/* The mounts of the server and of its migrations. */}}
{{- define "parley.mounts" -}}
- name: config
  mountPath: /etc/parley
  readOnly: true
{{- with include "parley.secretMounts" (list . (list "database")) | trim }}
{{ . }}
{{- end }}
{{- if eq .Values.database.engine "sqlite" }}
- name: data
  mountPath: /data
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}
