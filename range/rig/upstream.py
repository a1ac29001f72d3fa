"""The range's internet: knot with a root zone and some zones, and in front of it, at the upstream's address, a relay.

Enters: zone files, orders (slow, dead, own answers). Leaves: answers as of a recursive resolver (RA set, AA clear, CNAMEs
followed). The relay is there because knot can be told neither to wait nor to lie.
"""
import heapq
import select
import socket
import struct
import threading
import time

from . import dnswire, netns
from .parts import RANGE

ADDRESS = "203.0.113.53"
BASE_DELAY = 0.008


class Upstream:
    def __init__(self, network, children, folder):
        self.network, self.children, self.folder = network, children, folder
        self.rules = []          # (suffix, kind, value, client or None): the first that fits decides
        self.own = {}            # (name, type) -> [ttl, [data], count given at once]
        self.turn = 0
        self.stopped = False
        self.lock = threading.Lock()

    def start(self):
        zones = self.folder / "knot"
        zones.mkdir()
        listed = "".join(f'  - domain: "{path.stem if path.stem != "root" else "."}"\n    file: "{path}"\n'
                         for path in sorted((RANGE / "zones").glob("*.zone")))
        conf = zones / "knot.conf"
        conf.write_text(f'server:\n  rundir: "{zones}"\n  listen: 127.0.0.1@5353\n  udp-workers: 1\n  tcp-workers: 1\n'
                        f'  identity: "resolver-1"\n'
                        f'  background-workers: 1\nlog:\n  - target: stderr\n    any: warning\n'
                        f'database:\n  storage: "{zones}"\n'
                        f'template:\n  - id: default\n    zonefile-sync: -1\n    journal-content: none\nzone:\n{listed}')
        self.children.start("knotd", netns.command(self.network.internet, ["knotd", "-c", str(conf)]))
        self.back = netns.sock(self.network.internet)
        self.back.settimeout(1.0)
        self.back.connect(("127.0.0.1", 5353))
        self.udp = netns.sock(self.network.internet)
        self.udp.bind((ADDRESS, 53))
        self.tcp = netns.sock(self.network.internet, kind=socket.SOCK_STREAM)
        self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.tcp.bind((ADDRESS, 53))
        self.tcp.listen(8)
        self._wait_knot()
        self.thread = threading.Thread(target=self._serve_udp, daemon=True)
        self.thread.start()
        threading.Thread(target=self._serve_tcp, daemon=True).start()

    def _wait_knot(self):
        for _ in range(100):
            try:
                self.back.send(dnswire.question(1, "github.com", "A"))
                self.back.recv(4096)
                return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError("knot does not answer")

    # Orders

    def rule(self, suffix, kind, value=None, client=None):
        """kind: slow (value seconds), dead (value: a type, or all), echo (value: the name to answer with), refuse.
        With `client` only towards that address."""
        self.rules.insert(0, (suffix.rstrip(".").lower(), kind, value, client))

    def heal(self, suffix=None):
        self.rules = [] if suffix is None else [rule for rule in self.rules if rule[0] != suffix.rstrip(".").lower()]

    def answer(self, name, kind, ttl, data, at_once=None):
        self.own[(name.rstrip(".").lower() + ".", kind)] = [ttl, data, at_once or len(data)]

    # Answers

    def _respond(self, query):
        asked = dnswire.parse(query)
        name = asked.name.lower()
        own = self.own.get((name, asked.type))
        if own:
            ttl, data, count = own
            self.turn += 1
            given = [data[(self.turn + i) % len(data)] for i in range(count)]
            return dnswire.answer(query, [(None, asked.type, ttl, one) for one in given])
        if any(key[0] == name for key in self.own):
            return dnswire.answer(query, [])
        with self.lock:
            self.back.send(query)
            reply = self._reply(asked.id)
            chain = self._chase(query, reply, asked)
        flags = struct.unpack("!H", reply[2:4])[0] & ~0x0400 | 0x0080
        return chain or reply[:2] + struct.pack("!H", flags) + reply[4:]

    def _reply(self, ident):
        while True:
            reply = self.back.recv(65535)
            if struct.unpack("!H", reply[:2])[0] == ident:
                return reply

    def _chase(self, query, reply, asked):
        """Follow a CNAME that leaves the zone, as a resolver does."""
        message = dnswire.parse(reply)
        records = [(record.name, record.type, record.ttl, record.data) for record in message.answers]
        followed = False
        while records and records[-1][1] == "CNAME" and asked.type != "CNAME" and len(records) < 8:
            self.back.send(dnswire.question(asked.id, records[-1][3], asked.type))
            more = dnswire.parse(self._reply(asked.id)).answers
            if not more:
                break
            followed = True
            records += [(record.name, record.type, record.ttl, record.data) for record in more]
        return dnswire.answer(query, records) if followed else None

    def _fate(self, query, asker):
        """(delay or None for no answer, answer)"""
        asked = dnswire.parse(query)
        name = asked.name.lower().rstrip(".")
        for suffix, kind, value, client in self.rules:
            if client not in (None, asker):
                continue
            if suffix and name != suffix and not name.endswith("." + suffix):
                continue
            if kind == "dead" and value in (None, asked.type):
                return None, None
            if kind == "slow":
                return value, self._respond(query)
            if kind == "refuse":
                return BASE_DELAY, dnswire.answer(query, [], rcode=5)
            if kind == "echo":
                return BASE_DELAY, dnswire.answer(query, [(None, "A", 60, "198.51.100.99")], name=value)
        return BASE_DELAY, self._respond(query)

    def _serve_udp(self):
        waiting, serial = [], 0
        while not self.stopped:
            pause = max(0.0, waiting[0][0] - time.monotonic()) if waiting else 0.5
            if select.select([self.udp], [], [], pause)[0]:
                try:
                    query, client = self.udp.recvfrom(65535)
                    delay, reply = self._fate(query, client[0])
                except (OSError, ValueError):
                    continue
                if reply:
                    serial += 1
                    heapq.heappush(waiting, (time.monotonic() + delay, serial, reply, client))
            while waiting and waiting[0][0] <= time.monotonic():
                _, _, reply, client = heapq.heappop(waiting)
                self.udp.sendto(reply, client)

    def _serve_tcp(self):
        self.tcp.settimeout(0.5)
        while not self.stopped:
            try:
                stream, client = self.tcp.accept()
            except OSError:
                continue
            threading.Thread(target=self._stream, args=(stream, client[0]), daemon=True).start()

    def _stream(self, stream, client):
        stream.settimeout(5)
        try:
            while True:
                size = struct.unpack("!H", stream.recv(2))[0]
                delay, reply = self._fate(stream.recv(size), client)
                if reply:
                    time.sleep(delay)
                    stream.sendall(struct.pack("!H", len(reply)) + reply)
        except (OSError, struct.error, ValueError):
            stream.close()

    def stop(self):
        self.stopped = True
        self.thread.join(1)
        self.udp.close()
        self.tcp.close()
