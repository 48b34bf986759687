{{- define "nslookout.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "nslookout.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- $name := include "nslookout.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "nslookout.selector" -}}
app.kubernetes.io/name: {{ include "nslookout.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "nslookout.labels" -}}
{{ include "nslookout.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "nslookout.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "nslookout.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "nslookout.image" -}}
{{- with .Values.image }}
{{- if .digest }}
{{- printf "%s@%s" .repository .digest }}
{{- else }}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Does the agent look into other processes? "true" or nothing. */}}
{{- define "nslookout.looksIntoProcesses" -}}
{{- if or .Values.identity.process .Values.netns.enabled }}true{{ end }}
{{- end }}

{{- /* The capabilities that are added, as a JSON list. */}}
{{- define "nslookout.capabilities" -}}
{{- $add := list }}
{{- with .Values.capabilities }}
{{- if .ebpf }}{{ $add = concat $add (list "BPF" "NET_ADMIN") }}{{ end }}
{{- if and .ebpf .perfmon }}{{ $add = append $add "PERFMON" }}{{ end }}
{{- if .netRaw }}{{ $add = append $add "NET_RAW" }}{{ end }}
{{- if .sysResource }}{{ $add = append $add "SYS_RESOURCE" }}{{ end }}
{{- end }}
{{- if include "nslookout.looksIntoProcesses" . }}{{ $add = append $add "SYS_PTRACE" }}{{ end }}
{{- if .Values.netns.enabled }}{{ $add = append $add "SYS_ADMIN" }}{{ end }}
{{- concat $add .Values.capabilities.extra | uniq | toJson }}
{{- end }}

{{- /* A value of TOML. Helm reads every number of a values file as a float. */}}
{{- define "nslookout.tomlValue" -}}
{{- if kindIs "slice" . }}
{{- $items := list }}
{{- range . }}{{ $items = append $items (include "nslookout.tomlValue" .) }}{{ end }}
{{- printf "[%s]" (join ", " $items) }}
{{- else if and (kindIs "float64" .) (eq . (floor .)) }}{{ int64 . }}
{{- else }}{{ toJson . }}
{{- end }}
{{- end }}

{{- /* The configuration file of `nslookout serve`. */}}
{{- define "nslookout.config" -}}
{{- $config := deepCopy .Values.config }}
{{- $address := .Values.listen.address }}
{{- if contains ":" $address }}{{ $address = printf "[%s]" $address }}{{ end }}
{{- $_ := set $config "listen" (printf "%s:%d" $address (int64 .Values.listen.port)) }}
{{- $sources := list }}
{{- with .Values.identity }}
{{- if .kubernetes }}{{ $sources = append $sources "kubernetes" }}{{ end }}
{{- if .process }}{{ $sources = append $sources "processes" }}{{ end }}
{{- if .imds }}{{ $sources = append $sources "imds" }}{{ end }}
{{- end }}
{{- /* All is the default, with which a source that is not here says nothing. */}}
{{- if lt (len $sources) 3 }}{{ $_ := set $config "identity" (default "none" (join "," $sources)) }}{{ end }}
{{- $lines := list }}
{{- range $key, $value := $config }}
{{- if not (kindIs "map" $value) }}
{{- $lines = append $lines (printf "%s = %s" $key (include "nslookout.tomlValue" $value)) }}
{{- end }}
{{- end }}
{{- range $key, $value := $config }}
{{- if kindIs "map" $value }}
{{- $lines = append $lines (printf "\n[%s]" $key) }}
{{- range $inner, $innerValue := $value }}
{{- $lines = append $lines (printf "%s = %s" (toJson $inner) (include "nslookout.tomlValue" $innerValue)) }}
{{- end }}
{{- end }}
{{- end }}
{{- join "\n" $lines }}
{{- end }}

{{- /* A probe of one path. A server that is bound to one address answers nowhere else. */}}
{{- define "nslookout.probe" -}}
httpGet:
  path: {{ .path }}
  port: metrics
  {{- if not (has .root.Values.listen.address (list "0.0.0.0" "::")) }}
  host: {{ .root.Values.listen.address | quote }}
  {{- end }}
{{ toYaml .settings }}
{{- end }}

{{- /* What a Datadog agent reads from the pod's annotation. */}}
{{- define "nslookout.datadog" -}}
{{- $port := int64 .Values.listen.port }}
{{- $endpoint := printf "http://%%%%host%%%%:%d/metrics" $port }}
{{- $instance := dict "openmetrics_endpoint" $endpoint "namespace" "nslookout" "raw_metric_prefix" "nslookout_" }}
{{- $_ := set $instance "metrics" .Values.datadog.metrics }}
{{- $_ := set $instance "max_returned_metrics" (int64 .Values.datadog.maxReturnedMetrics) }}
{{- /* `version` would be taken for that of the scraped service (unified service tagging). */}}
{{- $_ := set $instance "rename_labels" (dict "version" "agent_version") }}
{{- dict "openmetrics" (dict "init_config" dict "instances" (list $instance)) | toJson }}
{{- end }}
