{{- define "gastank.name" -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "gastank.selector" -}}
app.kubernetes.io/name: gastank
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "gastank.labels" -}}
{{ include "gastank.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}
