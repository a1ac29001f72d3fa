"""Network namespaces of one run: made, entered, removed. The root namespace's network is never touched.

Enters: names and addresses. Leaves: a routed network (no bridge), as Calico makes it: each pod has a /32 and a
point-to-point veth to the node, so all traffic passes the node's IP layer and conntrack undoes Service NAT.
Absent on purpose: DNS, Kubernetes. All links are created directly inside the made namespaces.
"""
import ctypes
import os
import signal
import socket
import subprocess
from contextlib import contextmanager

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
NODE_MAC, POD_MAC = "ee:ee:ee:ee:ee:ee", "ee:ee:ee:ee:ee:01"


def ip(*args, check=True):
    return subprocess.run(["ip", *args], check=check, capture_output=True, text=True).stdout


def ip_batch(name, lines):
    """Many ip commands in namespace `name`, in one process."""
    done = subprocess.run(["ip", "-n", name, "-batch", "-"], input="\n".join(lines) + "\n",
                          capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"ip: {done.stderr.strip()} in {lines}")


def available():
    """None if namespaces can be made here, else the reason why not."""
    if os.geteuid() != 0:
        return "not root"
    name = f"tn-probe-{os.getpid()}"
    try:
        ip("netns", "add", name)
        ip("-n", name, "link", "add", "probe0", "type", "veth", "peer", "name", "probe1")
        return None
    except (OSError, subprocess.CalledProcessError) as error:
        return f"network namespaces cannot be made ({getattr(error, 'stderr', error)})".replace("\n", " ")
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True)


@contextmanager
def inside(name):
    """The calling thread (only it) works in namespace `name`; sockets made here stay there."""
    back = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{name}", os.O_RDONLY)
    try:
        if _libc.setns(there, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {name}")
        yield
    finally:
        if _libc.setns(back, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns back")
        os.close(back)
        os.close(there)


def sock(name, family=socket.AF_INET, kind=socket.SOCK_DGRAM, proto=0):
    with inside(name):
        return socket.socket(family, kind, proto)


def command(name, argv, binds=(), scratch=(), hostname=None):
    """argv to run in namespace `name`, in a private mount namespace: `scratch` folders are fresh tmpfs with the given
    paths made inside, `binds` are (source, target). The pid stays the same through all the execs, so that killing it
    kills the program."""
    steps = ["set -e"]
    for top, *paths in scratch:
        steps += [f"mount -t tmpfs none {top}", *(f"mkdir -p {path}" for path in paths)]
    steps += [f"mount --bind {source} {target}" for source, target in binds]
    if hostname:
        steps.append(f"echo {hostname} > /proc/sys/kernel/hostname")
    script = "; ".join(steps) + '; exec "$@"'
    return ["nsenter", f"--net=/run/netns/{name}", "unshare", "-m", *(["-u"] if hostname else []), "sh", "-c", script, "sh",
            *argv]


def reap(prefix):
    """Remove the namespaces that begin with `prefix` and end what still runs in them: of a run that was killed."""
    names = [line.split()[0] for line in ip("netns", "list", check=False).splitlines() if line.startswith(prefix)]
    for name in names:
        for pid in ip("netns", "pids", name, check=False).split():
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                pass
        subprocess.run(["ip", "netns", "del", name], capture_output=True)


class Network:
    """The namespaces of one run: node, internet, pods."""

    def __init__(self, run_id, node_address="10.10.0.1", dual=False):
        self.prefix = f"tn-{run_id}-"
        self.node, self.internet = self.prefix + "node", self.prefix + "net"
        self.node_address, self.dual = node_address, dual
        self.node_addresses = [node_address, *(["fd00:10::1"] if dual else [])]
        self.made = []
        self.serial = 0

    def add(self, name):
        ip("netns", "add", name)
        self.made.append(name)

    def start(self, internet_addresses):
        self.add(self.node)
        self.add(self.internet)
        ip_batch(self.node, [
            "link set lo up",
            f"addr add {self.node_address}/32 dev lo",
            f"link add up0 type veth peer name eth0 netns {self.internet}",
            "link set up0 up",
            "addr add 172.31.0.1/30 dev up0",
        ])
        ip_batch(self.internet, [
            "link set lo up",
            "link set eth0 up",
            "addr add 172.31.0.2/30 dev eth0",
            "route add default via 172.31.0.1",
            *[f"addr add {address}/32 dev lo" for address in internet_addresses],
        ])
        ip("-n", self.node, "route", "add", "default", "via", "172.31.0.2", "src", self.node_address)
        subprocess.run(command(self.node, ["sh", "-c",
            "for f in all default up0; do echo 0 > /proc/sys/net/ipv4/conf/$f/rp_filter; done;"
            "echo 1 > /proc/sys/net/ipv4/ip_forward"]), check=True, capture_output=True)
        if self.dual:
            # Pods reach IPv6 through one link-local gateway, as they reach IPv4 through 169.254.1.1.
            ip("-n", self.node, "addr", "add", f"{self.node_addresses[1]}/128", "dev", "lo", "nodad")
            subprocess.run(command(self.node, ["sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding"]), check=True)

    def add_pod(self, address, address6=None):
        """Make a pod's network; returns the namespace's name."""
        self.serial += 1
        name, host = f"{self.prefix}p{self.serial}", f"p{self.serial}"
        self.add(name)
        ip_batch(self.node, [
            f"link add {host} address {NODE_MAC} type veth peer name eth0 address {POD_MAC} netns {name}",
            f"link set {host} up",
            f"neigh add {address} lladdr {POD_MAC} dev {host} nud permanent",
            f"route replace {address}/32 dev {host} src {self.node_address}",
        ])
        ip_batch(name, [
            "link set lo up",
            "link set eth0 up",
            f"addr add {address}/32 dev eth0",
            "route add 169.254.1.1 dev eth0 scope link",
            f"neigh add 169.254.1.1 lladdr {NODE_MAC} dev eth0 nud permanent",
            f"route add default via 169.254.1.1 src {address}",
        ])
        if address6:
            self._add_family6(name, host, address6)
        return name

    def _add_family6(self, name, host, address):
        # No addresses of the links' own: only what the cluster knows may ever be a source.
        ip_batch(self.node, [
            f"link set {host} addrgenmode none",
            f"neigh add {address} lladdr {POD_MAC} dev {host} nud permanent",
            f"route replace {address}/128 dev {host} src {self.node_addresses[1]}",
        ])
        ip_batch(name, [
            "link set eth0 addrgenmode none",
            f"addr add {address}/128 dev eth0 nodad",
            f"neigh add fe80::1 lladdr {NODE_MAC} dev eth0 nud permanent",
            "route add fe80::1/128 dev eth0",
            f"route add default via fe80::1 dev eth0 src {address}",
        ])

    def remove(self, name):
        subprocess.run(["ip", "netns", "del", name], capture_output=True)
        if name in self.made:
            self.made.remove(name)

    def stop(self):
        for name in reversed(list(self.made)):
            self.remove(name)
