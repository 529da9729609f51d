{{/* Addresses as peers of a NetworkPolicy. */}}
{{- define "thinkqueue.peers" -}}
{{- range . }}
- ipBlock: { cidr: {{ . | quote }} }
{{- end }}
{{- end -}}

{{/* The public IPv4 addresses, as the policy `out` of the base has them. */}}
{{- define "thinkqueue.publicAddresses" -}}
{{- range $text := regexSplit "(?m)^---$" (.Files.Get "base/network.yaml") -1 -}}
{{- $object := fromYaml $text -}}
{{- if eq $object.metadata.name "out" -}}{{- toYaml (first (first $object.spec.egress).to) -}}{{- end -}}
{{- end -}}
{{- end -}}

{{/* Changes a NetworkPolicy in place. Arguments: root, object, name. */}}
{{- define "thinkqueue.changePolicy" -}}
{{- $values := .root.Values -}}
{{- $spec := .object.spec -}}
{{- if and (has .name (list "servers" "pod-deletion-cost")) (not $values.redis.bundled) -}}
  {{- if not $values.redis.networks -}}{{- fail "redis.networks must name the addresses of your Redis, because redis.bundled is false" -}}{{- end -}}
  {{- $ports := list -}}
  {{- range $values.redis.ports -}}{{- $ports = append $ports (dict "port" .) -}}{{- end -}}
  {{- $rule := dict "to" (fromYamlArray (include "thinkqueue.peers" $values.redis.networks)) "ports" $ports -}}
  {{- $_ := set $spec "egress" (prepend (rest $spec.egress) $rule) -}}
{{- else if eq .name "object-store" -}}
  {{- $ports := list (dict "port" $values.objectStore.port) -}}
  {{- if $values.objectStore.public -}}
    {{- $public := fromYaml (include "thinkqueue.publicAddresses" .root) -}}
    {{- $_ := set $spec "egress" (list (dict "to" (list $public) "ports" $ports)) -}}
  {{- else if $values.objectStore.networks -}}
    {{- $peers := fromYamlArray (include "thinkqueue.peers" $values.objectStore.networks) -}}
    {{- $_ := set $spec "egress" (list (dict "to" $peers "ports" $ports)) -}}
  {{- end -}}
{{- else if eq .name "names" -}}
  {{- if $values.dns.nodeLocal -}}
    {{- $rule := fromYaml "{ to: [{ ipBlock: { cidr: 169.254.20.10/32 } }], ports: [{ port: 53, protocol: UDP }, { port: 53, protocol: TCP }] }" -}}
    {{- $_ := set $spec "egress" (append $spec.egress $rule) -}}
  {{- end -}}
  {{- if $values.dns.openshift -}}
    {{- $rule := fromYaml "{ to: [{ namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: openshift-dns } } }], ports: [{ port: 5353, protocol: UDP }, { port: 5353, protocol: TCP }] }" -}}
    {{- $_ := set $spec "egress" (append $spec.egress $rule) -}}
  {{- end -}}
{{- end -}}
{{- end -}}
