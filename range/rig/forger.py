"""Who forges answers: with a raw socket, against the upstream leg of a replica or the client leg of a pod.

Enters: a tap on the packets that pass. Leaves: forged packets from the true server's address. The upstream forger guesses
ids and is off the path (its packets come from the internet side, with another IP TTL); the one on the path sees the id.
"""
import random
import socket
import struct
import subprocess
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

    def __init__(self, network, replica, name, address, wrong, wins, ttl=3600, seed=1, tries=1):
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
    """On the path between a pod and the cluster DNS (on its node): sees the id, drops the question, answers in its place."""

    def __init__(self, network, pod, name, address, ttl=30, aa=True):
        self.name, self.address, self.ttl, self.aa = name.rstrip(".").lower() + ".", address, ttl, aa
        self.network, self.table = network, f"path_{self.name.split('.')[0]}"
        interface = "p" + pod.netns.rsplit("-p", 1)[1]
        # Straight onto the pod's link: through the node's IP layer the forgery would confuse its connection tracking.
        with netns.inside(network.node):
            self.raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_IP))
            self.raw.bind((interface, ETH_P_IP))
        self.tap = Tap(network.node, interface, self._seen)
        self._nft(self._drop(pod.address))

    def _drop(self, client):
        """Questions of this pod for A of this name never reach the DNS: first label and type, at their fixed places."""
        packed = dnswire.pack_name(self.name)
        label, kind_at = packed[:packed[0] + 1], 8 * (8 + 12 + len(packed))
        return (f"table ip {self.table} {{\nchain early {{\ntype filter hook prerouting priority -350;\n"
                f"ip saddr {client} udp dport 53 @th,160,{8 * len(label)} 0x{label.hex()} @th,{kind_at},16 0x0001 drop\n"
                "}\n}\n")

    def _nft(self, text):
        subprocess.run(netns.command(self.network.node, ["nft", "-f", "-"]), input=text, text=True, check=True,
                       capture_output=True)

    def _seen(self, source, sport, target, dport, message, payload):
        if message.name.lower() != self.name or message.type != "A":
            return
        # A cluster answer of CoreDNS has AA set and RA clear; a careless forger gets it wrong.
        reply = dnswire.answer(payload, [(None, "A", self.ttl, self.address)], aa=self.aa, ra=not self.aa, edns=self.aa)
        macs = bytes.fromhex((netns.POD_MAC + netns.NODE_MAC).replace(":", "")) + b"\x08\x00"
        self.raw.send(macs + dnswire.udp_packet(target, 53, source, sport, reply, ttl=61))

    def stop(self):
        self._nft(f"delete table ip {self.table}")
        self.tap.stop()
        self.raw.close()


class Impostor:
    """A DNS server in a pod: lies about some names, passes everything else to a true replica and back."""

    def __init__(self, pod, lies, replica):
        self.lies, self.stopped = lies, False
        self.socket = netns.sock(pod.netns)
        self.socket.bind((pod.address, 53))
        self.socket.settimeout(0.5)
        self.back = netns.sock(pod.netns)
        self.back.settimeout(2)
        self.back.connect((replica, 53))
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while not self.stopped:
            try:
                query, client = self.socket.recvfrom(65535)
                message = dnswire.parse(query)
                address = self.lies.get(message.name.lower())
                if address and message.type == "A":
                    reply = dnswire.answer(query, [(None, "A", 30, address)], aa=True, ra=False)
                else:
                    self.back.send(query)
                    reply = self.back.recv(65535)
                self.socket.sendto(reply, client)
            except (OSError, ValueError):
                continue

    def stop(self):
        self.stopped = True
        self.socket.close()
        self.back.close()
