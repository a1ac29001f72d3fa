"""Plans played on a bare API server and several versions of CoreDNS; recordings written (docs/formats/differential.md).

Enters: a folder of plans. Leaves: OUT/NAME.jsonl.zst per plan, and figures. One cluster after the other; everything the run made is
gone at its end.
"""
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from . import answers, netns, parts, pki
from .cells import HOSTS, Cell, Relays
from .children import Children
from .control_plane import ControlPlane
from .volley import Volley
from .whole import SCRATCH, Unavailable, reap_dead, run_id
from .world import World

VERSIONS = ["1.15.0", "1.14.4", "1.9.4"]
SETTLE = 0.3
LATE = 1.5


class Rig:
    """The long-lived part: one API server, a cell for each version."""

    def __init__(self, versions):
        self.versions = versions
        self.folder = Path(tempfile.mkdtemp(prefix=SCRATCH))
        (self.folder / "pid").write_text(str(os.getpid()))
        self.network, self.children = netns.Network(run_id(self.folder)), Children(self.folder)
        self.cells = {}

    def start(self):
        self.network.start([])
        pki.make(self.folder / "pki")
        self.plane = ControlPlane(self.network, self.children, self.folder)
        self.plane.start_bare()
        self.world = World(self.plane.admin)
        self.world.prepare()
        token = self.plane.token_client("kube-system", "coredns", "coredns", seconds=86400).token
        self.relays = Relays(self.network.node, ("10.10.0.1", 6443))
        for version in self.versions:
            self.cells[version] = Cell(version, self.network, self.children, self.folder, token,
                                       (self.plane.pki / "ca.crt").read_bytes(), self.relays)
        while not any(obj["kind"] == "EndpointSlice" for obj in self.world.listed()):
            time.sleep(0.1)          # the API server's own service, which comes a little after it is ready

    def stop(self):
        self.children.stop_all()
        if hasattr(self, "relays"):
            self.relays.stop()
        self.network.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class Cluster:
    """One plan on a running rig."""

    def __init__(self, rig, lines, out):
        self.rig, self.lines, self.out = rig, lines, out
        self.serving, self.restarts = {}, {}
        self.spent = {"objects": 0.0, "start": 0.0, "ask": 0.0, "edit": 0.0}
        self.sent = self.asked = 0

    def write(self, text):
        self.out.write(text.encode() + b"\n")

    def timed(self, what, call, *args):
        began = time.monotonic()
        try:
            return call(*args)
        finally:
            self.spent[what] += time.monotonic() - began

    def play(self):
        self.write(answers.text(self.timed("objects", self._fill, self.lines[0])))
        at, end = 1, len(self.lines)
        while at < end:
            after = next((i for i in range(at + 1, end) if "corefile" in self.lines[i]), end)
            self._section(self.lines[at], self.lines[at + 1:after])
            at = after

    def _fill(self, head):
        self.rig.world.clear()
        refused = self.rig.world.fill(head["objects"])
        line = {**head, "objects": self.rig.world.listed()}
        if refused:
            line["refused"] = refused
        return line

    def _section(self, head, lines):
        if "corefile" not in head:
            raise ValueError("a plan's second line, and each section, begins with a Corefile")
        self.write(answers.text(self.timed("start", self._launch, head)))
        volley = Volley(self.serving, bool(head.get("cached")), self._again)
        edited = any("edit" in line for line in lines)
        begun, pending = None, []
        for line in [*lines, None]:
            if line is not None and "q" in line:
                pending.append(line)
                continue
            begun = begun or time.monotonic()
            self.timed("ask", self._ask, volley, pending, begun if edited else None)
            pending = []
            if line is not None:
                self.timed("edit", self._edit, line, begun)
        self.sent += volley.sent
        for cell in self.rig.cells.values():
            cell.stop()

    def _launch(self, head):
        """Start all versions; the section's line with what became of them."""
        wanted = [version for version in head.get("versions", self.rig.versions) if version in self.rig.cells]
        cells = [self.rig.cells[version] for version in wanted]
        began, line = time.monotonic(), {**head, "hosts_file": head.get("hosts_file", HOSTS)}
        for cell in cells:
            cell.prepare(head)
            cell.launch()
        reasons = {cell.version: cell.wait() for cell in cells}
        self.serving = {cell.version: cell for cell in cells if reasons[cell.version] is None}
        facts = {version: cell.facts() for version, cell in self.serving.items()}
        line["start_ms"] = round((time.monotonic() - began) * 1000)
        late = [version for version, (unsynced, _) in facts.items() if unsynced]
        if late:
            # A loaded machine: what the objects are comes after the start.
            self.rig.relays.quiet(late, time.monotonic(), LATE)
        for key, value in (("not_started", {version: why for version, why in reasons.items() if why}),
                           ("unsynced", late),
                           ("running_hash", {version: known for version, (_, known) in facts.items() if known})):
            if value:
                line[key] = value
        return line

    def _again(self, cell):
        """Start a process that died; false if it does not serve any more."""
        cell.stop()
        cell.launch()
        return cell.wait() is None

    def _ask(self, volley, lines, begun):
        self.asked += len(lines)
        for outcome in volley.run([answers.Question(line) for line in lines]):
            self.write(self._line(outcome, begun))

    def _line(self, outcome, begun):
        started = self.serving
        parts_ = [f'{{"q":{answers.text(outcome.question.line["q"])}', f'"a":{answers.grouped(outcome.cold, started)}']
        if outcome.hot:
            parts_.append(f'"hot":{answers.grouped(outcome.hot, started)}')
        if outcome.alt:
            parts_.append('"alt":{' + ",".join(f'"{version}":[{",".join(found)}]' for version, found in outcome.alt.items()) + "}")
        if begun is not None and outcome.first is not None:
            parts_.append(f'"t_ms":{max(0, round((outcome.first - begun) * 1000))}')
        return ",".join(parts_) + "}"

    def _edit(self, line, begun):
        at = time.monotonic()
        done, refused = self.rig.world.edit(line["edit"])
        ended = time.monotonic()
        settle = line.get("settle", True)
        if settle:
            self.rig.relays.quiet(self.serving, ended, SETTLE)
        written = {"edit": done, "settle": settle, "t_ms": round((at - begun) * 1000), "done_ms": round((ended - begun) * 1000)}
        if refused:
            written["refused"] = refused
        self.write(answers.text(written))


def check(versions):
    why = netns.available()
    if why:
        raise Unavailable(why)
    try:
        for name in ("etcd", "kube-apiserver"):
            parts.binary(name)
        for version in versions:
            parts.binary("coredns", version)
    except parts.Missing as missing:
        raise Unavailable(str(missing)) from missing
    for tool in ("knotd", "openssl", "nsenter", "unshare", "zstd"):
        if not shutil.which(tool):
            raise Unavailable(f"{tool} is not installed (range/parts/build)")


def read_plan(path):
    raw = path.read_bytes()
    if path.suffix == ".zst":
        raw = subprocess.run(["zstd", "-dcq", str(path)], check=True, capture_output=True).stdout
    lines = [json.loads(line) for line in raw.splitlines() if line.strip()]
    if not lines or "seed" not in lines[0]:
        raise ValueError(f"{path}: line 1 has no seed")
    return lines


def one(rig, path, out):
    """Play one plan; its figures."""
    began = time.monotonic()
    name = path.name.removesuffix(".zst").removesuffix(".jsonl")
    with tempfile.TemporaryFile() as raw:
        cluster = Cluster(rig, read_plan(path), raw)
        cluster.play()
        raw.seek(0)
        target, partial = out / f"{name}.jsonl.zst", out / f".{name}.partial"
        with open(partial, "wb") as packed:
            subprocess.run(["zstd", "-q", "-12", "-c"], stdin=raw, stdout=packed, check=True)
        partial.rename(target)
    return {"name": name, "seconds": time.monotonic() - began, "questions": cluster.asked, "sent": cluster.sent,
            "bytes": target.stat().st_size, **cluster.spent}


def run(plans, out, versions, say):
    """Play all plans of a folder that have no recording yet; figures of each, and failures by name."""
    check(versions)
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    reap_dead()
    out.mkdir(parents=True, exist_ok=True)
    rig, figures, failures = Rig(versions), [], []
    try:
        rig.start()
        for path in plans:
            try:
                figures.append(one(rig, path, out))
                say(figures[-1])
            except Exception as error:
                failures.append(f"{path.name}: {type(error).__name__}: {error}")
                for cell in rig.cells.values():
                    cell.stop()
    finally:
        rig.stop()
    return figures, failures
