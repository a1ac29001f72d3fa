"""One CoreDNS process alone in a network namespace, where its addresses, clients, upstream and API server are all local.

Enters: a section of a plan. Leaves: a serving process, or why it does not serve. All cells have the same addresses: clients and
upstreams live in ranges that are local by route only (so CoreDNS does not take them for its own), the API server is reached
through a relay at 10.96.0.1. Absent on purpose: questions (rig.volley), objects (rig.world).
"""
import asyncio
import os
import re
import shutil
import subprocess
import threading
import time

from . import dnswire, netns, parts

LOCAL4 = ("10.0.0.0/8", "172.16.0.0/12", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")
LOCAL6 = ("fd00::/8", "2001:db8::/32")
SERVER, UPSTREAM = "10.244.0.2", "203.0.113.53"
HOSTS = "127.0.0.1 localhost\n::1 localhost\n"
ACCOUNT = "/run/secrets/kubernetes.io/serviceaccount"
HASH = re.compile(r"Running configuration \w+ = ([0-9a-f]+)")
START_SECONDS = 20


class Relays:
    """TCP from 10.96.0.1:443 of each cell to the API server; knows when something last came from there."""

    def __init__(self, node, target):
        self.node, self.target = node, target
        self.heard = {}
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def open(self, cell):
        listening = netns.sock(cell.netns, kind=netns.socket.SOCK_STREAM)
        listening.bind(("10.96.0.1", 443))
        self.heard[cell.version] = time.monotonic()

        async def serve():
            return await asyncio.start_server(lambda reader, writer: self._join(cell.version, reader, writer), sock=listening)
        asyncio.run_coroutine_threadsafe(serve(), self.loop).result(5)

    async def _join(self, version, reader, writer):
        raw = netns.sock(self.node, kind=netns.socket.SOCK_STREAM)
        raw.setblocking(False)
        try:
            await self.loop.sock_connect(raw, self.target)
            back_reader, back_writer = await asyncio.open_connection(sock=raw)
        except OSError:
            writer.close()
            return
        await asyncio.gather(self._pump(reader, back_writer, None), self._pump(back_reader, writer, version))

    async def _pump(self, reader, writer, version):
        try:
            while data := await reader.read(1 << 16):
                if version:
                    self.heard[version] = time.monotonic()
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        writer.close()

    def quiet(self, versions, since, pause=0.3, limit=10.0):
        """Wait until nothing has come from the API server to these versions for `pause` seconds, counted from `since`."""
        end = time.monotonic() + limit
        while (now := time.monotonic()) < end:
            last = max([since, *(self.heard[version] for version in versions)])
            if now - last >= pause:
                return
            time.sleep(pause - (now - last) + 0.005)

    def stop(self):
        self.loop.call_soon_threadsafe(self.loop.stop)


class Cell:
    def __init__(self, version, network, children, folder, token, ca, relays):
        self.version, self.network, self.children = version, network, children
        self.folder = folder / version
        self.netns = f"{network.prefix}c{version.replace('.', '')}"
        self.process = self.knot = self.served = None
        self.addresses, self.section = [], None
        network.add(self.netns)
        netns.ip_batch(self.netns, ["link set lo up", *(f"route add local {net} dev lo" for net in LOCAL4),
                                    *(f"route add local {net} dev lo" for net in LOCAL6)])
        # Linux lets IPv4 sockets be bound to what is local by route; for IPv6 it wants to be told.
        subprocess.run(netns.command(self.netns, ["sh", "-c", "echo 1 > /proc/sys/net/ipv6/ip_nonlocal_bind"]), check=True)
        account = self.folder / "account"
        account.mkdir(parents=True)
        (account / "token").write_text(token)
        (account / "namespace").write_text("kube-system")
        (account / "ca.crt").write_bytes(ca)
        relays.open(self)

    # The surroundings of a section

    def prepare(self, section):
        """Addresses, upstream and files as the section wants them."""
        self.section = section
        wanted = section.get("server_ips", [SERVER])
        if wanted != self.addresses:
            netns.ip_batch(self.netns, [
                *(f"addr del {one} dev lo" for one in map(_with_length, self.addresses)),
                *(f"addr add {one} dev lo" + (" nodad" if ":" in one else "") for one in map(_with_length, wanted))])
            self.addresses = list(wanted)
        self._serve_upstream(section.get("upstream_zone", ""), section.get("upstreams", [UPSTREAM]))
        etc = self.folder / "etc"
        shutil.rmtree(etc, ignore_errors=True)
        etc.mkdir()
        (etc / "Corefile").write_text(section["corefile"])
        for name, text in section.get("files", {}).items():
            path = (etc / name).resolve()
            if etc.resolve() not in path.parents:
                raise ValueError(f"file {name} leads out of the folder")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (self.folder / "resolv.conf").write_text(section.get("resolv_conf", f"nameserver {UPSTREAM}\n"))
        (self.folder / "hosts").write_text(section.get("hosts_file", HOSTS))

    def _serve_upstream(self, text, addresses):
        if (text, addresses) == self.served:
            return
        if self.knot:
            self.children.stop(self.knot, kill=True)
            self.knot = None
        self.served = (text, addresses)
        zones = split_zones(text)
        self._refuse_others(addresses if zones else [])
        if not zones or not addresses:
            return
        folder = self.folder / "knot"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        listed = ""
        for number, (zone, body) in enumerate(zones):
            (folder / f"{number}.zone").write_text(body)
            listed += f'  - domain: "{zone}"\n    file: "{folder}/{number}.zone"\n'
        listen = ", ".join(f"{one}@53" for one in addresses)
        conf = folder / "knot.conf"
        conf.write_text(f'server:\n  identity: ""\n  version: ""\n  rundir: "{folder}"\n  listen: [{listen}]\n  udp-workers: 1\n  tcp-workers: 1\n'
                        f'  tcp-reuseport: on\n  background-workers: 1\nlog:\n  - target: stderr\n    any: warning\n'
                        f'database:\n  storage: "{folder}"\n'
                        f'template:\n  - id: default\n    zonefile-sync: -1\n    journal-content: none\nzone:\n{listed}')
        self.knot = self.children.start(f"knot-{self.version}", netns.command(self.netns, ["knotd", "-c", str(conf)]))
        self._wait_upstream(addresses[0], zones[0][0])

    def _refuse_others(self, addresses):
        """Addresses of the internet that serve nothing say so: else CoreDNS itself, which listens everywhere, would answer there."""
        rules = ""
        for family, nets, kind in (("ip", LOCAL4[2:], "icmp"), ("ip6", LOCAL6[1:], "icmpv6")):
            spared = [one for one in addresses if (":" in one) == (family == "ip6")]
            but = f"{family} daddr != {{ {', '.join(spared)} }} " if spared else ""
            rules += (f"    {family} daddr {{ {', '.join(nets)} }} {but}meta l4proto {{ tcp, udp }} th dport 53 "
                      f"reject with {kind} type port-unreachable\n")
        text = ("table inet internet\ndelete table inet internet\ntable inet internet {\n  chain in {\n"
                f"    type filter hook input priority 0;\n{rules}  }}\n}}\n")
        subprocess.run(netns.command(self.netns, ["nft", "-f", "-"]), input=text, text=True, check=True, capture_output=True)

    def _wait_upstream(self, address, zone):
        probe = netns.sock(self.netns, netns.socket.AF_INET6 if ":" in address else netns.socket.AF_INET)
        probe.settimeout(0.05)
        probe.connect((address, 53))
        for _ in range(200):
            try:
                probe.send(dnswire.question(7, zone, "SOA"))
                if dnswire.parse(probe.recv(4096)).rcode == "NOERROR":
                    return
                time.sleep(0.01)
            except OSError:
                time.sleep(0.01)
        raise RuntimeError(f"knot does not serve {zone}: see knot-{self.version}.out")

    # The process

    def launch(self):
        """Start the process; `wait` tells what became of it."""
        self.log = self.folder / "log"
        env = [f"{key}={value}" for key, value in self.section.get("env", {}).items()]
        inner = ["env", "-i", "PATH=/usr/bin:/bin", "KUBERNETES_SERVICE_HOST=10.96.0.1", "KUBERNETES_SERVICE_PORT=443",
                 f"HOSTNAME=coredns-{self.version.replace('.', '-')}", "GOMAXPROCS=2", *env,
                 "sh", "-c", 'cd /run/coredns && exec "$0" "$@"', parts.binary("coredns", self.version), "-conf", "Corefile"]
        binds = [(self.folder / "account", ACCOUNT), (self.folder / "etc", "/run/coredns"),
                 (self.folder / "resolv.conf", "/etc/resolv.conf"), (self.folder / "hosts", "/etc/hosts")]
        argv = netns.command(self.netns, inner, binds, [("/run", ACCOUNT, "/run/coredns")])
        with open(self.log, "wb") as out:
            self.process = self.children.start(f"coredns-{self.version}", argv, stdout=out, stderr=subprocess.STDOUT)
        self.launched = time.monotonic()

    def wait(self):
        """None when it serves, else why it does not."""
        end = self.launched + START_SECONDS
        while time.monotonic() < end:
            text = self.log.read_text(errors="replace")
            if f"CoreDNS-{self.version}" in text:
                return None
            if self.process.poll() is not None:
                return last_words(self.log.read_text(errors="replace"))
            time.sleep(0.01)
        self.stop()
        return f"not serving after {START_SECONDS} s: {last_words(self.log.read_text(errors='replace'))}"

    def facts(self):
        """(began without having synced, running hash or None)"""
        text = self.log.read_text(errors="replace")
        found = HASH.search(text)
        return "unsynced Kubernetes API" in text, found and found.group(1)

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def died(self):
        """Why, after `alive` said no."""
        return last_words(self.log.read_text(errors="replace"))

    def stop(self):
        if self.process:
            self.children.stop(self.process, kill=True)
            self.process = None

    def server(self, client):
        """Where a client asks: an address of its own family."""
        six = ":" in client
        found = next((one for one in self.addresses if (":" in one) == six), None)
        return found or ("fd00:10:244::2" if six else SERVER)


def _with_length(address):
    return f"{address}/128" if ":" in address else f"{address}/32"


def split_zones(text):
    """[(zone, its file)] of zone files one after another."""
    found = []
    for line in text.splitlines():
        if line.startswith("$ORIGIN"):
            found.append((line.split()[1], []))
        if found:
            found[-1][1].append(line)
        elif line.strip():
            raise ValueError("upstream_zone must begin with $ORIGIN")
    return [(zone, "\n".join(lines) + "\n") for zone, lines in found]


def last_words(text):
    """The line that says why a program ended: a panic's, else the last one."""
    lines = [line for line in text.splitlines() if line.strip()]
    for line in lines:
        if line.startswith(("panic:", "fatal error:")):
            return line
    return lines[-1] if lines else "no word"
