{{/* How values become configuration. */}}

{{/* A number, text or truth as TOML. Helm hands whole numbers on as floating ones, and JSON text is TOML text. */}}
{{- define "parley.tomlValue" -}}
{{- if kindIs "float64" . -}}
{{- if eq (floor .) . }}{{ int64 . }}{{ else }}{{ . }}{{ end -}}
{{- else -}}
{{ toJson . }}
{{- end -}}
{{- end }}

{{/* The file that PARLEY_CONFIG names. */}}
{{- define "parley.toml" -}}
{{- $config := deepCopy .Values.config -}}
{{- if eq .Values.database.engine "sqlite" -}}
{{- $_ := set $config "database" (merge (dict "url" "sqlite:///data/parley.db?mode=rwc") ($config.database | default dict)) -}}
{{- end -}}
{{- range $table, $keys := $config }}
{{- if $keys }}
[{{ $table }}]
{{- range $key, $value := $keys }}
{{ $key }} = {{ include "parley.tomlValue" $value }}
{{- end }}
{{ end }}
{{- end }}
{{- end }}

{{/* The variable of the database's Secret. */}}
{{- define "parley.databaseEnv" -}}
{{- if eq .Values.database.engine "postgres" -}}
- name: PARLEY_DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ .Values.database.existingSecret }}
      key: {{ .Values.database.existingSecretKey }}
{{- end }}
{{- end }}

{{/* What a migration reads. */}}
{{- define "parley.env" -}}
- name: PARLEY_CONFIG
  value: /etc/parley/parley.toml
{{- with include "parley.databaseEnv" . }}
{{ . }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Where somebody else migrates, or did. */}}
{{- define "parley.migrateEnv" -}}
{{- if ne .Values.migrations.mode "initContainer" -}}
- name: PARLEY_DATABASE_MIGRATE
  value: "false"
{{- end }}
{{- end }}

{{/* What the server reads besides. */}}
{{- define "parley.mailEnv" -}}
{{- with .Values.mail }}
{{- if .existingSecret -}}
- name: PARLEY_MAIL_URL
  valueFrom:
    secretKeyRef:
      name: {{ .existingSecret }}
      key: {{ .existingSecretKey }}
{{- end }}
{{- end }}
{{- end }}

{{/* What the server reads besides, for its replicas. */}}
{{- define "parley.natsEnv" -}}
{{- with .Values.nats }}
{{- if .existingSecret -}}
- name: PARLEY_NATS_URL
  valueFrom:
    secretKeyRef:
      name: {{ .existingSecret }}
      key: {{ .existingSecretKey }}
{{- end }}
{{- end }}
{{- end }}

{{/* Where the server's certificates are. */}}
{{- define "parley.tlsEnv" -}}
{{- if .Values.tls.existingSecret -}}
- name: PARLEY_TLS_CERT_FILE
  value: /etc/parley-tls/tls.crt
- name: PARLEY_TLS_KEY_FILE
  value: /etc/parley-tls/tls.key
{{- if .Values.tls.clientCertificates }}
- name: PARLEY_TLS_CLIENT_CA_FILE
  value: /etc/parley-tls/ca.crt
{{- end }}
{{- end }}
{{- end }}

{{/* What the server reads besides, while the database is empty. */}}
{{- define "parley.bootstrapEnv" -}}
{{- with .Values.bootstrap }}
{{- if .existingSecret -}}
- name: PARLEY_BOOTSTRAP_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ .existingSecret }}
      key: {{ .tokenKey }}
- name: PARLEY_BOOTSTRAP_PLATFORM_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ .existingSecret }}
      key: {{ .platformTokenKey }}
      optional: true
{{- end }}
{{- end }}
{{- end }}
