{{/* The objects of one file of k8s/base or k8s/keda, changed as the values say. Arguments: root, file. */}}
{{- define "thinkqueue.objects" -}}
{{- $root := .root -}}
{{- range $text := regexSplit "(?m)^---$" ($root.Files.Get .file) -1 }}
{{- $object := fromYaml $text }}
{{- if $object.kind }}
{{- if not (include "thinkqueue.omitted" (dict "root" $root "object" $object)) }}
{{- include "thinkqueue.change" (dict "root" $root "object" $object) }}
---
{{ toYaml $object }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The name of a program's values: podDeletionCost for pod-deletion-cost. */}}
{{- define "thinkqueue.key" -}}
{{- camelcase (replace "-" "_" .) | untitle -}}
{{- end -}}

{{- define "thinkqueue.labels" -}}
app.kubernetes.io/part-of: thinkqueue
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/instance: {{ .Release.Name }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{/* Settings as YAML: those of the base, over them objectStore, and over them settings. */}}
{{- define "thinkqueue.settings" -}}
{{- $settings := dict -}}
{{- range $line := splitList "\n" (.Files.Get "base/settings.env") -}}
{{- if and $line (not (hasPrefix "#" $line)) -}}
{{- $parts := splitn "=" 2 $line -}}
{{- $_ := set $settings $parts._0 $parts._1 -}}
{{- end -}}
{{- end -}}
{{- $store := dict "S3_CREDENTIALS" .Values.objectStore.credentials "S3_LIFECYCLE" .Values.objectStore.lifecycle -}}
{{- toYaml (merge (dict) .Values.settings $store $settings) -}}
{{- end -}}

{{/* An image name of the base as the values name it. Arguments: root, image. */}}
{{- define "thinkqueue.image" -}}
{{- $images := .root.Values.images -}}
{{- $names := dict "thinkqueue" $images.slim "thinkqueue-gpu" $images.gpu -}}
{{- if hasKey $names .image -}}
{{- $tag := $images.tag | default .root.Chart.AppVersion -}}
{{- $registry := empty $images.registry | ternary "" (printf "%s/" $images.registry) -}}
{{- printf "%s%s%s%s" $registry (get $names .image) (hasPrefix "sha256:" $tag | ternary "@" ":") $tag -}}
{{- else -}}
{{- $images.valkey -}}
{{- end -}}
{{- end -}}

{{/* "true" for an object that the values leave out. Arguments: root, object. */}}
{{- define "thinkqueue.omitted" -}}
{{- $values := .root.Values -}}
{{- $kind := .object.kind -}}
{{- $name := .object.metadata.name -}}
{{- $isValkey := hasPrefix "valkey" $name -}}
{{- if or
  (and (eq $kind "NetworkPolicy") (not $values.networkPolicies))
  (and $isValkey (not $values.redis.bundled))
  (and (eq $kind "PersistentVolumeClaim") $values.models.existingClaim)
-}}true{{- end -}}
{{- end -}}

{{/* Changes an object in place. Arguments: root, object. */}}
{{- define "thinkqueue.change" -}}
{{- $root := .root -}}
{{- $object := .object -}}
{{- $kind := $object.kind -}}
{{- $name := $object.metadata.name -}}
{{- $own := get $root.Values (include "thinkqueue.key" $name) | default dict -}}
{{- $_ := set $object.metadata "labels" (merge ($object.metadata.labels | default dict) (fromYaml (include "thinkqueue.labels" $root))) -}}
{{- if has $kind (list "Deployment" "StatefulSet") -}}
  {{- if hasKey $own "replicas" -}}{{- $_ := set $object.spec "replicas" $own.replicas -}}{{- end -}}
  {{- if and $root.Values.autoscaling.enabled (has $name (list "prepare" "generate")) -}}{{- $_ := unset $object.spec "replicas" -}}{{- end -}}
  {{- include "thinkqueue.changePod" (dict "root" $root "template" $object.spec.template "own" $own "name" $name) -}}
{{- else if eq $kind "CronJob" -}}
  {{- include "thinkqueue.changePod" (dict "root" $root "template" $object.spec.jobTemplate.spec.template "own" $own "name" $name) -}}
{{- else if eq $kind "HorizontalPodAutoscaler" -}}
  {{- $_ := set $object.spec "minReplicas" $own.minReplicas -}}
  {{- $_ := set $object.spec "maxReplicas" $own.maxReplicas -}}
{{- else if eq $kind "ServiceAccount" -}}
  {{- $shared := has $name (list "api" "prepare" "generate" "keeper") | ternary $root.Values.serviceAccountAnnotations dict -}}
  {{- with merge (dict) ($own.serviceAccountAnnotations | default dict) $shared -}}{{- $_ := set $object.metadata "annotations" . -}}{{- end -}}
{{- else if eq $kind "PersistentVolumeClaim" -}}
  {{- $_ := set $object.spec.resources.requests "storage" $root.Values.models.size -}}
  {{- with $root.Values.models.storageClass -}}{{- $_ := set $object.spec "storageClassName" . -}}{{- end -}}
{{- else if eq $kind "RoleBinding" -}}
  {{- $_ := set (first $object.subjects) "namespace" $root.Release.Namespace -}}
{{- else if eq $kind "TriggerAuthentication" -}}
  {{- $_ := set (first $object.spec.secretTargetRef) "name" $root.Values.secretName -}}
{{- else if eq $kind "ScaledObject" -}}
  {{- $limits := get $root.Values.autoscaling $name -}}
  {{- $_ := set $object.spec "minReplicaCount" $limits.minReplicas -}}
  {{- $_ := set $object.spec "maxReplicaCount" $limits.maxReplicas -}}
  {{- $_ := set $object.spec "initialCooldownPeriod" $root.Values.autoscaling.initialCooldownSeconds -}}
  {{- if not (kindIs "invalid" $root.Values.autoscaling.fallbackReplicas) -}}
    {{- $_ := set $object.spec "fallback" (dict "failureThreshold" 8 "replicas" $root.Values.autoscaling.fallbackReplicas) -}}
  {{- end -}}
  {{- $_ := set (first $object.spec.triggers).metadata "url" (printf "http://api.%s.svc/v1/autoscale" $root.Release.Namespace) -}}
{{- else if eq $kind "NetworkPolicy" -}}
  {{- include "thinkqueue.changePolicy" (dict "root" $root "object" $object "name" $name) -}}
{{- else if hasPrefix "ValidatingAdmissionPolicy" $kind -}}
  {{- $unique := printf "%s-%s" $root.Release.Namespace $name -}}
  {{- $_ := set $object.metadata "name" $unique -}}
  {{- if hasKey $object.spec "policyName" -}}{{- $_ := set $object.spec "policyName" $unique -}}{{- end -}}
{{- end -}}
{{- end -}}
