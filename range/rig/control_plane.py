"""etcd, kube-apiserver, kube-controller-manager, kube-proxy in the node's namespace, and the objects that kubeadm makes.

Enters: a network, a folder, the certificates. Leaves: a running API with the identities' rights in place.
"""
import time

from . import parts
from .api import Api, ApiError
from .netns import command
from .pki import kubeconfig

SERVICE_CIDR, POD_CIDR, DNS_ADDRESS = "10.96.0.0/12", "10.244.0.0/16", "10.96.0.10"
SERVICE_CIDR6, POD_CIDR6, DNS_ADDRESS6 = "fd00:96::/112", "fd00:244::/64", "fd00:96::a"
CONTROLLERS = ("endpointslice-controller,endpointslice-mirroring-controller,endpoints-controller,namespace-controller,"
               "serviceaccount-controller,replicaset-controller,deployment-controller,statefulset-controller,"
               "daemonset-controller,job-controller,garbage-collector-controller")
AUDIT_POLICY = """apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  verbs: [get, list, watch]
- level: RequestResponse
  resources:
  - {group: "", resources: [services, endpoints, pods, pods/status, pods/binding, configmaps, namespaces]}
  - {group: discovery.k8s.io, resources: [endpointslices]}
  - {group: networking.k8s.io, resources: [networkpolicies]}
- level: None
"""
ADMIN_RULES = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
DNS_RULES = [
    {"apiGroups": [""], "resources": ["endpoints", "services", "pods", "namespaces"], "verbs": ["list", "watch"]},
    {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]}]
IMPORT_RULES = [{"apiGroups": ["multicluster.x-k8s.io"], "resources": ["serviceimports"], "verbs": ["list", "watch"]}]


class ControlPlane:
    def __init__(self, network, children, folder):
        self.network, self.children, self.folder = network, children, folder
        self.pki = folder / "pki"
        self.audit_path = folder / "audit.log"

    def client(self, identity, agent="kubectl/v1.36.3 (linux/amd64)"):
        return Api(self.network.node, self.pki / "ca.crt", self.pki / f"{identity}.crt", self.pki / f"{identity}.key",
                   agent=agent)

    def token_client(self, namespace, account, agent, seconds=3600, source=None):
        """A client that uses a service account's token (as a pod does, or one who stole it)."""
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
                   "spec": {"expirationSeconds": seconds}}
        where = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        token = self.admin.request("POST", where, request)["status"]["token"]
        return Api(source or self.network.node, self.pki / "ca.crt", token=token, agent=agent)

    def _start(self, name, argv, **more):
        return self.children.start(name, command(self.network.node, argv, **more))

    def start_bare(self):
        """etcd and the API server alone, both families, no audit: objects stay as they are written."""
        self._start_store()
        self._start_server(f"{SERVICE_CIDR},{SERVICE_CIDR6}", [])
        self.role("system:coredns", DNS_RULES + IMPORT_RULES, [("ServiceAccount", "kube-system/coredns")])
        self.account("kube-system", "coredns")

    def start(self):
        self._start_store()
        policy = self.folder / "audit-policy.yaml"
        policy.write_text(AUDIT_POLICY)
        self._start_server(f"{SERVICE_CIDR},{SERVICE_CIDR6}" if self.network.dual else SERVICE_CIDR, [f"--audit-policy-file={policy}", f"--audit-log-path={self.audit_path}",
                                          "--audit-log-mode=blocking-strict", "--audit-log-maxsize=1000"])
        self._start_controllers()

    def _start_store(self):
        self._start("etcd", [parts.binary("etcd"), f"--data-dir={self.folder}/etcd", "--unsafe-no-fsync",
                             "--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
                             "--listen-peer-urls=http://127.0.0.1:2380", "--log-level=error"])

    def _start_server(self, services, more):
        pki = self.pki
        self._start("kube-apiserver", [
            parts.binary("kube-apiserver"), "--etcd-servers=http://127.0.0.1:2379", "--secure-port=6443",
            "--bind-address=10.10.0.1", "--advertise-address=10.10.0.1", f"--service-cluster-ip-range={services}",
            f"--tls-cert-file={pki}/apiserver.crt", f"--tls-private-key-file={pki}/apiserver.key",
            f"--client-ca-file={pki}/ca.crt", "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={pki}/sa.key", f"--service-account-signing-key-file={pki}/sa.key",
            "--authorization-mode=RBAC", "--disable-admission-plugins=ServiceAccount",
            *more, f"--cert-dir={self.folder}/apiserver-certs",
            "--enable-priority-and-fairness=false"])
        self.admin = self.client("admin")
        self._wait_ready()

    def _start_controllers(self):
        pki = self.pki
        self._start("kube-controller-manager", [
            parts.binary("kube-controller-manager"), f"--controllers={CONTROLLERS}", "--leader-elect=false",
            f"--kubeconfig={kubeconfig(pki, 'kcm')}", f"--service-account-private-key-file={pki}/sa.key",
            f"--root-ca-file={pki}/ca.crt", "--use-service-account-credentials=true", "--secure-port=0",
            f"--cert-dir={self.folder}/kcm-certs", "--kube-api-qps=200", "--kube-api-burst=400"])
        self._grant()
        self._make_node()
        self._start("kube-proxy", [
            parts.binary("kube-proxy"), "--proxy-mode=nftables", "--hostname-override=node-1",
            f"--cluster-cidr={POD_CIDR},{POD_CIDR6}" if self.network.dual else f"--cluster-cidr={POD_CIDR}", "--conntrack-max-per-core=0", f"--kubeconfig={kubeconfig(pki, 'proxy')}",
            "--healthz-bind-address=127.0.0.1:10256", "--metrics-bind-address=127.0.0.1:10249"])

    def _wait_ready(self, seconds=120):
        end = time.monotonic() + seconds
        while True:
            try:
                if self.admin.request("GET", "/readyz") == "ok":
                    return
            except (ApiError, OSError):
                pass
            if time.monotonic() > end:
                raise RuntimeError(f"kube-apiserver not ready after {seconds} s, see {self.folder}/kube-apiserver.out")
            time.sleep(0.1)

    def _make_node(self):
        node = self.client("node", "kubelet/v1.36.3 (linux/amd64)")
        node.create("nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1", "labels": {
            "kubernetes.io/hostname": "node-1"}}, "spec": {"podCIDR": "10.244.0.0/24", "podCIDRs": [
                "10.244.0.0/24", *(["fd00:244::/80"] if self.network.dual else [])]}})
        node.patch("nodes", None, "node-1", {"status": {
            "addresses": [*({"type": "InternalIP", "address": one} for one in self.network.node_addresses),
                          {"type": "Hostname", "address": "node-1"}],
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
            "capacity": {"pods": "250"}, "nodeInfo": {"kubeletVersion": "v1.36.3"}}}, sub="status")

    def _grant(self):
        """What kubeadm and the platform's owners grant."""
        self.role("platform-operator", ADMIN_RULES, [("Group", "platform-team")])
        self.role("developer", [{"apiGroups": ["", "apps", "batch", "discovery.k8s.io"], "resources": ["*"], "verbs": ["*"]}],
                  [("Group", "developers")])
        self.role("system:coredns", DNS_RULES, [("ServiceAccount", "kube-system/coredns")])
        # RBAC alone (no Node authorizer): the kubelet's rights by a role.
        self.role("system:kubelet", [{"apiGroups": [""], "resources": ["nodes", "nodes/status", "pods", "pods/status"],
                                      "verbs": ["*"]}], [("Group", "system:nodes")])
        for namespace, name in (("kube-system", "coredns"), ("argocd", "argocd-application-controller")):
            self.account(namespace, name)
        self.role("argocd-application-controller", ADMIN_RULES,
                  [("ServiceAccount", "argocd/argocd-application-controller")])

    def namespace(self, name, api=None):
        (api or self.admin).apply("namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})

    def account(self, namespace, name):
        self.namespace(namespace)
        self.admin.apply("serviceaccounts", {"apiVersion": "v1", "kind": "ServiceAccount",
                                             "metadata": {"namespace": namespace, "name": name}})

    def role(self, name, rules, subjects):
        listed = []
        for kind, who in subjects:
            if kind == "ServiceAccount":
                namespace, account = who.split("/")
                listed.append({"kind": kind, "namespace": namespace, "name": account})
            else:
                listed.append({"kind": kind, "name": who, "apiGroup": "rbac.authorization.k8s.io"})
        api = "rbac.authorization.k8s.io/v1"
        self.admin.apply("clusterroles", {"apiVersion": api, "kind": "ClusterRole", "metadata": {"name": name},
                                          "rules": rules})
        self.admin.apply("clusterrolebindings", {
            "apiVersion": api, "kind": "ClusterRoleBinding", "metadata": {"name": name}, "subjects": listed,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}})
