"""A certificate authority of one run, and the identities of its actors, with openssl.

Enters: a folder. Leaves: ca.crt, sa.key, and NAME.crt/.key per identity. Names are those of a real cluster, so that the
audit log reads like one.
"""
import subprocess
from concurrent.futures import ThreadPoolExecutor

# file name -> (user, groups)
IDENTITIES = {
    "admin": ("kubernetes-admin", ["system:masters"]),
    "kcm": ("system:kube-controller-manager", []),
    "scheduler": ("system:kube-scheduler", []),
    "node": ("system:node:node-1", ["system:nodes"]),
    "proxy": ("system:kube-proxy", []),
    "alice": ("alice@example.com", ["platform-team"]),
    "bob": ("bob@example.com", ["developers"]),
}
SERVER_NAMES = ("DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,"
                "DNS:kubernetes.default.svc.cluster.local,IP:10.10.0.1,IP:10.96.0.1,IP:127.0.0.1")


def _openssl(*args):
    subprocess.run(["openssl", *args], check=True, capture_output=True)


def _key(path):
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(path))


def _signed(folder, name, subject, extensions):
    key, request, conf = folder / f"{name}.key", folder / f"{name}.csr", folder / f"{name}.ext"
    _key(key)
    conf.write_text(extensions)
    _openssl("req", "-new", "-key", str(key), "-subj", subject, "-out", str(request))
    _openssl("x509", "-req", "-in", str(request), "-CA", str(folder / "ca.crt"), "-CAkey", str(folder / "ca.key"),
             "-set_serial", f"0x{abs(hash(name)) % (1 << 60) + 1:x}", "-days", "30", "-extfile", str(conf),
             "-out", str(folder / f"{name}.crt"))


def make(folder):
    folder.mkdir(parents=True)
    _key(folder / "ca.key")
    _openssl("req", "-x509", "-new", "-key", str(folder / "ca.key"), "-subj", "/CN=kubernetes", "-days", "30",
             "-out", str(folder / "ca.crt"))
    _openssl("genrsa", "-out", str(folder / "sa.key"), "2048")
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(_signed, folder, "apiserver", "/CN=kube-apiserver",
                            f"subjectAltName={SERVER_NAMES}\nextendedKeyUsage=serverAuth\n")]
        for name, (user, groups) in IDENTITIES.items():
            subject = "".join(f"/O={group}" for group in groups) + f"/CN={user}"
            jobs.append(pool.submit(_signed, folder, name, subject, "extendedKeyUsage=clientAuth\n"))
        for job in jobs:
            job.result()


def kubeconfig(folder, name, server="https://10.10.0.1:6443"):
    path = folder / f"{name}.kubeconfig"
    path.write_text(f"""apiVersion: v1
kind: Config
clusters: [{{name: range, cluster: {{server: "{server}", certificate-authority: "{folder}/ca.crt"}}}}]
users: [{{name: me, user: {{client-certificate: "{folder}/{name}.crt", client-key: "{folder}/{name}.key"}}}}]
contexts: [{{name: range, context: {{cluster: range, user: me}}}}]
current-context: range
""")
    return path
