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
