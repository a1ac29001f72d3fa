"""The played scheduler, kubelet and CNI: a pod of the API becomes a namespace with an address and a program in it.

Enters: the pod watch. Leaves: bindings and pod statuses under the scheduler's and the node's identity, running programs,
and `holdings`: which pod's namespace held which address from when to when (the range's own truth about who could ask).
"""
import json
import subprocess
import threading
import time
from dataclasses import dataclass, field

from . import parts
from .api import ApiError
from .control_plane import DNS_ADDRESS
from .netns import command

STUBS = {"glibc": "stub-glibc", "musl": "stub-musl", "go": "stub-go"}


@dataclass
class Pod:
    uid: str
    namespace: str
    name: str
    spec: dict
    labels: dict
    owner: str = ""
    address: str = ""
    address6: str = ""
    netns: str = ""
    ready: bool = False
    stopping: bool = False
    host_network: bool = False
    programs: list = field(default_factory=list)

    @property
    def addresses(self):
        return [one for one in (self.address, self.address6) if one]

    @property
    def tag(self):
        """What runs inside is named by the image's tag: glibc, musl, go, raw, or a version of CoreDNS."""
        return self.spec["containers"][0]["image"].rsplit(":", 1)[1]

    def say(self, line):
        """Give the pod's stub program a command."""
        for program in self.programs:
            if program.stdin:
                try:
                    program.stdin.write((line + "\n").encode())
                    program.stdin.flush()
                except (OSError, ValueError):
                    pass


def now():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class Kubelet:
    def __init__(self, plane, network, children, folder):
        self.plane, self.network, self.children, self.folder = plane, network, children, folder
        self.node = plane.client("node", "kubelet/v1.36.3 (linux/amd64)")
        self.scheduler = plane.client("scheduler", "kube-scheduler/v1.36.3 (linux/amd64) kube-scheduler/scheduler")
        self.pods, self.holdings, self.started, self.bound = {}, [], set(), set()
        self.free, self.next_host, self.stopped = [], 11, False
        self.lock = threading.RLock()
        self.on_start, self.on_stop = [], []   # callbacks(pod): inside the pod's life, before its programs start / after
        self.replica_starter = None            # starts a CoreDNS replica: set by rig.coredns
        self.cache_starter = None              # starts NodeLocal DNSCache: set by rig.nodelocal
        self.cluster_dns = DNS_ADDRESS         # what pods are told to ask
        self.status_lag = 0.0                  # seconds between the address being held and the API knowing it
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self):
        while not self.stopped:
            try:
                self.node.watch("pods", self._line, lambda: self.stopped)
            except Exception as error:
                if not self.stopped:
                    print(f"kubelet: {error}")
                    time.sleep(0.5)

    def _line(self, line):
        event = json.loads(line)
        if event["type"] == "BOOKMARK":
            return
        obj = event["object"]
        meta, uid = obj["metadata"], obj["metadata"]["uid"]
        if event["type"] == "DELETED":
            self._spawn(self._gone, uid)
        elif not obj["spec"].get("nodeName"):
            if uid not in self.bound:
                self.bound.add(uid)
                self._spawn(self._bind, obj)
        elif meta.get("deletionTimestamp"):
            self._spawn(self._terminate, uid)
        elif uid not in self.started and obj.get("status", {}).get("phase") == "Pending":
            self.started.add(uid)
            self._spawn(self._run, obj)

    def _spawn(self, what, *args):
        def guarded():
            try:
                what(*args)
            except Exception as error:
                if not self.stopped:
                    print(f"kubelet: {what.__name__}: {type(error).__name__}: {error}")
        threading.Thread(target=guarded, daemon=True).start()

    def _bind(self, obj):
        meta = obj["metadata"]
        where = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}/binding"
        self.scheduler.request("POST", where, {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": meta["name"]},
                                               "target": {"apiVersion": "v1", "kind": "Node", "name": "node-1"}})

    def take_address(self):
        """The most recently freed address first: addresses move to other pods within a second, as on a busy node."""
        with self.lock:
            if self.free:
                host = self.free.pop()
            else:
                host, self.next_host = self.next_host, self.next_host + 1
            return f"10.244.0.{host}", f"fd00:244::{host:x}" if self.network.dual else ""

    def _run(self, obj):
        meta, spec = obj["metadata"], obj["spec"]
        owner = (meta.get("ownerReferences") or [{}])[0]
        pod = Pod(meta["uid"], meta["namespace"], meta["name"], spec, meta.get("labels", {}), owner.get("name", ""),
                  host_network=spec.get("hostNetwork", False))
        if pod.host_network:
            pod.address, pod.address6 = (*self.network.node_addresses, "")[:2]
            pod.netns = self.network.node
        else:
            pod.address, pod.address6 = self.take_address()
            pod.netns = self.network.add_pod(pod.address, pod.address6)
        with self.lock:
            self.pods[pod.uid] = pod
            self.holdings += [{"uid": pod.uid, "namespace": pod.namespace, "pod": pod.name, "address": address,
                               "host": pod.host_network, "from_ns": time.time_ns(), "to_ns": None}
                              for address in pod.addresses]
        for call in self.on_start:
            call(pod)
        if self.status_lag:
            time.sleep(self.status_lag)
        self._status(pod, "Running", ready=False)
        self._start_program(pod)
        pod.ready = True
        self._status(pod, "Running", ready=True)

    def _status(self, pod, phase, ready):
        state = "True" if ready else "False"
        conditions = [{"type": kind, "status": status, "lastTransitionTime": now()}
                      for kind, status in (("PodScheduled", "True"), ("Initialized", "True"), ("ContainersReady", state),
                                           ("Ready", state))]
        change = {"phase": phase, "podIP": pod.address, "podIPs": [{"ip": one} for one in pod.addresses], "hostIP": "10.10.0.1",
                  "hostIPs": [{"ip": one} for one in self.network.node_addresses], "startTime": now(), "conditions": conditions}
        try:
            self.node.patch("pods", pod.namespace, pod.name, {"status": change}, sub="status")
        except ApiError as error:
            if error.code != 404:
                raise

    def resolv_conf(self, pod):
        path = self.folder / f"resolv-{pod.uid}.conf"
        policy = pod.spec.get("dnsPolicy", "ClusterFirst")
        if policy == "Default" or (policy == "ClusterFirst" and pod.host_network):
            path.write_text("nameserver 203.0.113.53\n")
        elif policy == "None":
            given = pod.spec["dnsConfig"]
            options = " ".join(f"{one['name']}:{one['value']}" for one in given["options"])
            path.write_text(f"search {' '.join(given['searches'])}\n" + "".join(
                f"nameserver {one}\n" for one in given["nameservers"]) + f"options {options}\n")
        else:
            path.write_text(f"search {pod.namespace}.svc.cluster.local svc.cluster.local cluster.local\n"
                            f"nameserver {self.cluster_dns}\noptions ndots:5\n")
        return path

    def _start_program(self, pod):
        if pod.tag in STUBS:
            binds = [(self.resolv_conf(pod), "/etc/resolv.conf")]
            argv = command(pod.netns, [parts.client(STUBS[pod.tag])], binds)
            pod.programs.append(self.children.start(f"pod-{pod.namespace}-{pod.name}", argv, stdin=subprocess.PIPE))
        elif "/coredns/" in pod.spec["containers"][0]["image"]:
            self.replica_starter(pod)
        elif "node-cache" in pod.spec["containers"][0]["image"]:
            self.cache_starter(pod)

    def _terminate(self, uid):
        """A graceful end: stop the program, give the address back, tell the API that it is over."""
        pod = self._end(uid)
        if pod:
            try:
                self.node.delete("pods", pod.namespace, pod.name, grace=0)
            except ApiError as error:
                if error.code != 404:
                    raise

    def _gone(self, uid):
        self._end(uid)

    def _end(self, uid):
        with self.lock:
            pod = self.pods.get(uid)
            if pod is None or pod.stopping:
                return None
            pod.stopping = True
        pod.ready = False
        for program in list(pod.programs):
            self.children.stop(program, grace=6)
        self._release(pod)
        return pod

    def _release(self, pod):
        for call in self.on_stop:
            call(pod)
        if not pod.host_network:
            self.network.remove(pod.netns)
        with self.lock:
            self.pods.pop(pod.uid, None)
            for held in self.holdings:
                if held["uid"] == pod.uid and held["to_ns"] is None:
                    held["to_ns"] = time.time_ns()
            if not pod.host_network:
                self.free.append(int(pod.address.rsplit(".", 1)[1]))

    def complete(self, pod):
        """A Job's pod ends well: its programs and network go, the address stays in its status."""
        with self.lock:
            pod.stopping = True
        pod.ready = False
        for program in list(pod.programs):
            self.children.stop(program)
        self._release(pod)
        done = {"phase": "Succeeded", "conditions": [
            {"type": "Ready", "status": "False", "reason": "PodCompleted", "lastTransitionTime": now()},
            {"type": "ContainersReady", "status": "False", "reason": "PodCompleted", "lastTransitionTime": now()},
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": now()}]}
        self.node.patch("pods", pod.namespace, pod.name, {"status": done}, sub="status")

    def find(self, workload):
        """Ready pods of `namespace/prefix`, in the order of their names."""
        namespace, _, prefix = workload.partition("/")
        with self.lock:
            found = [pod for pod in self.pods.values() if pod.namespace == namespace and pod.ready
                     and (pod.name == prefix or pod.name.startswith(prefix + "-"))]
        return sorted(found, key=lambda pod: pod.name)

    def stop(self):
        self.stopped = True
        self.node.close_watches()
