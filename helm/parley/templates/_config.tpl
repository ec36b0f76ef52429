{{/* Converts values to configuration. */}}

{{/* A number, string or boolean as TOML. Helm passes integers as floats; a JSON string is a valid TOML string. */}}
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

{{/* The mount path of Secrets: a folder for each, a file for each key. Files, because the environment of a process is readable in /proc. */}}
{{- define "parley.secretsPath" -}}
/etc/parley-secrets
{{- end }}

{{/* The file with the database's URL. */}}
{{- define "parley.databaseEnv" -}}
{{- if eq .Values.database.engine "postgres" -}}
- name: PARLEY_DATABASE_URL_FILE
  value: {{ include "parley.secretsPath" . }}/database/{{ .Values.database.existingSecretKey }}
{{- end }}
{{- end }}

{{/* The volume of a Secret, with the given keys: `(list NAME SECRET KEYS)`. */}}
{{- define "parley.secretVolume" -}}
- name: secret-{{ index . 0 }}
  secret:
    secretName: {{ index . 1 }}
    # Readable by the pod's group (podSecurityContext.fsGroup).
    defaultMode: 0440
    items:
      {{- range index . 2 }}
      - {key: {{ . | quote }}, path: {{ . | quote }}}
      {{- end }}
{{- end }}

{{/* The volume of the Secret that migrations also need. */}}
{{- define "parley.databaseVolume" -}}
{{- if eq .Values.database.engine "postgres" -}}
{{ include "parley.secretVolume" (list "database" .Values.database.existingSecret (list .Values.database.existingSecretKey)) }}
{{- end }}
{{- end }}

{{/* The volumes of the other Secrets. */}}
{{- define "parley.secretVolumes" -}}
{{- range $name := list "mail" "nats" }}
{{- with index $.Values $name }}
{{- if .existingSecret }}
{{ include "parley.secretVolume" (list $name .existingSecret (list .existingSecretKey)) }}
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.bootstrap }}
{{- if .existingSecret }}
{{ include "parley.secretVolume" (list "bootstrap" .existingSecret (compact (list .tokenKey .platformTokenKey))) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Their mounts: `(list CONTEXT NAMES)`. */}}
{{- define "parley.secretMounts" -}}
{{- $context := index . 0 -}}
{{- range $name := index . 1 }}
{{- $sqlite := and (eq $name "database") (eq $context.Values.database.engine "sqlite") }}
{{- if and (index $context.Values $name).existingSecret (not $sqlite) }}
- name: secret-{{ $name }}
  mountPath: {{ include "parley.secretsPath" $context }}/{{ $name }}
  readOnly: true
{{- end }}
{{- end }}
{{- end }}

{{/* Variables of a migration. */}}
{{- define "parley.env" -}}
- name: PARLEY_CONFIG
  value: /etc/parley/parley.toml
{{- with include "parley.databaseEnv" . }}
{{ . }}
{{- end }}
{{- range .Values.extraEnv }}
{{- if not (and (eq .name "OTEL_RESOURCE_ATTRIBUTES") .value) }}
{{ toYaml (list .) }}
{{- end }}
{{- end }}
{{- with include "parley.resourceEnv" . }}
{{ . }}
{{- end }}
{{- end }}

{{/* The resource attributes of traces, metrics and logs. `service.instance.id` is the pod's UID, unless `extraEnv` sets it; the other
attributes of `extraEnv` follow. A variable with `valueFrom` replaces all attributes. */}}
{{- define "parley.resourceEnv" -}}
{{- $given := "" -}}
{{- $elsewhere := false -}}
{{- range .Values.extraEnv -}}
{{- if eq .name "OTEL_RESOURCE_ATTRIBUTES" -}}
{{- $given = .value | default "" -}}
{{- $elsewhere = not .value -}}
{{- end -}}
{{- end -}}
{{- if not $elsewhere -}}
{{- $own := contains "service.instance.id=" $given | ternary "" "service.instance.id=$(SERVICE_INSTANCE_ID)" -}}
- name: SERVICE_INSTANCE_ID
  valueFrom:
    fieldRef:
      fieldPath: metadata.uid
- name: OTEL_RESOURCE_ATTRIBUTES
  value: {{ join "," (compact (list $own $given)) | quote }}
{{- end }}
{{- end }}

{{/* If the server does not migrate itself. */}}
{{- define "parley.migrateEnv" -}}
{{- if ne .Values.migrations.mode "initContainer" -}}
- name: PARLEY_DATABASE_MIGRATE
  value: "false"
{{- end }}
{{- end }}

{{/* Additional variables of the server. */}}
{{- define "parley.mailEnv" -}}
{{- with .Values.mail }}
{{- if .existingSecret -}}
- name: PARLEY_MAIL_URL_FILE
  value: {{ include "parley.secretsPath" $ }}/mail/{{ .existingSecretKey }}
{{- end }}
{{- end }}
{{- end }}

{{/* Additional variables of the server, for communication between replicas. */}}
{{- define "parley.natsEnv" -}}
{{- with .Values.nats }}
{{- if .existingSecret -}}
- name: PARLEY_NATS_URL_FILE
  value: {{ include "parley.secretsPath" $ }}/nats/{{ .existingSecretKey }}
{{- end }}
{{- end }}
{{- end }}

{{/* The paths of the server's certificates. */}}
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

{{/* Additional variables of the server: the bootstrap tokens. */}}
{{- define "parley.bootstrapEnv" -}}
{{- with .Values.bootstrap }}
{{- if .existingSecret -}}
- name: PARLEY_BOOTSTRAP_TOKEN_FILE
  value: {{ include "parley.secretsPath" $ }}/bootstrap/{{ .tokenKey }}
{{- with .platformTokenKey }}
- name: PARLEY_BOOTSTRAP_PLATFORM_TOKEN_FILE
  value: {{ include "parley.secretsPath" $ }}/bootstrap/{{ . }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
