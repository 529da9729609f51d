{{/* Changes the template of a pod in place. Arguments: root, template, own (values of the program), name. */}}
{{- define "thinkqueue.changePod" -}}
{{- $root := .root -}}
{{- $own := .own -}}
{{- $name := .name -}}
{{- $pod := .template.spec -}}
{{- $settings := include "thinkqueue.settings" $root -}}
{{- $annotations := merge (dict) ($own.podAnnotations | default dict) (.template.metadata.annotations | default dict) -}}
{{- if ne $name "valkey" -}}{{- $_ := set $annotations "checksum/settings" (sha256sum $settings) -}}{{- end -}}
{{- with $annotations -}}{{- $_ := set $.template.metadata "annotations" . -}}{{- end -}}
{{- with $root.Values.images.pullSecrets -}}{{- $_ := set $pod "imagePullSecrets" . -}}{{- end -}}
{{- range $field := list "nodeSelector" "affinity" "priorityClassName" "runtimeClassName" -}}
  {{- with get $own $field -}}{{- $_ := set $pod $field . -}}{{- end -}}
{{- end -}}
{{- if and $root.Values.priorityClasses.create (not $own.priorityClassName) (ne $name "fetch-model") -}}
  {{- $level := has $name (list "prepare" "generate") | ternary "batch" "serving" -}}
  {{- $_ := set $pod "priorityClassName" (printf "%s-thinkqueue-%s" $root.Release.Namespace $level) -}}
{{- end -}}
{{- with $own.tolerations -}}{{- $_ := set $pod "tolerations" (concat ($pod.tolerations | default list) .) -}}{{- end -}}
{{- if and $root.Values.zoneSpread (has $name (list "api" "prepare" "keeper")) -}}
  {{- $labels := dict "matchLabels" (dict "app.kubernetes.io/name" $name) -}}
  {{- $zones := dict "maxSkew" 1 "topologyKey" "topology.kubernetes.io/zone" "whenUnsatisfiable" "ScheduleAnyway" "labelSelector" $labels -}}
  {{- $_ := set $pod "topologySpreadConstraints" (append ($pod.topologySpreadConstraints | default list) $zones) -}}
{{- end -}}
{{- range $volume := $pod.volumes -}}
  {{- if and $root.Values.models.existingClaim $volume.persistentVolumeClaim -}}
    {{- $_ := set $volume.persistentVolumeClaim "claimName" $root.Values.models.existingClaim -}}
  {{- end -}}
{{- end -}}
{{- $tls := and $root.Values.redis.tlsSecret (not (has $name (list "valkey" "fetch-model"))) -}}
{{- if $tls -}}
  {{- $secret := dict "secretName" $root.Values.redis.tlsSecret "defaultMode" 288 -}}
  {{- $_ := set $pod "volumes" (append $pod.volumes (dict "name" "redis-tls" "secret" $secret)) -}}
{{- end -}}
{{- range $container := concat ($pod.initContainers | default list) $pod.containers -}}
  {{- $_ := set $container "image" (include "thinkqueue.image" (dict "root" $root "image" $container.image)) -}}
  {{- $_ := set $container "imagePullPolicy" $root.Values.images.pullPolicy -}}
  {{- if and $own.resources (eq $container.name $name) -}}
    {{- $_ := set $container "resources" (mergeOverwrite (deepCopy $container.resources) $own.resources) -}}
  {{- end -}}
  {{- if and $own.gpu (eq $container.name "generate") -}}
    {{- $_ := unset $container.resources.limits "nvidia.com/gpu" -}}
    {{- $_ := set $container.resources.limits $own.gpu.resource $own.gpu.count -}}
  {{- end -}}
  {{- if eq $container.name "prepare" -}}
    {{- include "thinkqueue.changeScratch" (dict "pod" $pod "container" $container "own" $own) -}}
  {{- end -}}
  {{- range $variable := $container.env -}}
    {{- with ($variable.valueFrom | default dict).secretKeyRef -}}{{- $_ := set . "name" $root.Values.secretName -}}{{- end -}}
  {{- end -}}
  {{- with $own.extraEnv -}}{{- $_ := set $container "env" (concat ($container.env | default list) .) -}}{{- end -}}
  {{- if $tls -}}
    {{- $mount := dict "name" "redis-tls" "mountPath" "/etc/redis-tls" "readOnly" true -}}
    {{- $_ := set $container "volumeMounts" (append $container.volumeMounts $mount) -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* Sets how many files a prepare pod opens at once and the size of /tmp, in place. Arguments: pod, container, own. */}}
{{- define "thinkqueue.changeScratch" -}}
{{- $own := .own -}}
{{- range $volume := .pod.volumes -}}
  {{- if eq $volume.name "tmp" -}}{{- $_ := set $volume.emptyDir "sizeLimit" (printf "%dGi" (int64 $own.scratchGiB)) -}}{{- end -}}
{{- end -}}
{{- range $variable := .container.env -}}
  {{- if eq $variable.name "SCRATCH_BYTES" -}}
    {{- $_ := set $variable "value" (mul (sub (int64 $own.scratchGiB) 1) 1073741824 | toString) -}}
  {{- else if and (eq $variable.name "DECODERS") $own.decoders -}}
    {{- $_ := unset $variable "valueFrom" -}}
    {{- $_ := set $variable "value" (int64 $own.decoders | toString) -}}
  {{- end -}}
{{- end -}}
{{- end -}}
