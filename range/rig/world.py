"""A plan's objects on a bare API server: put there, changed, read back, taken away.

Enters: raw objects and edit events of a plan (docs/formats/differential.md). Leaves: the same as the server has them, and what it
refused. No controller runs, so nothing else changes them. Absent on purpose: CoreDNS.
"""
import time
from concurrent.futures import ThreadPoolExecutor

from .api import CLUSTER_WIDE, ApiError, path

RESOURCES = {"Namespace": "namespaces", "Node": "nodes", "Service": "services", "EndpointSlice": "endpointslices",
             "Pod": "pods", "ServiceImport": "serviceimports"}
PERMANENT = {"default", "kube-system", "kube-public", "kube-node-lease"}
LONG_GRACE = 86400
IMPORT_CRD = {
    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
    "metadata": {"name": "serviceimports.multicluster.x-k8s.io", "annotations": {
        "api-approved.kubernetes.io": "https://github.com/kubernetes/enhancements/pull/1748"}},
    "spec": {"group": "multicluster.x-k8s.io", "scope": "Namespaced",
             "names": {"plural": "serviceimports", "singular": "serviceimport", "kind": "ServiceImport"},
             "versions": [{"name": "v1alpha1", "served": True, "storage": True, "subresources": {"status": {}},
                           "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}}]}}


def label(obj):
    meta = obj.get("metadata", {})
    return "/".join(filter(None, (meta.get("namespace"), meta.get("name", "?"))))


class World:
    def __init__(self, api):
        self.api, self.pool = api, ThreadPoolExecutor(8)

    def prepare(self):
        self.api.apply("customresourcedefinitions", IMPORT_CRD)
        for _ in range(200):
            try:
                self.api.get("serviceimports")
                return
            except ApiError:
                time.sleep(0.1)          # not served yet: 404, then 429
        raise RuntimeError("serviceimports are not served")

    # Reading

    def listed(self):
        """All objects of the kinds known here, as the server has them."""
        found = []
        for items in self.pool.map(self._list, RESOURCES):
            found += items
        return found

    def _list(self, kind):
        answer = self.api.get(RESOURCES[kind])
        return [self._clean({"apiVersion": answer["apiVersion"], "kind": kind, **item}) for item in answer["items"]]

    @staticmethod
    def _clean(obj):
        obj["metadata"].pop("managedFields", None)
        return obj

    # Emptying

    def clear(self):
        """Everything of an earlier cluster goes."""
        objects = self.listed()
        spaces = {obj["metadata"]["namespace"] for obj in objects if obj["kind"] not in ("Namespace", "Node")}
        jobs = [(resource, space) for space in sorted(spaces) for resource in ("pods", "endpointslices", "services", "serviceimports")]
        list(self.pool.map(self._empty, jobs))
        list(self.pool.map(self._drop, (obj for obj in objects if obj["kind"] in ("Namespace", "Node"))))

    def _empty(self, job):
        resource, space = job
        try:
            body = {"gracePeriodSeconds": 0} if resource == "pods" else None
            # The API server's own service would come back only at its next round, in the midst of the questions.
            self.api.request("DELETE", path(resource, space) + "?fieldSelector=metadata.name%21%3Dkubernetes", body)
        except ApiError as error:
            if error.code != 404:
                raise

    def _drop(self, obj):
        name = obj["metadata"]["name"]
        if obj["kind"] == "Node":
            self.api.delete("nodes", None, name)
        elif name in PERMANENT:
            extra = {key: None for key in obj["metadata"].get("labels", {}) if key != "kubernetes.io/metadata.name"}
            if extra:
                self.api.patch("namespaces", None, name, {"metadata": {"labels": extra}})
        else:
            gone = self.api.delete("namespaces", None, name)
            # The namespace controller's part: nothing is left inside, so the finalizer may go.
            gone["spec"]["finalizers"] = []
            self.api.request("PUT", path("namespaces", None, name, "finalize"), gone)

    # Writing

    def fill(self, objects):
        """Create the objects; returns what was refused, as [kind, name, message]."""
        spaces = {obj["metadata"].get("namespace", "default") for obj in objects if obj.get("kind") not in ("Namespace", "Node")}
        named = {obj["metadata"]["name"] for obj in objects if obj.get("kind") == "Namespace"}
        first = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in sorted(spaces - named - PERMANENT)]
        first += [obj for obj in objects if obj.get("kind") == "Namespace"]
        rest = [obj for obj in objects if obj.get("kind") != "Namespace"]
        # Addresses that are asked for go before those that the server picks, or it may pick one of them.
        fixed = [obj for obj in rest if obj.get("spec", {}).get("clusterIP")]
        free = [obj for obj in rest if not obj.get("spec", {}).get("clusterIP")]
        refused = []
        for part in (first, fixed, free):
            refused += [one for one in self.pool.map(self._created, part) if one]
        return refused

    def _created(self, obj):
        try:
            self._create(obj)
            return None
        except (ApiError, KeyError) as error:
            return [obj.get("kind", "?"), label(obj), str(error)]

    def _where(self, obj):
        resource, meta = RESOURCES[obj["kind"]], obj["metadata"]
        return resource, None if resource in CLUSTER_WIDE else meta.get("namespace", "default"), meta["name"]

    def _create(self, obj):
        resource, space, name = self._where(obj)
        meta = {key: value for key, value in obj["metadata"].items() if key in ("name", "namespace", "labels", "annotations")}
        wanted = {**{key: value for key, value in obj.items() if key != "status"}, "metadata": meta}
        if obj["kind"] == "Pod":
            spec = dict(wanted.get("spec", {}))
            spec.setdefault("containers", [{"name": "main", "image": "registry.example.com/main:1"}])
            wanted["spec"] = spec
        try:
            self.api.create(resource, wanted, space)
        except ApiError as error:
            if error.code != 409 or obj["kind"] != "Namespace":
                raise
            self.api.patch(resource, space, name, {"metadata": {"labels": meta.get("labels", {})}})
        self._after(obj, resource, space, name)

    def _after(self, obj, resource, space, name):
        """The status, and the end of an object that is to be terminating."""
        if obj.get("status") and obj["kind"] in ("Pod", "Service", "Node"):
            self.api.patch(resource, space, name, {"status": obj["status"]}, sub="status")
        if obj["kind"] == "Pod" and obj["metadata"].get("deletionTimestamp"):
            self.api.delete(resource, space, name, grace=LONG_GRACE)

    # Edits

    def edit(self, events):
        """Apply events in order: (as the server then has the objects, refused)."""
        done, refused = [], []
        for event in events:
            try:
                done.append({"type": event["type"], "object": self._event(event["type"], event["object"])})
            except (ApiError, KeyError) as error:
                refused.append([event["object"].get("kind", "?"), label(event["object"]), str(error)])
        return done, refused

    def _event(self, kind, obj):
        resource, space, name = self._where(obj)
        if kind == "ADDED":
            self._create(obj)
        elif kind == "MODIFIED":
            change = {key: value for key, value in obj.items() if key in ("spec", "endpoints", "ports")}
            if "labels" in obj["metadata"]:
                change["metadata"] = {"labels": obj["metadata"]["labels"]}
            if change:
                self.api.patch(resource, space, name, change)
            self._after(obj, resource, space, name)
        elif kind == "DELETED":
            return self._removed(obj, resource, space, name)
        else:
            raise KeyError(f"event {kind}")
        return self._read(obj["kind"], resource, space, name)

    def _read(self, kind, resource, space, name):
        found = self.api.get(resource, space, name)
        return self._clean({"apiVersion": found["apiVersion"], "kind": kind, **found})

    def _removed(self, obj, resource, space, name):
        last = self._read(obj["kind"], resource, space, name)
        if obj["kind"] == "Pod" and obj["metadata"].get("deletionTimestamp"):
            self.api.delete(resource, space, name, grace=LONG_GRACE)
            return self._read("Pod", resource, space, name)
        if obj["kind"] == "Namespace":
            self._drop(last)
        else:
            self.api.delete(resource, space, name, grace=0 if obj["kind"] == "Pod" else None)
        return last
