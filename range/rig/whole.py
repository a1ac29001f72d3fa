"""The whole range, from nothing to a case folder, and back to nothing.

Enters: a scenario file, an output folder. Leaves: OUT/case.json, scenario.txt, truth.jsonl, recording/. All namespaces,
processes and scratch files of the run are gone at the end, also after a failure or a signal.
"""
import fnmatch
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from . import coredns, netns, parts, pki, scenario as scenarios
from .children import Children
from .control_plane import ControlPlane
from .kubelet import Kubelet
from .nodelocal import NodeLocal
from .play import Player
from .record import Recorder, make_older
from .truth import PodTap, Truth
from .upstream import ADDRESS, Upstream

SCRATCH = "truename-range-"
INTERNET = (ADDRESS, "203.0.113.66", "198.51.100.66")


class Unavailable(Exception):
    """Namespaces or parts cannot be had on this machine."""


class Range:
    def __init__(self, scenario, recording, quiet=False):
        self.scenario, self.recording, self.quiet = scenario, recording, quiet
        self.folder = Path(tempfile.mkdtemp(prefix=SCRATCH))
        (self.folder / "pid").write_text(str(os.getpid()))
        self.run_id = run_id(self.folder)
        self.network, self.children = netns.Network(self.run_id, dual=scenario.dual), Children(self.folder)
        self.corefile, self.started_at = coredns.COREFILE, time.monotonic()

    def say(self, text):
        if not self.quiet:
            print(f"[{time.monotonic() - self.started_at:6.1f} s] {text}", flush=True)

    def start(self):
        self.network.start(INTERNET)
        pki.make(self.folder / "pki")
        self.plane = ControlPlane(self.network, self.children, self.folder)
        self.upstream = Upstream(self.network, self.children, self.folder)
        self.upstream.start()
        self.plane.start()
        self.say("control plane is up")
        self.recorder = Recorder(self.plane, self.network, self.children, self.recording)
        self.kubelet = Kubelet(self.plane, self.network, self.children, self.folder)
        self.tap = PodTap(self.network)
        self.kubelet.on_start.append(self._pod_started)
        self.kubelet.on_stop.append(self.tap.remove)
        self.truth = Truth(self.tap, self.kubelet, self.scenario.skew_ms)
        self.replicas = coredns.Replicas(self.plane, self.network, self.children, self.kubelet, self.folder, self.recording)
        self.replicas.start(self.scenario.coredns, self.scenario.replicas)
        if self.scenario.node_local:
            NodeLocal(self.plane, self.network, self.children, self.kubelet, self.folder, self.recording).start()

    def _pod_started(self, pod):
        if "/coredns/" in pod.spec["containers"][0]["image"]:
            self.recorder.capture_replica(pod)
            return
        if "node-cache" in pod.spec["containers"][0]["image"]:
            self.recorder.capture_node(pod)
        self.tap.add(pod)
        if any(fnmatch.fnmatch(f"{pod.namespace}/{pod.name}", pattern) for pattern in self.scenario.capture_pods):
            self.recorder.capture(pod, f"pod-{pod.name}")
            self.truth.captured.add(pod.uid)

    def wait_settled(self, seconds=60):
        """Until all pods that exist are ready, and kube-proxy knows the DNS service."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pods = self.plane.admin.get("pods")["items"]
            waiting = [pod for pod in pods if pod.get("status", {}).get("phase") != "Succeeded" and not any(
                one["type"] == "Ready" and one["status"] == "True" for one in pod.get("status", {}).get("conditions", []))]
            wanted = self.plane.admin.get("deployments")["items"]
            short = [one for one in wanted if one.get("status", {}).get("replicas", 0) < one["spec"]["replicas"]]
            short += [one for one in self.plane.admin.get("daemonsets")["items"] if not one.get("status", {}).get("currentNumberScheduled")]
            if pods and not waiting and not short:
                time.sleep(1.5)
                return
            time.sleep(0.2)
        raise RuntimeError(f"pods not ready after {seconds} s")

    def stop(self):
        for part in ("kubelet", "replicas", "upstream", "tap"):
            if hasattr(self, part):
                try:
                    getattr(self, part).stop()
                except Exception as error:
                    print(f"stopping {part}: {error}", file=sys.stderr)
        self.children.stop_all()
        self.network.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def run_id(folder):
    return folder.name.removeprefix(SCRATCH).replace("_", "x").lower()


def reap_dead():
    """What a killed run could not remove itself: its namespaces, what runs in them, its scratch folder."""
    for folder in Path(tempfile.gettempdir()).glob(SCRATCH + "*"):
        pid = folder / "pid"
        if pid.exists() and not Path("/proc", pid.read_text()).exists():
            netns.reap(f"tn-{run_id(folder)}-")
            shutil.rmtree(folder, ignore_errors=True)


def check_parts(versions):
    why = netns.available()
    if why:
        raise Unavailable(why)
    try:
        for name in parts.VERSIONS:
            parts.binary(name)
        for version in versions:
            parts.binary("coredns", version)
        for name in ("stub-glibc", "stub-musl", "stub-go"):
            parts.client(name)
    except parts.Missing as missing:
        raise Unavailable(str(missing)) from missing
    for tool in ("tcpdump", "nft", "knotd", "openssl", "nsenter", "unshare"):
        if not shutil.which(tool):
            raise Unavailable(f"{tool} is not installed (range/parts/build)")


def run(path, out, versions=None, quiet=False):
    text = path.read_text()
    scenario = scenarios.parse(text)
    scenario.coredns = versions or scenario.coredns or ["1.15.0"]
    check_parts(scenario.coredns)
    if out.exists() and any(out.iterdir()):
        raise SystemExit(f"{out} is not empty")
    out.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    reap_dead()
    whole = Range(scenario, out / "recording", quiet)
    try:
        return _play(whole, scenario, text, out)
    finally:
        whole.stop()
        whole.say("gone")


def _play(whole, scenario, text, out):
    whole.start()
    player = Player(whole, scenario)
    player.given()
    whole.wait_settled()
    started = whole.recorder.start()
    whole.say(f"recording {scenario.name}")
    failures = player.play()
    whole.say("played")
    subjects = known(whole)
    whole.recorder.stop()
    whole.kubelet.stop()
    whole.replicas.stop()
    for child in list(whole.children.running):
        if child.label.startswith("coredns-"):
            whole.children.stop(child, kill=True)
    whole.tap.stop()
    captures = {path.stem.removeprefix("client-"): path for path in (out / "recording" / "pcap").glob("client-*.pcap")}
    whole.truth.write(out / "truth.jsonl", captures)
    if scenario.older_hours:
        make_older(out / "recording", started, scenario.older_hours)
    (out / "scenario.txt").write_text(text)
    shutil.copy(parts.RANGE / "profile.yaml", out / "profile.yaml")
    write_case(out, scenario, started, subjects)
    return failures


def known(whole):
    """Names by which expectations speak of things: pods that existed (name -> uid), replicas by number."""
    pods = {f"pod {one['namespace']}/{one['pod']}": one["uid"] for one in whole.kubelet.holdings}
    replicas = {number: f"pod kube-system/{pod.name}" for number, pod in enumerate(whole.replicas.list(), 1)}
    return pods, replicas


def resolve(value, pods, replicas):
    """`pod shop/web-*` becomes that pod's full name where exactly one pod fits, `replica N` the pod of that replica."""
    if value.startswith("replica ") and value[8:].isdigit():
        return replicas[int(value[8:])].replace("pod kube-system/", "replica ")
    if "*" in value and value.startswith("pod "):
        found = [name for name in pods if fnmatch.fnmatch(name, value)]
        return found[0] if len(found) == 1 else value
    return value


def expectations(scenario, pods, replicas):
    expect = []
    for wanted in scenario.expect:
        one = {key: resolve(value, pods, replicas) for key, value in wanted.items()}
        if one.get("subject") in pods:
            one["subject_uid"] = pods[one["subject"]]
        if "count" in one:
            one["count"] = int(one["count"])
        expect.append(one)
    return expect


def write_case(out, scenario, started, subjects):
    recording = out / "recording"
    sources = [name for name, found in (
        ("log", "logs/*/*/*"), ("dnstap", "dnstap/*"), ("pcap-client", "pcap/client-*"),
        ("pcap-upstream", "pcap/upstream-*"), ("pcap-pod", "pcap/pod-*"), ("audit", "audit.log"), ("watch", "watch/*"),
        ("corefile", "corefile/*"), ("objects", "objects/*")) if any(path.stat().st_size for path in recording.glob(found))]
    case = {"name": scenario.name, "scenario": f"{scenario.name}.scenario", "description": scenario.about,
            "started_ns": started, "skew_ms": scenario.skew_ms, "cluster_domain": "cluster.local",
            "coredns": scenario.coredns, "families": "dual" if scenario.dual else "ipv4", "pod_cidr": "10.244.0.0/16",
            "service_cidr": "10.96.0.0/12", "dns_address": "10.96.0.10", "sources": sources, "shifted": scenario.shifted or None,
            "expect": expectations(scenario, *subjects)}
    (out / "case.json").write_text(json.dumps(case, indent=1) + "\n")
