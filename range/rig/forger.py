"""Who forges answers: with a raw socket, against the upstream leg of a replica or the client leg of a pod.

Enters: a tap on the packets that pass. Leaves: forged packets from the true server's address. The upstream forger guesses
ids and is off the path (its packets come from the internet side, with another IP TTL); the one on the path sees the id.
"""
import random
import socket
import struct
import threading
import time

from . import dnswire, netns

ETH_P_ALL, ETH_P_IP = 0x0003, 0x0800


def ip_udp(frame):
    """(source, sport, target, dport, payload) of an Ethernet frame with IPv4/UDP, else None."""
    if len(frame) < 42 or frame[12:14] != b"\x08\x00" or frame[23] != 17:
        return None
    at = 14 + (frame[14] & 15) * 4
    sport, dport, length = struct.unpack("!HHH", frame[at:at + 6])
    return (socket.inet_ntoa(frame[26:30]), sport, socket.inet_ntoa(frame[30:34]), dport, frame[at + 8:at + length])


class Tap:
    """Calls on_query(source, sport, target, dport, message, payload) for each DNS question that passes an interface."""

    def __init__(self, namespace, interface, on_query):
        with netns.inside(namespace):
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            self.socket.bind((interface, ETH_P_ALL))
        self.on_query, self.stopped = on_query, False
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        self.socket.settimeout(0.5)
        while not self.stopped:
            try:
                packet = ip_udp(self.socket.recv(65535))
            except socket.timeout:
                continue
            except OSError:
                return
            if packet and packet[3] == 53:
                try:
                    message = dnswire.parse(packet[4])
                except ValueError:
                    continue
                self.on_query(*packet[:4], message, packet[4])

    def stop(self):
        self.stopped = True
        self.socket.close()


class UpstreamForger:
    """Forges the answer to `name` for one replica: `wrong` bad ids first, then (unless it fails) the right one."""

    def __init__(self, network, replica, name, address, wrong, wins, ttl=3600, seed=1, tries=1, limit=None):
        self.replica, self.name, self.address = replica.address, name.rstrip(".").lower() + ".", address
        self.wrong, self.wins, self.ttl, self.random, self.tries = wrong, wins, ttl, random.Random(seed), tries
        self.raw = netns.sock(network.internet, kind=socket.SOCK_RAW, proto=socket.IPPROTO_RAW)
        self.tap = Tap(network.node, "up0", self._seen)
        self.forged = []         # times at which a right one was sent

    def _seen(self, source, sport, target, dport, message, payload):
        if source != self.replica or message.name.lower() != self.name or message.type != "A" or self.tries <= 0:
            return
        self.tries -= 1
        ids = self.random.sample([i for i in range(1, 65535) if i != message.id], self.wrong)
        for ident in ids:
            self._send(source, sport, target, payload, ident)
        if self.wins:
            self.forged.append(time.time_ns())
            self._send(source, sport, target, payload, message.id)

    def _send(self, client, port, server, query, ident):
        reply = dnswire.answer(query, [(None, "A", self.ttl, self.address)])
        reply = struct.pack("!H", ident) + reply[2:]
        # Another distance from the replica than the true upstream's 64.
        self.raw.sendto(dnswire.udp_packet(server, 53, client, port, reply, ttl=57), (client, 0))

    def stop(self):
        self.tap.stop()
        self.raw.close()


class PathForger:
    """On the path between a pod and the cluster DNS (on its node): sees the id, answers first, from the Service's address."""

    def __init__(self, network, pod, name, address, ttl=30, aa=True, limit=1000):
        self.name, self.address, self.ttl, self.aa, self.limit = name.rstrip(".").lower() + ".", address, ttl, aa, limit
        self.raw = netns.sock(network.node, kind=socket.SOCK_RAW, proto=socket.IPPROTO_RAW)
        interface = "p" + pod.netns.rsplit("-p", 1)[1]
        self.tap = Tap(network.node, interface, self._seen)

    def _seen(self, source, sport, target, dport, message, payload):
        if message.name.lower() != self.name or message.type != "A" or self.limit <= 0:
            return
        self.limit -= 1
        # A cluster answer of CoreDNS has AA set and RA clear; a careless forger gets it wrong.
        reply = dnswire.answer(payload, [(None, "A", self.ttl, self.address)], aa=self.aa, ra=not self.aa, edns=False)
        self.raw.sendto(dnswire.udp_packet(target, 53, source, sport, reply, ttl=61), (source, 0))

    def stop(self):
        self.tap.stop()
        self.raw.close()
