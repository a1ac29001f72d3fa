"""Where the built programs are. Enters: nothing. Leaves: paths, or Missing with what to do."""
import hashlib
import os
from pathlib import Path

VERSIONS = {"etcd": "3.6.16", "kube-apiserver": "1.36.3", "kube-controller-manager": "1.36.3", "kube-proxy": "1.36.3"}
RANGE = Path(__file__).resolve().parent.parent


class Missing(Exception):
    pass


def cache():
    return Path(os.environ.get("TRUENAME_CACHE", Path.home() / ".cache" / "truename")) / "parts"


def binary(name, version=None):
    found = cache() / f"{name}-{version or VERSIONS[name]}" / name
    if not found.exists():
        raise Missing(f"{name} {version or VERSIONS[name]} is not built (range/parts/build)")
    return str(found)


def client(name):
    """A stub program; keyed by the hash of the clients' sources (as in parts/build)."""
    sources = [RANGE / "clients" / "stub.c", *sorted((RANGE / "clients" / "stub-go").iterdir())]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    found = cache() / f"clients-{digest}" / name
    if not found.exists():
        raise Missing(f"client {name} is not built (range/parts/build)")
    return str(found)
