"""Requests and watches to the run's API server, each under an identity.

Enters: method, path, object. Leaves: decoded JSON, or ApiError with the server's message. The connections are made inside
the node's namespace (or another given one, so that the source address in the audit log is the requester's).
"""
import http.client
import json
import socket
import ssl
import threading

from . import netns

CORE = "/api/v1"
GROUPS = {
    "services": CORE, "pods": CORE, "configmaps": CORE, "namespaces": CORE, "endpoints": CORE, "nodes": CORE,
    "serviceaccounts": CORE, "events": CORE,
    "endpointslices": "/apis/discovery.k8s.io/v1", "deployments": "/apis/apps/v1", "replicasets": "/apis/apps/v1",
    "statefulsets": "/apis/apps/v1", "daemonsets": "/apis/apps/v1", "jobs": "/apis/batch/v1", "networkpolicies": "/apis/networking.k8s.io/v1",
    "clusterroles": "/apis/rbac.authorization.k8s.io/v1", "clusterrolebindings": "/apis/rbac.authorization.k8s.io/v1",
    "serviceimports": "/apis/multicluster.x-k8s.io/v1alpha1", "customresourcedefinitions": "/apis/apiextensions.k8s.io/v1",
    "roles": "/apis/rbac.authorization.k8s.io/v1", "rolebindings": "/apis/rbac.authorization.k8s.io/v1",
}
CLUSTER_WIDE = {"namespaces", "nodes", "clusterroles", "clusterrolebindings", "customresourcedefinitions"}
MERGE, JSON_PATCH = "application/merge-patch+json", "application/json-patch+json"


class ApiError(Exception):
    def __init__(self, code, message):
        super().__init__(f"{code}: {message}")
        self.code = code


def path(resource, namespace=None, name=None, sub=None):
    parts = [GROUPS[resource]]
    if namespace and resource not in CLUSTER_WIDE:
        parts += ["namespaces", namespace]
    parts += [part for part in (resource, name, sub) if part]
    return "/".join(parts)


class _Connection(http.client.HTTPSConnection):
    def __init__(self, client, timeout):
        super().__init__(client.host, 6443, timeout=timeout, context=client.tls)
        self.client = client

    def connect(self):
        raw = netns.sock(self.client.namespace, kind=socket.SOCK_STREAM)
        raw.settimeout(self.timeout)
        raw.connect((self.client.host, 6443))
        self.sock = self._context.wrap_socket(raw, server_hostname=self.client.host)


class Api:
    def __init__(self, namespace, ca, cert=None, key=None, token=None, agent="kubectl/v1.36.3 (linux/amd64)",
                 host="10.10.0.1"):
        self.namespace, self.token, self.agent, self.host = namespace, token, agent, host
        self.tls = ssl.create_default_context(cafile=str(ca))
        if cert:
            self.tls.load_cert_chain(str(cert), str(key))
        self.local = threading.local()

    def _headers(self, content_type):
        headers = {"Accept": "application/json", "Content-Type": content_type, "User-Agent": self.agent}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        return headers

    def request(self, method, where, body=None, content_type="application/json"):
        data = None if body is None else json.dumps(body)
        for attempt in (1, 2):
            connection = getattr(self.local, "connection", None)
            fresh = connection is None
            if fresh:
                connection = self.local.connection = _Connection(self, 60)
            try:
                connection.request(method, where, data, self._headers(content_type))
                answer = connection.getresponse()
                text = answer.read()
                break
            except (http.client.HTTPException, ConnectionError):
                connection.close()
                self.local.connection = None
                if fresh or attempt == 2:
                    raise
        if answer.status >= 400:
            try:
                message = json.loads(text).get("message", "")
            except ValueError:
                message = text.decode(errors="replace")
            raise ApiError(answer.status, f"{method} {where}: {message}")
        try:
            return json.loads(text)
        except ValueError:
            return text.decode()

    def get(self, resource, namespace=None, name=None):
        return self.request("GET", path(resource, namespace, name))

    def create(self, resource, obj, namespace=None):
        namespace = namespace or obj["metadata"].get("namespace")
        return self.request("POST", path(resource, namespace), obj)

    def apply(self, resource, obj):
        """Create, or nothing if it is there."""
        try:
            return self.create(resource, obj)
        except ApiError as error:
            if error.code != 409:
                raise

    def patch(self, resource, namespace, name, change, sub=None, kind=MERGE):
        return self.request("PATCH", path(resource, namespace, name, sub), change, kind)

    def delete(self, resource, namespace, name, grace=None):
        body = None if grace is None else {"gracePeriodSeconds": grace}
        return self.request("DELETE", path(resource, namespace, name), body)

    def watch(self, resource, on_line, stopped, query=""):
        """Calls on_line(bytes) for each line of a watch over all namespaces, until stopped() or the server ends it."""
        self.watch_path(path(resource), on_line, stopped, query)

    def watch_path(self, where, on_line, stopped, query=""):
        connection = _Connection(self, 30)
        where += ("?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
                  f"&allowWatchBookmarks=true{query}")
        connection.request("GET", where, headers=self._headers("application/json"))
        answer = connection.getresponse()
        if answer.status >= 400:
            raise ApiError(answer.status, answer.read().decode(errors="replace"))
        connection.sock.settimeout(None)
        self.open_watches = getattr(self, "open_watches", [])
        self.open_watches.append(connection)
        try:
            while not stopped():
                line = answer.readline()
                if not line:
                    return
                on_line(line)
        except (OSError, ValueError, http.client.HTTPException, AttributeError):
            if not stopped():
                raise

    def close_watches(self):
        for connection in getattr(self, "open_watches", []):
            try:
                connection.sock.shutdown(socket.SHUT_RDWR)
            except (OSError, AttributeError):
                pass
