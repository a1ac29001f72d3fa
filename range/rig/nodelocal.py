"""NodeLocal DNSCache: a DaemonSet on the node's network that answers the node's pods from a cache and asks the cluster DNS for them.

Enters: the pod that the kubelet starts. Leaves: a running cache at 169.254.20.10 and at the DNS service's own address, its log as the
container runtime writes it. The program is CoreDNS with node-cache's Corefile and only plugins that node-cache has (so no dnstap):
node-cache itself is not to be had as a Go module. The addresses, the rules that keep kube-proxy away from them, and the Corefile's
placeholders are set by the range, as node-cache would.
"""
import subprocess
import sys

from . import netns, parts
from .control_plane import DNS_ADDRESS

LOCAL, VERSION, IMAGE = "169.254.20.10", "1.14.4", "registry.k8s.io/dns/k8s-dns-node-cache:1.26.7"
LABELS = {"k8s-app": "node-local-dns"}
META = {"name": "node-local-dns", "namespace": "kube-system"}


def block(zone, cache, upstream):
    return (f"{zone}:53 {{\n    errors\n    log\n    cache {cache}\n    reload\n    loop\n    bind __PILLAR__LOCAL__DNS__ __PILLAR__DNS__SERVER__\n"
            f"    forward . {upstream}\n    prometheus :9253\n}}\n")


CLUSTER = "__PILLAR__CLUSTER__DNS__ {\n        force_tcp\n    }"
COREFILE = "".join((
    block("cluster.local", "{\n        success 9984 30\n        denial 9984 5\n    }", CLUSTER), block("in-addr.arpa", "30", CLUSTER),
    block("ip6.arpa", "30", CLUSTER), block(".", "30", "__PILLAR__UPSTREAM__SERVERS__")))
RULES = f"""table ip node-local {{
  chain pre {{ type filter hook prerouting priority raw; ip daddr {{ {LOCAL}, {DNS_ADDRESS} }} meta l4proto {{ tcp, udp }} th dport 53 notrack; }}
  chain out {{ type filter hook output priority raw; ip daddr {{ {LOCAL}, {DNS_ADDRESS} }} meta l4proto {{ tcp, udp }} th dport 53 notrack;
    ip saddr {{ {LOCAL}, {DNS_ADDRESS} }} meta l4proto {{ tcp, udp }} th sport 53 notrack; }}
}}
"""


def objects():
    ports = [{"name": name, "port": 53, "protocol": proto, "targetPort": 53} for name, proto in (("dns", "UDP"), ("dns-tcp", "TCP"))]
    yield "serviceaccounts", {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": META}
    yield "configmaps", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": META, "data": {"Corefile": COREFILE}}
    yield "services", {"apiVersion": "v1", "kind": "Service", "metadata": {
        "name": "kube-dns-upstream", "namespace": "kube-system", "labels": {"k8s-app": "kube-dns", "kubernetes.io/name": "KubeDNSUpstream"}},
        "spec": {"ports": ports, "selector": {"k8s-app": "kube-dns"}}}
    yield "daemonsets", {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {**META, "labels": LABELS}, "spec": {
        "selector": {"matchLabels": LABELS}, "template": {"metadata": {"labels": LABELS}, "spec": {
            "serviceAccountName": "node-local-dns", "hostNetwork": True, "dnsPolicy": "Default", "priorityClassName": "system-node-critical",
            "tolerations": [{"key": "CriticalAddonsOnly", "operator": "Exists"}, {"effect": "NoExecute", "operator": "Exists"},
                            {"effect": "NoSchedule", "operator": "Exists"}],
            "containers": [{"name": "node-cache", "image": IMAGE, "args": [
                "-localip", f"{LOCAL},{DNS_ADDRESS}", "-conf", "/etc/Corefile", "-upstreamsvc", "kube-dns-upstream"]}],
            "volumes": [{"name": "config-volume", "configMap": {
                "name": "node-local-dns", "items": [{"key": "Corefile", "path": "Corefile.base"}]}}]}}}}


class NodeLocal:
    def __init__(self, plane, network, children, kubelet, folder, recording):
        self.plane, self.network, self.children, self.folder, self.recording = plane, network, children, folder, recording
        kubelet.cache_starter = self.start_program
        kubelet.cluster_dns = LOCAL

    def start(self):
        netns.ip_batch(self.network.node, [f"addr add {one}/32 dev lo" for one in (LOCAL, DNS_ADDRESS)])
        subprocess.run(netns.command(self.network.node, ["nft", "-f", "-"]), input=RULES, text=True, check=True, capture_output=True)
        for resource, obj in objects():
            self.plane.admin.apply(resource, obj)

    def start_program(self, pod):
        upstream = self.plane.admin.get("services", "kube-system", "kube-dns-upstream")["spec"]["clusterIP"]
        text = COREFILE
        for name, value in (("LOCAL__DNS", LOCAL), ("DNS__SERVER", DNS_ADDRESS), ("CLUSTER__DNS", upstream),
                            ("UPSTREAM__SERVERS", "/etc/resolv.conf")):
            text = text.replace(f"__PILLAR__{name}__", value)
        folder = self.folder / pod.name
        folder.mkdir()
        (folder / "Corefile").write_text(text)
        (folder / "resolv.conf").write_text("nameserver 203.0.113.53\n")
        logs = self.recording / "logs" / f"{pod.namespace}_{pod.name}_{pod.uid}" / "node-cache"
        logs.mkdir(parents=True, exist_ok=True)
        argv = netns.command(pod.netns, ["env", "-i", "GOMAXPROCS=2", parts.binary("coredns", VERSION), "-conf", str(folder / "Corefile")],
                             [(folder / "resolv.conf", "/etc/resolv.conf")])
        child = self.children.start(f"coredns-{pod.name}", argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for stream, pipe in (("stdout", child.stdout), ("stderr", child.stderr)):
            self.children.start(f"cri-{pod.name}", [sys.executable, str(parts.RANGE / "rig" / "cri.py"), stream,
                                                    str(logs / "0.log")], stdin=pipe)
        pod.programs.append(child)
