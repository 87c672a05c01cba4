{{- define "imagegate.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "imagegate.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "imagegate.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "imagegate.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "imagegate.selector" -}}
app.kubernetes.io/name: {{ include "imagegate.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "imagegate.labels" -}}
{{ include "imagegate.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "imagegate.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "imagegate.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "imagegate.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}{{ with .Values.image.digest }}@{{ . }}{{ end }}
{{- end -}}

{{/* SQLite is for one machine: two pods on it would be two ledgers, and every limit would hold twice. */}}
{{- define "imagegate.isSqlite" -}}
{{- if hasPrefix "sqlite:" .Values.store.url -}}
{{- if or (gt (int .Values.replicaCount) 1) .Values.autoscaling.enabled -}}
{{- fail "store.url is SQLite, which pods cannot share: set replicaCount to 1 and autoscaling.enabled to false, or name a Redis in store.url" -}}
{{- end -}}
{{- if not .Values.persistence.enabled -}}
{{- fail "store.url is SQLite and persistence.enabled is false: what was spent would go with the pod. Set it to true, or name a Redis in store.url" -}}
{{- end -}}
true
{{- end -}}
{{- end -}}

{{/* What would render, and not do what was meant. */}}
{{- define "imagegate.check" -}}
{{- if and .Values.persistence.enabled (or (gt (int .Values.replicaCount) 1) .Values.autoscaling.enabled) -}}
{{- fail "persistence.enabled is one volume, which pods on several nodes cannot share: set replicaCount to 1 and autoscaling.enabled to false, or persistence.enabled to false (with a Redis in store.url it is not needed)" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
{{- fail "autoscaling.minReplicas is more than autoscaling.maxReplicas" -}}
{{- end -}}
{{- range .Values.env -}}
{{- if has .name (list "IMAGEGATE_STORE__URL" "IMAGEGATE_CACHE__URL" "IMAGEGATE_SERVER__HOST" "IMAGEGATE_SERVER__PORT" "IMAGEGATE_OPS__HOST" "IMAGEGATE_OPS__PORT" "IMAGEGATE_SERVER__DRAIN_TIMEOUT_S") -}}
{{- fail (printf "env sets %s, which this chart sets: use store.url, cache.url, service, ops or drainSeconds" .name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The ports of a store's URL, each once: where pods have to get to. */}}
{{- define "imagegate.portsOf" -}}
{{- $rest := last (splitList "@" (last (splitList "://" .))) -}}
{{- $isSentinel := contains "+sentinel:" . -}}
{{- range splitList "," (first (splitList "/" $rest)) -}}
{{- $port := regexFind ":[0-9]+$" . | trimPrefix ":" -}}
{{ default (ternary "26379" "6379" $isSentinel) $port }} {{ if $isSentinel }}6379 {{ end }}
{{- end -}}
{{- end -}}
