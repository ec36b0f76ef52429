{{/* Checks that a schema cannot express: values that contradict each other. All violations are reported at once. */}}
{{- define "parley.checks" -}}
{{- $wrong := list -}}
{{- $v := .Values -}}
{{- $sqlite := eq $v.database.engine "sqlite" -}}
{{- if not $v.image.repository -}}
{{- $wrong = append $wrong "image.repository is empty: set it to the image in your registry, such as registry.example.com/parley." -}}
{{- end -}}
{{- if and (eq ($v.image.tag | toString) "latest") (not $v.image.digest) -}}
{{- $wrong = append $wrong "image.tag is latest, which does not identify a version: set a version." -}}
{{- end -}}
{{- if and (not $sqlite) (not $v.database.existingSecret) -}}
{{- $wrong = append $wrong "database.existingSecret is empty: name the Secret with the URL of the PostgreSQL database, or set database.engine: sqlite to try Parley out." -}}
{{- end -}}
{{- if and $sqlite (not $v.autoscaling.enabled) (ne (int64 $v.replicas) 1) -}}
{{- $wrong = append $wrong (printf "replicas is %d, but only one process can use a SQLite file: set replicas: 1, or use PostgreSQL (database.engine: postgres)." (int64 $v.replicas)) -}}
{{- end -}}
{{- if and $sqlite $v.autoscaling.enabled -}}
{{- $wrong = append $wrong "autoscaling.enabled is true, but only one process can use a SQLite file: use PostgreSQL (database.engine: postgres), or disable autoscaling." -}}
{{- end -}}
{{- if and $sqlite (eq $v.migrations.mode "job") -}}
{{- $wrong = append $wrong "migrations.mode is job, but a Job cannot open a SQLite file while the server has it open: set migrations.mode: initContainer." -}}
{{- end -}}
{{- if and $v.autoscaling.enabled (gt (int64 $v.autoscaling.minReplicas) (int64 $v.autoscaling.maxReplicas)) -}}
{{- $wrong = append $wrong (printf "autoscaling.minReplicas (%d) is greater than autoscaling.maxReplicas (%d)." (int64 $v.autoscaling.minReplicas) (int64 $v.autoscaling.maxReplicas)) -}}
{{- end -}}
{{- if and $v.autoscaling.enabled (not $v.autoscaling.targetCPUUtilizationPercentage) (not $v.autoscaling.targetOpenStreams) -}}
{{- $wrong = append $wrong "autoscaling.enabled is true, but it has no target: set autoscaling.targetCPUUtilizationPercentage or autoscaling.targetOpenStreams." -}}
{{- end -}}
{{- $least := add (int64 $v.preStopSleepSeconds) (int64 $v.config.shutdown.grace_seconds) -}}
{{- if not (kindIs "invalid" $v.terminationGracePeriodSeconds) -}}
{{- if le (int64 $v.terminationGracePeriodSeconds) $least -}}
{{- $wrong = append $wrong (printf "terminationGracePeriodSeconds is %d, but a pod may take %d seconds to terminate (preStopSleepSeconds + config.shutdown.grace_seconds): set a larger value, or leave it null." (int64 $v.terminationGracePeriodSeconds) $least) -}}
{{- end -}}
{{- end -}}
{{- $ports := dict -}}
{{- range $table := list "grpc" "http" "admin" -}}
{{- $addr := (index $v.config $table).addr -}}
{{- $port := include "parley.port" $addr -}}
{{- if regexMatch "^(127\\.|localhost:|\\[::1\\])" $addr -}}
{{- $wrong = append $wrong (printf "config.%s.addr is %s, which is not reachable from outside the pod: use 0.0.0.0:%s." $table $addr $port) -}}
{{- end -}}
{{- if eq (int64 $port) 0 -}}
{{- $wrong = append $wrong (printf "config.%s.addr is %s, but services need a fixed port: set one." $table $addr) -}}
{{- else if hasKey $ports $port -}}
{{- $wrong = append $wrong (printf "config.%s.addr and config.%s.addr have the same port, %s." (get $ports $port) $table $port) -}}
{{- end -}}
{{- $_ := set $ports $port $table -}}
{{- end -}}
{{- range $path, $map := dict "commonLabels" $v.commonLabels "podLabels" $v.podLabels "service.labels" $v.service.labels "serviceMonitor.labels" $v.serviceMonitor.labels "prometheusRule.labels" $v.prometheusRule.labels "dashboard.labels" $v.dashboard.labels -}}
{{- range $key := list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component" "app.kubernetes.io/managed-by" -}}
{{- if hasKey ($map | default dict) $key -}}
{{- $wrong = append $wrong (printf "%s has %s, which selectors or Helm use to find the chart's objects: remove it." $path $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if hasKey ($v.podAnnotations | default dict) "checksum/config" -}}
{{- $wrong = append $wrong "podAnnotations has checksum/config, which restarts the pods when the configuration changes: remove it." -}}
{{- end -}}
{{- if hasKey ($v.persistence.annotations | default dict) "helm.sh/resource-policy" -}}
{{- $wrong = append $wrong "persistence.annotations has helm.sh/resource-policy: use persistence.retain." -}}
{{- end -}}
{{- $containers := list "parley" "migrate" -}}
{{- range concat ($v.extraInitContainers | default list) ($v.extraContainers | default list) -}}
{{- if has .name $containers -}}
{{- $wrong = append $wrong (printf "extraInitContainers or extraContainers has a container %s, but another container of the pod has that name: choose another name." .name) -}}
{{- end -}}
{{- $containers = append $containers .name -}}
{{- end -}}
{{- $volumes := list "config" "data" "tls" -}}
{{- range $v.extraVolumes -}}
{{- if or (has .name $volumes) (hasPrefix "secret-" .name) -}}
{{- $wrong = append $wrong (printf "extraVolumes has a volume %s, but another volume of the pod has that name: choose another name." .name) -}}
{{- end -}}
{{- $volumes = append $volumes .name -}}
{{- end -}}
{{- $mounts := list "/etc/parley" "/etc/parley-tls" "/data" -}}
{{- range $v.extraVolumeMounts -}}
{{- $path := trimSuffix "/" .mountPath -}}
{{- if or (has $path $mounts) (hasPrefix "/etc/parley-secrets" $path) -}}
{{- $wrong = append $wrong (printf "extraVolumeMounts has %s, where another volume is mounted: choose another path." $path) -}}
{{- end -}}
{{- $mounts = append $mounts $path -}}
{{- end -}}
{{- $service := $v.service -}}
{{- if ne $service.type "LoadBalancer" -}}
{{- range $key := list "loadBalancerClass" "loadBalancerIP" "loadBalancerSourceRanges" -}}
{{- if index $service $key -}}
{{- $wrong = append $wrong (printf "service.%s is set, but service.type is %s: it applies only to LoadBalancer." $key $service.type) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if eq $service.type "ClusterIP" -}}
{{- if or $service.nodePorts.grpc $service.nodePorts.http -}}
{{- $wrong = append $wrong "service.nodePorts is set, but service.type is ClusterIP: it applies only to NodePort and LoadBalancer." -}}
{{- end -}}
{{- if and $service.externalTrafficPolicy (not $service.externalIPs) -}}
{{- $wrong = append $wrong "service.externalTrafficPolicy is set, but service.type is ClusterIP: it applies only to NodePort and LoadBalancer." -}}
{{- end -}}
{{- end -}}
{{- $variables := list "SERVICE_INSTANCE_ID" -}}
{{- range $v.extraEnv -}}
{{- if has .name $variables -}}
{{- $wrong = append $wrong (printf "extraEnv has %s, which is already set: remove one of them." .name) -}}
{{- end -}}
{{- $variables = append $variables .name -}}
{{- if eq .name "PARLEY_DATABASE_MIGRATE" -}}
{{- $wrong = append $wrong "extraEnv has PARLEY_DATABASE_MIGRATE: use migrations.mode." -}}
{{- end -}}
{{- if regexMatch "^PARLEY_(DATABASE_URL|BOOTSTRAP_TOKEN|BOOTSTRAP_PLATFORM_TOKEN|MAIL_URL|NATS_URL)(_FILE)?$" .name -}}
{{- $wrong = append $wrong (printf "extraEnv has %s, which is a secret: use database.existingSecret, bootstrap.existingSecret, mail.existingSecret and nats.existingSecret." .name) -}}
{{- end -}}
{{- if or (hasPrefix "PARLEY_TLS_" .name) (has .name (list "PARLEY_CONFIG" "PARLEY_GRPC_ADDR" "PARLEY_HTTP_ADDR" "PARLEY_ADMIN_ADDR" "PARLEY_SHUTDOWN_GRACE_SECONDS")) -}}
{{- $wrong = append $wrong (printf "extraEnv has %s, which the chart itself needs: use config." .name) -}}
{{- end -}}
{{- end -}}
{{- if and $v.tls.clientCertificates (not $v.tls.existingSecret) -}}
{{- $wrong = append $wrong "tls.clientCertificates is true, but tls.existingSecret is empty: name the Secret with tls.crt, tls.key and ca.crt." -}}
{{- end -}}
{{- if include "parley.speaksTls" (list $ "admin") -}}
{{- $wrong = append $wrong "config.tls.listeners has admin, but probes use the admin port without TLS: remove it." -}}
{{- end -}}
{{- $ownFiles := dig "tls" "cert_file" "" $v.config -}}
{{- if and $v.tls.existingSecret $ownFiles -}}
{{- $wrong = append $wrong "tls.existingSecret and config.tls.cert_file both set the certificate: remove one of them." -}}
{{- end -}}
{{- if and $ownFiles $v.test.enabled (include "parley.speaksTls" (list $ "grpc")) -}}
{{- $wrong = append $wrong "test.enabled is true, but the pod of helm test does not have the certificate authority of config.tls.cert_file: use tls.existingSecret, or set test.enabled: false." -}}
{{- end -}}
{{- range $listener := list "grpc" "http" -}}
{{- $protocol := index $v.service (printf "%sAppProtocol" $listener) -}}
{{- if and (include "parley.speaksTls" (list $ $listener)) (has $protocol (list "http" "kubernetes.io/h2c" "kubernetes.io/ws")) -}}
{{- $wrong = append $wrong (printf "service.%sAppProtocol is %s, but the port accepts only TLS: leave it empty." $listener $protocol) -}}
{{- end -}}
{{- end -}}
{{- range $name, $ingress := $v.ingress -}}
{{- if and $ingress.enabled (not $ingress.hosts) -}}
{{- $wrong = append $wrong (printf "ingress.%s.enabled is true, but ingress.%s.hosts is empty: name at least one host." $name $name) -}}
{{- end -}}
{{- end -}}
{{- range $name := list "grpcRoute" "httpRoute" -}}
{{- $route := index $v $name -}}
{{- if and $route.enabled (not $route.parentRefs) -}}
{{- $wrong = append $wrong (printf "%s.enabled is true, but %s.parentRefs is empty: name the gateway." $name $name) -}}
{{- end -}}
{{- end -}}
{{- $policy := $v.networkPolicy -}}
{{- if and $policy.enabled $v.serviceMonitor.enabled (not (or $policy.monitoring $policy.monitoringNamespaces)) -}}
{{- $wrong = append $wrong "serviceMonitor.enabled is true, but networkPolicy.monitoringNamespaces is empty, so Prometheus would have no access: name the namespace of Prometheus." -}}
{{- end -}}
{{- $outside := list -}}
{{- range $name, $ingress := $v.ingress -}}
{{- if $ingress.enabled -}}{{- $outside = append $outside (printf "ingress.%s.enabled is true" $name) -}}{{- end -}}
{{- end -}}
{{- range $name := list "grpcRoute" "httpRoute" -}}
{{- if (index $v $name).enabled -}}{{- $outside = append $outside (printf "%s.enabled is true" $name) -}}{{- end -}}
{{- end -}}
{{- if ne $v.service.type "ClusterIP" -}}{{- $outside = append $outside (printf "service.type is %s" $v.service.type) -}}{{- end -}}
{{- if and $policy.enabled $outside (not (or $policy.clients $policy.ingressNamespaces)) -}}
{{- $wrong = append $wrong (printf "%s, but networkPolicy.ingressNamespaces and networkPolicy.clients are empty, so nobody outside of the namespace would have access: name the namespace of the controller or gateway, or the addresses of callers." (join ", " $outside)) -}}
{{- end -}}
{{- if $wrong -}}
{{- fail (printf "\n%s\n" (join "\n" $wrong)) -}}
{{- end -}}
{{- end }}
