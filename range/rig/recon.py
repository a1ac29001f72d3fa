"""The query shapes of reconnaissance tools, sent from a pod's namespace with plain sockets.

Enters: a pod, a tool's name. Leaves: questions on the wire as coredns-enum, k8spider, CDK and dig send them (flags, EDNS,
order, parallelism); answers are read and dropped.
"""
import random
import select
import socket
import struct
import time

from . import dnswire, netns
from .control_plane import DNS_ADDRESS

PORT_WORDS = ("admission api api-internal auth ceph console dashboard db dns etcd ftp git grafana grpc http http-metrics https "
              "ldap metrics mongo mysql nats postgres prometheus rabbitmq redis registry smtp ssh vault webhook xmlrpc").split()
NAMES = ("kubernetes kube-dns etcd vault argocd-server grafana prometheus jenkins gitlab harbor redis mysql postgres "
         "mongodb kafka elasticsearch kibana minio keycloak dashboard").split()
NAMESPACES = "default kube-system vault argocd monitoring jenkins database prod staging dev security payments".split()


class Asker:
    """Questions from one pod, some at a time, each from a socket of its own."""

    def __init__(self, pod, server=DNS_ADDRESS, timeout=0.5):
        # Ids as a stub's: not foreseeable, and not the same in the next run of a tool.
        self.pod, self.server, self.timeout, self.random = pod, server, timeout, random.SystemRandom()

    def ask(self, name, kind, **shape):
        return self.many([(name, kind)], 1, **shape)[0]

    def many(self, questions, workers, pause=0.0, **shape):
        answers = []
        for start in range(0, len(questions), workers):
            answers += self._round(questions[start:start + workers], shape)
            time.sleep(pause)
        return answers

    def _round(self, questions, shape):
        open_ones, answers = {}, []
        for name, kind in questions:
            one = netns.sock(self.pod.netns, socket.AF_INET6 if ":" in self.server else socket.AF_INET)
            one.connect((self.server, 53))
            one.send(dnswire.question(self.random.randrange(1, 65536), name, kind, **shape))
            open_ones[one] = name
        end = time.monotonic() + self.timeout
        while open_ones and time.monotonic() < end:
            for one in select.select(list(open_ones), [], [], max(0, end - time.monotonic()))[0]:
                try:
                    answers.append(dnswire.parse(one.recv(65535)))
                except (OSError, ValueError):
                    pass
                del open_ones[one]
                one.close()
        for one in open_ones:
            one.close()
        return answers or [None]

    def tcp(self, name, kind, **shape):
        query = dnswire.question(self.random.randrange(1, 65536), name, kind, **shape)
        stream = netns.sock(self.pod.netns, kind=socket.SOCK_STREAM)
        stream.settimeout(2)
        try:
            stream.connect((self.server, 53))
            stream.sendall(struct.pack("!H", len(query)) + query)
            stream.recv(65535)
        except OSError:
            pass
        stream.close()


def reverse(address):
    return ".".join(reversed(address.split("."))) + ".in-addr.arpa"


def sweep(prefix, first, last):
    return [(reverse(f"{prefix}.{host}"), "PTR") for host in range(first, last + 1)]


def coredns_enum(pod, prefix="10.96.0", size=255):
    """auto mode: version, wildcard, API name; brute force by PTR; then ports of each service found. RD=0, no EDNS.
    Paced (the tool itself is as fast as the server), so that the recording is of a search and not also of a flood."""
    asker = Asker(pod)
    asker.ask("dns-version.cluster.local", "TXT", rd=False)
    asker.ask("any.any.svc.cluster.local", "A", rd=False)
    asker.ask("kubernetes.default.svc.cluster.local", "A", rd=False)
    answers = asker.many(sweep(prefix, 0, size), 50, 0.5, rd=False)
    found = sorted({record.data for answer in answers if answer for record in answer.answers})
    for service in found[:3]:
        asker.many([(f"_{word}._{proto}.{service}", "SRV") for word in PORT_WORDS for proto in ("tcp", "udp")], 20, 0.6, rd=False)


def k8spider(pod, prefix="10.96.0", first=0, last=127):
    """all: zone transfer, PTR of a subnet in order, bare SRV of what was found."""
    asker = Asker(pod)
    asker.many([("ns.dns.cluster.local", "A"), ("ns.dns.cluster.local", "AAAA")], 2, edns=1232)
    asker.tcp("cluster.local", "AXFR")
    found = []
    for question in sweep(prefix, first, last):
        answer = asker.ask(*question, edns=1232)
        time.sleep(0.01)
        if answer and answer.answers:
            found.append(answer.answers[0].data)
    for service in sorted(set(found)):
        asker.ask(service, "SRV", edns=1232)


def cdk(pod):
    asker = Asker(pod)
    for name in ("any.any.svc.cluster.local", "any.any.any.svc.cluster.local"):
        asker.ask(name, "SRV")


def axfr(pod, zones=("cluster.local",)):
    asker = Asker(pod)
    for zone in zones:
        asker.tcp(zone, "AXFR", edns=1232, ad=True)
        asker.tcp(zone, "IXFR", edns=1232, ad=True)


def fingerprint(pod):
    asker = Asker(pod)
    for name in ("version.bind", "version.server", "authors.bind", "hostname.bind", "id.server"):
        asker.ask(name, "TXT", cls="CH", edns=1232, ad=True)


def names(pod, count=60):
    """A word list of services against a word list of namespaces, dig-like."""
    asker = Asker(pod)
    pairs = [(service, namespace) for namespace in NAMESPACES for service in NAMES]
    asker.random.shuffle(pairs)
    for service, namespace in pairs[:count]:
        asker.ask(f"{service}.{namespace}.svc.cluster.local", "A", edns=1232, ad=True)
        time.sleep(0.05)


def pod_sweep(pod, prefix="10.244.0", first=1, last=80):
    Asker(pod).many(sweep(prefix, first, last), 8, edns=1232)


def namespaces(pod, listed):
    """The same service name in many namespaces, with addresses or without."""
    asker = Asker(pod)
    for namespace in listed:
        asker.ask(f"web.{namespace}.svc.cluster.local", "A", edns=1232)
        time.sleep(0.05)


def flood(pod, zone, count=300, each=25, pause=0.2):
    """Random labels below one zone (water torture)."""
    asker = Asker(pod, timeout=0.3)
    for start in range(0, count, each):
        labels = ["".join(asker.random.choice("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(12)) for _ in range(each)]
        asker.many([(f"{label}.{zone}", "A") for label in labels], each, edns=1232)
        time.sleep(pause)


TOOLS = {"coredns-enum": coredns_enum, "k8spider": k8spider, "cdk": cdk, "axfr": axfr, "fingerprint": fingerprint,
         "names": names, "pod-sweep": pod_sweep, "namespaces": namespaces, "flood": flood}
