"""Plays a scenario on a running range: what each verb does.

Enters: orders of rig.scenario. Leaves: objects created under the named identities, lookups by pods, attacks; and the lies
and hijacks that rig.truth needs. Every verb is a method `do_VERB(words, options)`.
"""
import json
import random
import threading
import time

from . import recon
from .api import JSON_PATCH
from .control_plane import DNS_ADDRESS6
from .forger import Impostor, PathForger, UpstreamForger


def split(text):
    namespace, _, name = text.partition("/")
    return namespace, name


def pairs(text):
    return dict(pair.split(":", 1) for pair in text.split(",")) if text else {}


class Player:
    def __init__(self, range_, scenario):
        self.range, self.scenario = range_, scenario
        self.plane, self.kubelet, self.upstream = range_.plane, range_.kubelet, range_.upstream
        self.truth, self.replicas = range_.truth, range_.replicas
        self.random = random.Random(scenario.seed)
        self.forgers, self.clients, self.threads, self.turns = [], {}, [], {}

    # Who acts

    def who(self, options):
        """by=alice|bob|argocd: a person or GitOps from their own machine. as=NAMESPACE/POD: with the token of that pod's
        service account, from that pod."""
        if "as" in options:
            pod = self.kubelet.find(options["as"])[0]
            account = pod.spec.get("serviceAccountName", "default")
            key = (pod.uid, account)
            if key not in self.clients:
                self.plane.account(pod.namespace, account)
                self.clients[key] = self.plane.token_client(pod.namespace, account, "kubectl/v1.36.3 (linux/amd64)",
                                                            source=pod.netns)
            return self.clients[key]
        name = options.get("by", "alice")
        if name not in self.clients:
            if name == "argocd":
                self.clients[name] = self.plane.token_client("argocd", "argocd-application-controller",
                                                             "argocd-application-controller/v3.1.0")
            else:
                self.clients[name] = self.plane.client(name)
        return self.clients[name]

    # Objects

    def do_namespace(self, words, options):
        for name in words:
            self.plane.namespace(name, self.who(options))

    def template(self, namespace, name, options):
        labels = {"app": options.get("app", name), **pairs(options.get("labels"))}
        repository = options.get("image", f"registry.example.com/{name}")
        spec = {"containers": [{"name": name, "image": f"{repository}:{options.get('stub', 'glibc')}"}],
                "terminationGracePeriodSeconds": int(options.get("grace", 1))}
        if "sa" in options:
            spec["serviceAccountName"] = options["sa"]
        if options.get("host") == "yes":
            spec |= {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}
        if options.get("dns") == "6":      # asks the cluster DNS at its IPv6 address
            spec |= {"dnsPolicy": "None", "dnsConfig": {
                "nameservers": [DNS_ADDRESS6], "options": [{"name": "ndots", "value": "5"}],
                "searches": [f"{namespace}.svc.cluster.local", "svc.cluster.local", "cluster.local"]}}
        for key in ("hostname", "subdomain"):
            if key in options:
                spec[key] = options[key]
        return {"metadata": {"labels": labels}, "spec": spec}

    def do_deploy(self, words, options):
        namespace, name = split(words[0])
        self.plane.namespace(namespace)
        template = self.template(namespace, name, options)
        api, kind, extra = "apps/v1", "Deployment", {}
        if options.get("kind") == "statefulset":
            kind, extra = "StatefulSet", {"serviceName": options.get("service", name), "podManagementPolicy": "Parallel"}
        self.who(options).create("statefulsets" if extra else "deployments", {
            "apiVersion": api, "kind": kind, "metadata": {"namespace": namespace, "name": name, "labels": {"app": name}},
            "spec": {"replicas": int(options.get("replicas", 1)), "template": template, **extra,
                     "selector": {"matchLabels": {"app": template["metadata"]["labels"]["app"]}}}})

    def do_pod(self, words, options):
        namespace, name = split(words[0])
        self.plane.namespace(namespace)
        template = self.template(namespace, name, options)
        self.who(options).create("pods", {"apiVersion": "v1", "kind": "Pod", "metadata": {
            "namespace": namespace, "name": name, **template["metadata"]}, "spec": template["spec"]})

    def do_job(self, words, options):
        namespace, name = split(words[0])
        self.plane.namespace(namespace)
        template = self.template(namespace, name, options)
        template["spec"]["restartPolicy"] = "Never"
        self.who(options).create("jobs", {"apiVersion": "batch/v1", "kind": "Job", "metadata": {
            "namespace": namespace, "name": name}, "spec": {"template": template, "backoffLimit": 0}})

    def do_complete(self, words, options):
        for pod in self.kubelet.find(words[0]):
            self.kubelet.complete(pod)

    def do_service(self, words, options):
        namespace, name = split(words[0])
        self.plane.namespace(namespace)
        ports = []
        for text in options.get("ports", "http:80").split(","):
            label, number = text.split(":")
            ports.append({"name": label, "port": int(number), "protocol": "TCP"})
        spec = {"ports": ports}
        if "external" in options:
            spec = {"type": "ExternalName", "externalName": options["external"]}
        elif options.get("selector") != "none":
            spec["selector"] = pairs(options.get("selector")) or {"app": options.get("app", name)}
        if "families" in options:
            spec |= {"dual": {"ipFamilyPolicy": "RequireDualStack"}, "6": {"ipFamilies": ["IPv6"]}}[options["families"]]
        if "ip" in options:
            spec["clusterIP"] = options["ip"]
        if options.get("headless") == "yes":
            spec["clusterIP"] = "None"
        self.who(options).create("services", {"apiVersion": "v1", "kind": "Service", "metadata": {
            "namespace": namespace, "name": name}, "spec": spec})

    def do_slice(self, words, options):
        """A hand-made EndpointSlice: service= (or none), addresses=, hostnames=."""
        namespace, name = split(words[0])
        hostnames = options.get("hostnames", "").split(",")
        endpoints = []
        for i, address in enumerate(options["addresses"].split(",")):
            endpoint = {"addresses": [address], "conditions": {"ready": True}}
            if i < len(hostnames) and hostnames[i]:
                endpoint["hostname"] = hostnames[i]
            endpoints.append(endpoint)
        labels = {"kubernetes.io/service-name": options["service"]} if "service" in options else {}
        label, number = options.get("port", "http:80").split(":")
        self.who(options).create("endpointslices", {
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {
                "namespace": namespace, "name": name, "labels": labels}, "endpoints": endpoints,
            "addressType": "IPv6" if ":" in options["addresses"] else "IPv4", "ports": [{"name": label, "port": int(number), "protocol": options.get("proto", "TCP")}]})

    def do_silence(self, words, options):
        """silence NAMESPACE/NAME victim=WORKLOAD: a slice of no service with the victims' addresses (their PTR dies)."""
        victims = ",".join(pod.address for pod in self.kubelet.find(options["victim"]))
        self.do_slice(words, {**options, "addresses": victims})

    def do_join_dns(self, words, options):
        """join_dns NAMESPACE/NAME from=WORKLOAD: a slice that makes a pod an endpoint of kube-dns."""
        addresses = self.kubelet.find(options["from"])[0].address
        self.do_slice(words, {**options, "service": "kube-dns", "addresses": addresses, "port": "dns:53", "proto": "UDP"})

    def do_patch(self, words, options):
        """patch RESOURCE NAMESPACE/NAME JSON (merge patch, from a text block: text=NAME, or in line)."""
        namespace, name = split(words[1])
        self.who(options).patch(words[0], namespace, name, json.loads(self.scenario.texts[options["text"]]))

    def do_label(self, words, options):
        namespace, name = split(words[0])
        pod = self.kubelet.find(words[0])[0]
        self.who(options).patch("pods", namespace, pod.name, {"metadata": {"labels": pairs(options["labels"])}})

    def do_external(self, words, options):
        """external NAMESPACE/NAME target=HOST: a Service becomes an ExternalName, or its target changes."""
        namespace, name = split(words[0])
        who = self.who(options)
        service = who.get("services", namespace, name)
        changes = [{"op": "add", "path": "/spec/externalName", "value": options["target"]}]
        if service["spec"]["type"] != "ExternalName":
            changes.append({"op": "replace", "path": "/spec/type", "value": "ExternalName"})
            changes += [{"op": "remove", "path": f"/spec/{key}"} for key in (
                "clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "selector") if key in service["spec"]]
        who.patch("services", namespace, name, changes, kind=JSON_PATCH)

    def do_deselect(self, words, options):
        namespace, name = split(words[0])
        self.who(options).patch("services", namespace, name, [{"op": "remove", "path": "/spec/selector"}], kind=JSON_PATCH)

    def do_delete(self, words, options):
        namespace, name = split(words[1])
        self.who(options).delete(words[0], namespace, name)

    def do_scale(self, words, options):
        namespace, name = split(words[0])
        self.who(options).patch(options.get("kind", "deployment") + "s", namespace, name, {"spec": {"replicas": int(words[1])}})

    def do_rollout(self, words, options):
        namespace, name = split(words[0])
        stamp = {"kubectl.kubernetes.io/restartedAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        self.who(options).patch("deployments", namespace, name, {
            "spec": {"template": {"metadata": {"annotations": stamp}}}})

    def do_move(self, words, options):
        """move FROM TO: delete a pod of FROM and create TO as soon as the address is free: it gets that address."""
        pod = self.kubelet.find(words[0])[0]
        self.who(options).delete("pods", pod.namespace, pod.name)
        end = time.monotonic() + 10
        while pod.uid in self.kubelet.pods and time.monotonic() < end:
            time.sleep(0.01)
        self.do_pod(words[1:], options)

    def do_grant(self, words, options):
        """grant NAMESPACE/ACCOUNT RESOURCE…: too much, as happens."""
        namespace, account = split(words[0])
        self.plane.account(namespace, account)
        rules = [{"apiGroups": ["", "discovery.k8s.io", "apps"], "resources": words[1:], "verbs": ["*"]}]
        self.plane.role(f"{namespace}-{account}", rules, [("ServiceAccount", words[0])])

    # CoreDNS

    def do_corefile(self, words, options):
        """corefile TEXT: put a text block (or `original`) into the ConfigMap; hijacks=NAME,… names it answers then;
        lags=1,12: seconds until each replica's kubelet writes the file."""
        self.replicas.lags = dict(enumerate((float(lag) for lag in options.get("lags", "1").split(",")), 1))
        text = self.range.corefile if words[0] == "original" else self.scenario.texts[words[0]]
        self.who(options).patch("configmaps", "kube-system", "coredns", {"data": {"Corefile": text}})
        now = time.time_ns()
        if words[0] == "original":
            # The old configuration answers until the kubelet's lag and the reload have passed.
            self.truth.hijacks = [(name, since, until or now + 12 * 10**9) for name, since, until in self.truth.hijacks]
        for name in filter(None, options.get("hijacks", "").split(",")):
            self.truth.hijacks.append((name, now, None))

    def do_restart(self, words, options):
        self.replicas.restart(self.replicas.list()[int(words[0]) - 1])

    def do_impersonate(self, words, options):
        """impersonate NAMESPACE/POD NAME=ADDRESS…: a DNS server in that pod that lies about some names and asks a true
        replica for the rest. If the pod does not exist yet, the server runs from its start."""
        lies = {name.rstrip(".").lower() + ".": address for name, address in options.items()}
        for name, address in lies.items():
            self.truth.lie(address, "dns-impostor", name.rstrip("."))
        replica = self.replicas.list()[0].address
        found = self.kubelet.find(words[0])
        if found:
            self.forgers.append(Impostor(found[0], lies, replica))
            return

        def begun(pod):
            if f"{pod.namespace}/{pod.name}" == words[0]:
                self.forgers.append(Impostor(pod, lies, replica))
        self.kubelet.on_start.append(begun)

    # Lookups

    def pick(self, workload):
        """A ready pod, in turn."""
        found = self.kubelet.find(workload)
        if not found:
            return None
        self.turns[workload] = self.turns.get(workload, -1) + 1
        return found[self.turns[workload] % len(found)]

    def do_lookup(self, words, options):
        """lookup WORKLOAD NAME…: by the stub of one pod (in turn); pods=all for every one."""
        workload, *names = words
        pods = self.kubelet.find(workload) if options.get("pods") == "all" else [self.pick(workload)]
        for pod in filter(None, pods):
            for name in names:
                pod.say(options.get("form", "") + " " + name if "form" in options else name)

    def do_reverse(self, words, options):
        """reverse WORKLOAD OTHER: a pod of the first looks up the addresses of the other's pods."""
        pod = self.pick(words[0])
        for other in self.kubelet.find(words[1]):
            for address in other.addresses:
                pod.say(f"ptr {address}")

    def do_ask(self, words, options):
        """ask WORKLOAD NAME TYPE replica=N: a plain question straight to one replica (or the DNS service)."""
        pod = self.pick(words[0])
        if pod:
            shape = {"edns": int(options.get("edns", 1232)), "rd": options.get("rd") != "no"}
            server = recon.DNS_ADDRESS if options.get("family") != "6" else DNS_ADDRESS6
            if "replica" in options:
                replica = self.replicas.list()[int(options["replica"]) - 1]
                server = replica.address6 if options.get("family") == "6" else replica.address
            recon.Asker(pod, server=server, timeout=float(options.get("timeout", 2))).ask(words[1], words[2], **shape)

    def do_recon(self, words, options):
        """recon WORKLOAD TOOL key=value…"""
        pod = self.pick(words[0])
        given = {key: int(value) if value.isdigit() else value for key, value in options.items()}
        if "listed" in given:
            given["listed"] = given["listed"].split(",")
        if "zones" in given:
            given["zones"] = given["zones"].split(",")
        recon.TOOLS[words[1]](pod, **given)

    # The upstream and the forgers

    def do_upstream(self, words, options):
        """upstream slow|dead|refuse|echo|ok SUFFIX [value], upstream answer NAME TYPE ttl=N data=A,B [at_once=N]"""
        kind = words[0]
        if kind == "ok":
            self.upstream.heal(words[1] if len(words) > 1 else None)
        elif kind == "answer":
            self.upstream.answer(words[1], words[2], int(options["ttl"]), options["data"].split(","),
                                 int(options["at_once"]) if "at_once" in options else None)
        else:
            value = options.get("value")
            suffix = words[1] if len(words) > 1 and words[1] != "." else ""
            self.upstream.rule(suffix, kind, float(value) if kind == "slow" else value)

    def do_lie(self, words, options):
        """lie DATA KIND [name=NAME]: answers with this data are false from now on (for the truth only)."""
        self.truth.lie(words[0], words[1], options.get("name"))

    def do_forge(self, words, options):
        """forge NAME ADDRESS replica=N wrong=N mode=muted|late|race|failed tries=N ttl=N"""
        name, address = words
        mode = options.get("mode", "race")
        replica = self.replicas.list()[int(options.get("replica", 1)) - 1]
        if mode == "muted":
            # As by its own rate limit for this client, which a flood in the client's name brings about.
            self.upstream.rule(name, "dead", "A", replica.address)
        else:
            self.upstream.rule(name, "slow", 0.4 if mode == "late" else 0.06, replica.address)
        self.truth.lie(address, "forged-upstream", name)
        forger = UpstreamForger(self.range.network, replica, name, address, int(options.get("wrong", 16)), mode != "failed",
                                int(options.get("ttl", 3600)), self.scenario.seed, int(options.get("tries", 1)))
        self.forgers.append(forger)

    def do_forge_path(self, words, options):
        """forge_path WORKLOAD NAME ADDRESS [ttl=N] [aa=no]: on the node, between a pod and the cluster DNS."""
        pod = self.kubelet.find(words[0])[0]
        self.truth.lie(words[2], "on-path", words[1])
        self.forgers.append(PathForger(self.range.network, pod, words[1], words[2], int(options.get("ttl", 30)),
                                       options.get("aa") != "no"))

    def do_stop_forging(self, words, options):
        for forger in self.forgers:
            forger.stop()
        self.forgers.clear()

    # The play

    def order(self, order):
        try:
            method = getattr(self, f"do_{order.verb}")
        except AttributeError:
            raise SystemExit(f"scenario line {order.line}: unknown verb {order.verb}") from None
        method(order.words, order.options)

    def given(self):
        for order in self.scenario.given:
            self.order(order)

    def play(self):
        """Every event at its time, each in a thread of its own, so that none delays another."""
        start, failures = time.monotonic(), []

        def guarded(order):
            try:
                self.order(order)
            except Exception as error:
                failures.append(f"line {order.line} ({order.verb} at {order.at:g}): {type(error).__name__}: {error}")
        for event in self.scenario.events:
            time.sleep(max(0.0, start + event.at - time.monotonic()))
            thread = threading.Thread(target=guarded, args=(event,), daemon=True)
            thread.start()
            self.threads.append(thread)
        time.sleep(max(0.0, start + self.scenario.duration - time.monotonic()))
        for thread in self.threads:
            thread.join(15)
        self.do_stop_forging([], {})
        return failures
