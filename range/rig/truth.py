"""Who really asked, and what was true: written by the range from its own knowledge, never from the project's analysis.

Enters: packets captured in each pod's own namespace, the kubelet's holdings, the scenario's lies, the replicas' captures.
Leaves: truth.jsonl, one line per lookup as sent by a pod (docs/formats/case.md).
"""
import ipaddress
import json
import selectors
import socket
import struct
import threading

from . import dnswire, netns

ETH_P_ALL, SO_TIMESTAMPNS = 0x0003, 35
RETRANSMIT_NS = 15 * 10**9
CLUSTER_NETS = ("10.244.0.0/16", "10.96.0.0/12", "10.10.0.0/16", "fd00:244::/64", "fd00:96::/112", "fd00:10::/64")


class PodTap:
    """One packet socket per pod namespace, read by one thread; keeps what is DNS with the kernel's time."""

    def __init__(self, network):
        self.network, self.seen, self.stopped = network, [], False
        self.selector = selectors.DefaultSelector()
        self.sockets, self.lock = {}, threading.Lock()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def add(self, pod):
        key = "node" if pod.host_network else pod.uid
        if key in self.sockets:
            return
        with netns.inside(pod.netns):
            tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            if not pod.host_network:
                tap.bind(("eth0", ETH_P_ALL))
        tap.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        tap.setblocking(False)
        self.sockets[key] = tap
        with self.lock:
            self.selector.register(tap, selectors.EVENT_READ, (key, pod))

    def remove(self, pod):
        tap = self.sockets.pop(pod.uid, None)
        if tap:
            self._drain(tap, pod.uid, pod)
            with self.lock:
                self.selector.unregister(tap)
            tap.close()

    def _run(self):
        while not self.stopped:
            with self.lock:
                ready = self.selector.select(0)
            if not ready:
                threading.Event().wait(0.02)
            for key, _ in ready:
                self._drain(key.fileobj, *key.data)

    def _drain(self, tap, key, pod):
        while True:
            try:
                frame, extra, _, _ = tap.recvmsg(65535, 64)
            except OSError:
                return
            for level, kind, data in extra:
                if kind == SO_TIMESTAMPNS:
                    seconds, nanos = struct.unpack("qq", data[:16])
                    self._keep(seconds * 10**9 + nanos, key, pod, frame)

    def _keep(self, t_ns, key, pod, frame):
        packet = transport(frame)
        if packet and 53 in (packet[1], packet[3]):
            if key == "node" and not {packet[0], packet[2]} & set(self.network.node_addresses):
                return
            self.seen.append((t_ns, key, pod, packet))

    def stop(self):
        self.stopped = True
        self.thread.join(2)


def transport(frame):
    """(source, sport, target, dport, DNS payload, "udp"|"tcp") or None. TCP: only messages that fit one segment."""
    if len(frame) >= 54 and frame[12:14] == b"\x86\xdd":
        proto, at, end = frame[20], 54, 54 + struct.unpack("!H", frame[18:20])[0]
        source, target = (socket.inet_ntop(socket.AF_INET6, frame[i:i + 16]) for i in (22, 38))
    elif len(frame) >= 34 and frame[12:14] == b"\x08\x00":
        proto, at, end = frame[23], 14 + (frame[14] & 15) * 4, 14 + struct.unpack("!H", frame[16:18])[0]
        source, target = socket.inet_ntoa(frame[26:30]), socket.inet_ntoa(frame[30:34])
    else:
        return None
    if proto not in (6, 17) or len(frame) < at + 8:
        return None
    sport, dport = struct.unpack("!HH", frame[at:at + 4])
    ends = (source, sport, target, dport)
    if proto == 17:
        return (*ends, frame[at + 8:end], "udp")
    payload = frame[at + (frame[at + 12] >> 4) * 4:end]
    return (*ends, payload[2:], "tcp") if len(payload) > 14 else None


def read_pcap(path):
    """(t_ns, frame) of a classic little-endian pcap file with Ethernet frames."""
    data = path.read_bytes()
    scale = 1 if data[:4] == b"\x4d\x3c\xb2\xa1" else 1000
    at = 24
    while at + 16 <= len(data):
        seconds, fraction, size, _ = struct.unpack("<IIII", data[at:at + 16])
        yield seconds * 10**9 + fraction * scale, data[at + 16:at + 16 + size]
        at += 16 + size


class Truth:
    def __init__(self, tap, kubelet, skew_ms):
        self.tap, self.kubelet, self.skew = tap, kubelet, skew_ms * 10**6
        self.captured = set()   # uids of pods whose own packets are part of the recording
        self.lies = []       # (data, kind, name or None): answers with this data are false
        self.hijacks = []    # (name or suffix, from_ns, to_ns or None): names that the Corefile then answers

    def lie(self, data, kind, name=None):
        self.lies.append((data, kind, name))

    def lookups(self):
        """Joins questions with the first answer that the pod got; a stub's retransmission is the same lookup."""
        found, waiting = [], {}
        for t_ns, key, pod, (source, sport, target, dport, payload, proto) in sorted(self.tap.seen, key=lambda e: e[0]):
            try:
                message = dnswire.parse(payload)
            except (ValueError, struct.error):
                continue
            if dport == 53 and not message.response:
                if key != "node" and source not in pod.addresses:
                    continue
                ident = (key, sport, message.id, message.name.lower(), message.type)
                earlier = waiting.get(ident)
                if earlier and t_ns - earlier["t_ns"] < RETRANSMIT_NS:
                    earlier["sent"] += 1
                    continue
                waiting[ident] = {"t_ns": t_ns, "key": key, "pod": pod, "client": source, "port": sport, "server": target,
                                  "message": message, "proto": proto, "reply": None, "sent": 1}
                found.append(waiting[ident])
            elif sport == 53 and message.response:
                asked = waiting.get((key, dport, message.id, message.name.lower(), message.type))
                if asked and asked["reply"] is None:
                    asked["reply"] = message
        return found

    def owners(self, address, t_ns):
        """Who may have held the address around that time: the range's own record, widened by the skew."""
        found = []
        for held in self.kubelet.holdings:
            if held["address"] == address and held["from_ns"] - self.skew <= t_ns and \
                    (held["to_ns"] is None or t_ns <= held["to_ns"] + self.skew):
                found.append(held["uid"])
                if held["host"]:
                    found.append("node:node-1")
        return sorted(set(found))

    def _lie(self, message):
        for record in message.answers if message else ():
            for data, kind, name in self.lies:
                if record.data.rstrip(".") == data.rstrip(".") and name in (None, message.name.rstrip(".").lower()):
                    return kind
        return None

    def _class(self, name, kind, cls, t_ns, rcode="NOERROR"):
        bare = name.lower().rstrip(".")
        if rcode not in ("NOERROR", "NXDOMAIN"):
            return "other"       # a failure, or no answer, claims nothing of the name
        for hijacked, since, until in self.hijacks:
            if (bare == hijacked or bare.endswith("." + hijacked)) and since <= t_ns and (until is None or t_ns <= until):
                return "config"
        if cls != 1 or kind in ("AXFR", "IXFR"):
            return "other"
        if bare.endswith(".arpa"):
            return "reverse" if _in_cluster(bare) else "external"
        if bare in ("cluster.local", "svc.cluster.local", "pod.cluster.local", "dns-version.cluster.local",
                    "ns.dns.cluster.local"):
            return "fixed"
        if bare.endswith(".pod.cluster.local"):
            return "pod"
        return "cluster" if bare.endswith(".cluster.local") else "external"

    def write(self, path, replicas):
        """replicas: name -> pcap file of its client leg."""
        served = {}
        for replica, capture in replicas.items():
            for t_ns, frame in read_pcap(capture):
                packet = transport(frame)
                if packet and 53 in (packet[1], packet[3]):
                    self._served(served, replica, packet)
        with open(path, "w") as out:
            for found in sorted(self.lookups(), key=lambda one: (one["t_ns"], one["port"])):
                out.write(json.dumps(self._line(found, served), separators=(",", ":")) + "\n")

    @staticmethod
    def _served(served, replica, packet):
        try:
            message = dnswire.parse(packet[4])
        except (ValueError, struct.error):
            return
        client, port = (packet[2], packet[3]) if message.response else (packet[0], packet[1])
        entry = served.setdefault((client, port, message.id, message.name.lower(), message.type), [replica, False])
        entry[1] = entry[1] or message.response

    def _line(self, found, served):
        message, reply, pod = found["message"], found["reply"], found["pod"]
        replica, answered = served.get((found["client"], found["port"], message.id, message.name.lower(), message.type),
                                       (None, False))
        lie = self._lie(reply)
        owners = self.owners(found["client"], found["t_ns"])
        return {"t_ns": found["t_ns"], "pod_uid": "node:node-1" if found["key"] == "node" else pod.uid,
                "namespace": None if found["key"] == "node" else pod.namespace,
                "pod": None if found["key"] == "node" else pod.name, "client": found["client"], "port": found["port"],
                "id": message.id, "name": message.name.lower(), "type": message.type, "proto": found["proto"],
                "server": found["server"], "sent": found["sent"], "owners": owners or ["unknown"], "replica": replica,
                "rcode": reply.rcode if reply else None,
                "answers": [f"{record.type} {record.ttl} {record.data}" for record in reply.answers] if reply else [],
                "true": lie is None, "lie": lie, "class": self._class(message.name, message.type, message.cls, found["t_ns"],
                                                                        reply.rcode if reply else None),
                "seen_in_full": bool(replica and answered) or bool(reply and pod.uid in self.captured)}


def _in_cluster(name):
    """Is a reverse name one of the cluster's addresses (pods, services, node)?"""
    if name.endswith(".ip6.arpa"):
        digits = "".join(reversed(name.removesuffix(".ip6.arpa").split(".")))
        text = ":".join(digits[i:i + 4] for i in range(0, len(digits), 4))
    else:
        text = ".".join(reversed(name.removesuffix(".in-addr.arpa").split(".")))
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return any(address in ipaddress.ip_network(net) for net in CLUSTER_NETS)
