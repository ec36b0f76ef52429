{{/* Names, labels, and parts that several objects share. */}}

{{- define "parley.name" -}}
{{ .Values.nameOverride | default .Chart.Name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* Short enough for the longest suffix. */}}
{{- define "parley.fullname" -}}
{{- $name := include "parley.name" . -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 48 | trimSuffix "-" }}
{{- else if contains $name .Release.Name -}}
{{ .Release.Name | trunc 48 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name $name | trunc 48 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{/* Labels that the server's pods have, and no other pods. */}}
{{- define "parley.selector" -}}
app.kubernetes.io/name: {{ include "parley.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: server
{{- end }}

{{/* Merges maps of labels or annotations into one, with each key once: later maps override earlier ones. */}}
{{- define "parley.merged" -}}
{{- $merged := dict -}}
{{- range $map := . -}}
{{- range $key, $value := $map -}}
{{- $_ := set $merged $key $value -}}
{{- end -}}
{{- end -}}
{{- with $merged }}{{ toYaml . }}{{ end -}}
{{- end }}

{{/* Labels of an object: (list root component), and a map of additional labels of this object. `parley.checks` refuses maps that would override a
label that selectors or Helm use. */}}
{{- define "parley.labels" -}}
{{- $root := index . 0 -}}
{{- $own := dict "app.kubernetes.io/part-of" "parley" "app.kubernetes.io/version" $root.Chart.AppVersion "helm.sh/chart" (printf "%s-%s" $root.Chart.Name ($root.Chart.Version | replace "+" "_")) -}}
{{- $fixed := dict "app.kubernetes.io/name" (include "parley.name" $root) "app.kubernetes.io/instance" $root.Release.Name "app.kubernetes.io/component" (index . 1) "app.kubernetes.io/managed-by" $root.Release.Service -}}
{{- $more := gt (len .) 2 | ternary (last .) dict -}}
{{- include "parley.merged" (list $own $root.Values.commonLabels $more $fixed) -}}
{{- end }}

{{- define "parley.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "parley.fullname" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end }}

{{- define "parley.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The port of an address of the configuration. */}}
{{- define "parley.port" -}}
{{ regexFind "[0-9]+$" . }}
{{- end }}

{{/* Not empty if a listener accepts only TLS: (list root listener). */}}
{{- define "parley.speaksTls" -}}
{{- $values := (index . 0).Values -}}
{{- if or $values.tls.existingSecret (dig "tls" "cert_file" "" $values.config) -}}
{{- if has (index . 1) (splitList "," (nospace (dig "tls" "listeners" "grpc,http" $values.config))) -}}true{{- end -}}
{{- end -}}
{{- end }}

{{/* The appProtocol of a port, for meshes and gateways: (list root listener). */}}
{{- define "parley.appProtocol" -}}
{{- $set := index (index . 0).Values.service (printf "%sAppProtocol" (index . 1)) -}}
{{- $plain := eq (index . 1) "grpc" | ternary "kubernetes.io/h2c" "http" -}}
{{ $set | default (include "parley.speaksTls" . | empty | ternary $plain "https") }}
{{- end }}

{{- define "parley.claimName" -}}
{{ .Values.persistence.existingClaim | default (printf "%s-data" (include "parley.fullname" .)) }}
{{- end }}

{{/* How long a pod may take to terminate, in seconds: it continues to serve, drains, and exports its last traces. */}}
{{- define "parley.endSeconds" -}}
{{ add (int64 .Values.preStopSleepSeconds) (int64 .Values.config.shutdown.grace_seconds) 10 }}
{{- end }}

{{/* Namespaces by name, as `from` of a rule of a NetworkPolicy. */}}
{{- define "parley.namespaces" -}}
{{- range . }}
- namespaceSelector:
    matchLabels:
      kubernetes.io/metadata.name: {{ . }}
{{- end }}
{{- end }}
