"""CoreDNS replicas: pods of one Deployment per version, with in-cluster credentials and the kubeadm Corefile.

Enters: pods that the kubelet starts. Leaves: running replicas; their log as the container runtime writes it, their dnstap
file. The Corefile comes from the ConfigMap kube-system/coredns, with the kubelet's lag when it changes.
"""
import http.client
import json
import socket
import subprocess
import sys
import threading
import time

from . import fstrm, netns, parts
from .control_plane import DNS_ADDRESS, DNS_ADDRESS6

COREFILE = """.:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    metadata
    log
    dnstap unix:///run/truename/dnstap.sock full
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus :9153
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30 {
       disable success cluster.local
       disable denial cluster.local
    }
    loop
    reload 4s 2s
    loadbalance
}
"""
RESOLV = "nameserver 203.0.113.53\n"
LABELS = {"k8s-app": "kube-dns"}


def service(dual):
    families = {"clusterIPs": [DNS_ADDRESS, DNS_ADDRESS6], "ipFamilyPolicy": "RequireDualStack",
                "ipFamilies": ["IPv4", "IPv6"]} if dual else {}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {
        "name": "kube-dns", "namespace": "kube-system", "labels": {
            "k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"}},
        "spec": {"clusterIP": DNS_ADDRESS, **families, "selector": LABELS, "ports": [
            {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
            {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53},
            {"name": "metrics", "port": 9153, "protocol": "TCP", "targetPort": 9153}]}}


def deployment(version, replicas=1):
    name = "coredns-" + version.replace(".", "-")
    labels = {**LABELS, "version": version}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {
        "name": name, "namespace": "kube-system", "labels": LABELS}, "spec": {
            "replicas": replicas, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": {
                "serviceAccountName": "coredns", "dnsPolicy": "Default", "containers": [{
                    "name": "coredns", "image": f"registry.k8s.io/coredns/coredns:v{version}",
                    "args": ["-conf", "/etc/coredns/Corefile"]}],
                "volumes": [{"name": "config-volume", "configMap": {
                    "name": "coredns", "items": [{"key": "Corefile", "path": "Corefile"}]}}]}}}}


def config_map(corefile):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "coredns", "namespace": "kube-system"},
            "data": {"Corefile": corefile}}


class Replicas:
    def __init__(self, plane, network, children, kubelet, folder, recording):
        self.plane, self.network, self.children, self.kubelet = plane, network, children, kubelet
        self.folder, self.recording = folder, recording
        self.lags, self.stopped, self.corefile = {}, False, COREFILE   # lags: replica's number -> seconds; else 1 s
        self.running = {}       # pod uid -> (pod, folder, receiver, restarts)
        self.receivers = []
        kubelet.replica_starter = self.start_replica
        self.api = plane.client("node", "kubelet/v1.36.3 (linux/amd64)")
        self.admin = plane.admin

    def start(self, versions, replicas=1):
        """The objects of the DNS add-on; the controllers and the kubelet do the rest."""
        self.admin.apply("services", service(self.network.dual))
        self.admin.apply("configmaps", config_map(self.corefile))
        for version in versions:
            self.admin.apply("deployments", deployment(version, replicas))
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self):
        try:
            self.admin.watch("configmaps", self._changed, lambda: self.stopped, "&fieldSelector=metadata.name%3Dcoredns")
        except Exception as error:
            if not self.stopped:
                print(f"coredns: {error}")

    def _changed(self, line):
        event = json.loads(line)
        if event["type"] == "BOOKMARK":
            return
        corefile = event["object"]["data"]["Corefile"]
        if corefile != self.corefile:
            self.corefile = corefile
            for number, pod in enumerate(self.list(), 1):
                threading.Timer(self.lags.get(number, 1.0), self._write, (pod, corefile)).start()

    def _write(self, pod, corefile):
        (self.running[pod.uid][1] / "etc" / "Corefile").write_text(corefile)

    def start_replica(self, pod):
        folder = self.folder / pod.name
        folder.mkdir()
        (folder / "tap").mkdir()
        account = folder / "account"
        account.mkdir()
        client = self.plane.token_client("kube-system", "coredns", "coredns")
        (account / "token").write_text(client.token)
        (account / "namespace").write_text("kube-system")
        (account / "ca.crt").write_bytes((self.plane.pki / "ca.crt").read_bytes())
        (folder / "etc").mkdir()
        (folder / "etc" / "Corefile").write_text(self.corefile)
        (folder / "resolv.conf").write_text(RESOLV)
        receiver = fstrm.Receiver(folder / "tap" / "dnstap.sock", self.recording / "dnstap" / f"{pod.name}.fstrm")
        self.receivers.append(receiver)
        self.running[pod.uid] = [pod, folder, receiver, 0]
        self._launch(pod)

    def _launch(self, pod):
        _, folder, _, restarts = self.running[pod.uid]
        logs = self.recording / "logs" / f"{pod.namespace}_{pod.name}_{pod.uid}" / "coredns"
        logs.mkdir(parents=True, exist_ok=True)
        account = "/run/secrets/kubernetes.io/serviceaccount"
        inner = ["env", "-i", "PATH=/usr/bin:/bin", "KUBERNETES_SERVICE_HOST=10.96.0.1", "KUBERNETES_SERVICE_PORT=443",
                 f"HOSTNAME={pod.name}", "GOMAXPROCS=2", parts.binary("coredns", pod.tag.removeprefix("v")),
                 "-conf", "/run/coredns/Corefile"]
        # The pod's own /etc/coredns: /run is the one folder that exists everywhere and can be covered.
        binds = [(folder / "account", account), (folder / "tap", "/run/truename"), (folder / "etc", "/run/coredns"),
                 (folder / "resolv.conf", "/etc/resolv.conf")]
        argv = netns.command(pod.netns, inner, binds, [("/run", account, "/run/truename", "/run/coredns")], pod.name)
        child = self.children.start(f"coredns-{pod.name}", argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        # The container runtime: separate small programs, so that a busy recorder does not blur the times.
        for stream, pipe in (("stdout", child.stdout), ("stderr", child.stderr)):
            self.children.start(f"cri-{pod.name}", [sys.executable, str(parts.RANGE / "rig" / "cri.py"), stream,
                                                    str(logs / f"{restarts}.log")], stdin=pipe)
        pod.programs.append(child)
        self._wait_ready(pod)

    def _wait_ready(self, pod, seconds=60):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                raw = netns.sock(pod.netns, kind=socket.SOCK_STREAM)
                raw.settimeout(2)
                raw.connect((pod.address, 8181))
                connection = http.client.HTTPConnection(pod.address, 8181)
                connection.sock = raw
                connection.request("GET", "/ready")
                if connection.getresponse().status == 200:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        raise RuntimeError(f"CoreDNS {pod.name} not ready after {seconds} s")

    def list(self):
        return sorted((pod for pod, *_ in self.running.values() if not pod.stopping), key=lambda pod: pod.name)

    def restart(self, pod):
        """The container dies and is started again in the same pod: a new log file, an empty cache."""
        for program in list(pod.programs):
            self.children.stop(program, kill=True)
        pod.programs.clear()
        self.running[pod.uid][3] += 1
        self.kubelet._status(pod, "Running", ready=False)
        self._launch(pod)
        self.kubelet._status(pod, "Running", ready=True)

    def stop(self):
        self.stopped = True
        self.admin.close_watches()
        for receiver in self.receivers:
            receiver.close()
