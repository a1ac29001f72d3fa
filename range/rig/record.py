"""What a responder could have collected: packets, watches, audit log, Corefiles, objects. Writes OUT/recording/.

Enters: the running range. Leaves: files in the forms of docs/formats/case.md. CoreDNS's own log and dnstap are written where
the replicas run (rig.coredns).
"""
import calendar
import json
import re
import threading
import time

from . import netns
from .upstream import ADDRESS

WATCHED = {"pods": "/api/v1/pods", "services": "/api/v1/services", "namespaces": "/api/v1/namespaces",
           "nodes": "/api/v1/nodes", "configmaps": "/api/v1/namespaces/kube-system/configmaps",
           "endpointslices": "/apis/discovery.k8s.io/v1/endpointslices", "replicasets": "/apis/apps/v1/replicasets",
           "deployments": "/apis/apps/v1/deployments", "jobs": "/apis/batch/v1/jobs",
           "statefulsets": "/apis/apps/v1/statefulsets", "daemonsets": "/apis/apps/v1/daemonsets"}


def rfc3339(ns):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ns // 10**9)) + f".{ns % 10**9:09d}Z"


def make_older(folder, started_ns, hours):
    """Objects that existed when the recording started become `hours` older: every time in them (whole seconds) before
    the start is moved back, in watches, lists, audit bodies and Corefiles alike. Packets, logs and stages stay."""
    limit = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started_ns // 10**9))

    def moved(match):
        text = match.group(1).decode()
        if text >= limit:
            return match.group(0)
        then = calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ")) - hours * 3600
        return b'"' + time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(then)).encode() + b'"'
    for pattern in ("watch/*", "objects/*", "corefile/*", "audit.log"):
        for path in folder.glob(pattern):
            path.write_bytes(re.sub(rb'"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)"', moved, path.read_bytes()))


class Recorder:
    def __init__(self, plane, network, children, folder):
        self.plane, self.network, self.children, self.folder = plane, network, children, folder
        self.api = plane.client("admin", "kubectl/v1.36.3 (linux/amd64)")
        self.stopped, self.corefiles, self.captures, self.files = False, 0, [], []
        self.last_corefile = None
        for name in ("logs", "dnstap", "pcap", "watch", "corefile", "objects"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    def capture_replica(self, pod):
        """Two captures in the replica's namespace: towards the clients and towards the upstream."""
        for leg, which in (("client", f"port 53 and not host {ADDRESS}"), ("upstream", f"host {ADDRESS} and port 53")):
            self.capture(pod, f"{leg}-{pod.name}", which)

    def capture_node(self, pod):
        """What a NodeLocal cache asks the upstream itself."""
        self.capture(pod, f"upstream-{pod.name}", f"host {ADDRESS} and host {self.network.node_address} and port 53", "up0")

    def capture(self, pod, name, which="port 53", interface="eth0"):
        argv = ["tcpdump", "-i", interface, "-n", "-U", "-Z", "root", "-B", "4096", "-w",
                str(self.folder / "pcap" / f"{name}.pcap"), which]
        self.captures.append(self.children.start(f"tcpdump-{name}", netns.command(pod.netns, argv)))

    def start(self):
        """From here on everything is recorded; returns the time in ns."""
        self.audit_from = self.plane.audit_path.stat().st_size if self.plane.audit_path.exists() else 0
        started = time.time_ns()
        self.snapshot("start")
        for name, where in WATCHED.items():
            threading.Thread(target=self._watch, args=(name, where), daemon=True).start()
        return started

    def snapshot(self, name):
        items, received = [], rfc3339(time.time_ns())
        for where in WATCHED.values():
            answer = self.api.request("GET", where)
            kind, version = answer["kind"].removesuffix("List"), answer["apiVersion"]
            items += [{"apiVersion": version, "kind": kind, **item} for item in answer["items"]]
        listed = {"apiVersion": "v1", "items": items, "kind": "List", "metadata": {"resourceVersion": ""},
                  "received": received}
        (self.folder / "objects" / f"{name}.json").write_text(json.dumps(listed, indent=1) + "\n")

    def _watch(self, name, where):
        out = open(self.folder / "watch" / f"{name}.jsonl", "ab", buffering=0)
        self.files.append(out)

        def line(raw):
            received = rfc3339(time.time_ns())
            if not self.stopped:
                out.write(raw.rstrip()[:-1] + f',"received":"{received}"}}\n'.encode())
            if name == "configmaps":
                self._corefile(json.loads(raw))
        try:
            self.api.watch_path(where, line, lambda: self.stopped)
        except Exception as error:
            if not self.stopped:
                print(f"record: watch {name}: {error}")

    def _corefile(self, event):
        obj = event["object"]
        if event["type"] not in ("ADDED", "MODIFIED") or obj["metadata"].get("name") != "coredns":
            return
        meta, text = obj["metadata"], obj["data"]["Corefile"]
        self.corefiles += 1
        lines = ["apiVersion: v1", "kind: ConfigMap", "metadata:", "  name: coredns", "  namespace: kube-system",
                 f"  uid: {meta['uid']}", f"  resourceVersion: \"{meta['resourceVersion']}\"",
                 f"  creationTimestamp: \"{meta['creationTimestamp']}\"", "data:", "  Corefile: |"]
        lines += ["    " + line if line else "" for line in text.rstrip("\n").split("\n")]
        name = f"{self.corefiles}-{meta['resourceVersion']}.yaml"
        (self.folder / "corefile" / name).write_text("\n".join(lines) + "\n")

    def stop(self):
        self.snapshot("end")
        self.stopped = True
        time.sleep(0.3)
        self.api.close_watches()
        for capture in self.captures:
            self.children.stop(capture, grace=3)
        with open(self.plane.audit_path, "rb") as audit:
            audit.seek(self.audit_from)
            (self.folder / "audit.log").write_bytes(audit.read())
        for out in self.files:
            out.close()
