"""Scenario files: events at times, and the findings expected. The grammar is docs/formats/scenario.md.

Enters: text. Leaves: Scenario, or BadScenario naming the line. Absent on purpose: what the verbs do (rig.play).
"""
import shlex
from dataclasses import dataclass, field


class BadScenario(Exception):
    pass


@dataclass
class Order:
    at: float
    verb: str
    words: list
    options: dict
    line: int


@dataclass
class Scenario:
    name: str = ""
    about: str = ""
    coredns: list = field(default_factory=list)
    replicas: int = 1
    node_local: bool = False   # NodeLocal DNSCache in front of the cluster DNS
    dual: bool = False         # both address families
    duration: float = 30
    skew_ms: int = 100
    shifted: str = ""
    older_hours: int = 0
    seed: int = 1
    capture_pods: list = field(default_factory=list)
    given: list = field(default_factory=list)
    events: list = field(default_factory=list)
    expect: list = field(default_factory=list)
    texts: dict = field(default_factory=dict)


def order(at, words, line):
    plain = [word for word in words[1:] if "=" not in word]
    options = dict(word.split("=", 1) for word in words[1:] if "=" in word)
    return Order(at, words[0], plain, options, line)


def parse(text):
    scenario, block = Scenario(), None
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if raw.startswith("|"):
            if block is None:
                raise BadScenario(f"line {number}: text without a name before it")
            scenario.texts[block] += raw[2:] + "\n"
            continue
        block = None
        if not line or line.startswith("#"):
            continue
        try:
            about = line.startswith(("about ", "shifted "))   # prose: quotes mean nothing
            head, *words = line.split() if about else shlex.split(line, comments=True)
            block = _line(scenario, head, words, number)
        except (ValueError, IndexError, KeyError) as error:
            raise BadScenario(f"line {number}: {error}: {line}") from error
    if not scenario.name:
        raise BadScenario("no name")
    scenario.events.sort(key=lambda event: (event.at, event.line))
    return scenario


def _line(scenario, head, words, number):
    if head in ("name", "shifted"):
        setattr(scenario, head, " ".join(words))
    elif head == "about":
        scenario.about = (scenario.about + " " + " ".join(words)).strip()
    elif head in ("coredns", "capture_pods"):
        setattr(scenario, head, words)
    elif head in ("replicas", "skew_ms", "seed", "older_hours"):
        setattr(scenario, head, int(words[0]))
    elif head == "node_local":
        scenario.node_local = words == ["yes"]
    elif head == "families":
        if words not in (["ipv4"], ["dual"]):
            raise ValueError("families ipv4|dual")
        scenario.dual = words == ["dual"]
    elif head == "duration":
        scenario.duration = float(words[0])
    elif head == "text":
        scenario.texts[words[0]] = ""
        return words[0]
    elif head == "given":
        scenario.given.append(order(0, words, number))
    elif head == "at":
        scenario.events.append(order(float(words[0]), words[1:], number))
    elif head == "every":                      # every STEP from A to B VERB …
        if words[1] != "from" or words[3] != "to":
            raise ValueError("every STEP from A to B VERB …")
        step, at, end = float(words[0]), float(words[2]), float(words[4])
        while at <= end:
            scenario.events.append(order(at, words[5:], number))
            at += step
    elif head == "expect":
        options = dict(word.split("=", 1) for word in words[2:])
        scenario.expect.append({"rule": words[0], "severity": words[1], **options})
    else:
        raise ValueError(f"unknown word {head}")
    return None
