"""Questions as a differential plan words them, and answers in the form a recording gives them (docs/formats/differential.md).

Enters: [name, type, class, flags], bytes of a reply. Leaves: Question with its bytes, JSON text of an answer. Absent on
purpose: sockets (rig.volley), and any opinion on whether an answer is right.
"""
import json
import struct
import time

from . import dnswire

CLIENT = "10.244.200.9"
COOKIE = bytes.fromhex("0011223344556677")
FLAGS = ((0x0400, "aa"), (0x0200, "tc"), (0x0100, "rd"), (0x0080, "ra"), (0x0040, "z"), (0x0020, "ad"), (0x0010, "cd"))
RCODES = {**dnswire.RCODES, 6: "YXDOMAIN", 7: "YXRRSET", 8: "NXRRSET", 10: "NOTZONE", 16: "BADVERS", 23: "BADCOOKIE"}
CLASSES = {**dnswire.CLASSES, "HS": 4, "NONE": 254}
CLASS_NAMES = {number: name for name, number in CLASSES.items()}
DAY = 86400


class BadQuestion(ValueError):
    """A plan's question that cannot be put on the wire."""


def number(word, table, prefix):
    if word in table:
        return table[word]
    if word.startswith(prefix) and word[len(prefix):].isdigit():
        return int(word[len(prefix):])
    raise BadQuestion(f"unknown {prefix.lower()} {word}")


def wire_name(text):
    """A name in presentation form, with its escapes."""
    labels, label, at = [], bytearray(), 0
    raw = text.encode("utf-8")
    while at < len(raw):
        byte = raw[at:at + 1]
        if byte == b"\\":
            digits = raw[at + 1:at + 4]
            if len(digits) == 3 and digits.isdigit():
                label.append(int(digits))
                at += 4
            else:
                label += raw[at + 1:at + 2]
                at += 2
            continue
        if byte == b".":
            labels.append(bytes(label))
            label.clear()
        else:
            label += byte
        at += 1
    if label:
        labels.append(bytes(label))
    labels = [one for one in labels if one]
    if any(len(one) > 63 for one in labels) or sum(len(one) + 1 for one in labels) > 254:
        raise BadQuestion(f"name too long: {text}")
    return b"".join(bytes([len(one)]) + one for one in labels) + b"\0"


class Question:
    """One question of a plan, ready to be sent with any id."""

    def __init__(self, line):
        self.line = line
        name, kind, cls, flags = line["q"]
        words = flags.split()
        self.transfer = kind in ("AXFR", "IXFR")
        self.tcp = "tcp" in words or (self.transfer and "udp" not in words)
        self.client = next((word[4:] for word in words if word.startswith("src=")), CLIENT)
        self.repeat = int(line.get("repeat", 0))
        self.timeout = int(line.get("timeout_ms", 1500)) / 1000
        size = next((int(word[5:]) for word in words if word.startswith("edns=")), None)
        if size is None and ("do" in words or "cookie" in words):
            size = 1232
        bits = sum(bit for word, bit in (("rd", 0x0100), ("ad", 0x0020), ("cd", 0x0010)) if word in words)
        self.section = wire_name(name) + struct.pack("!HH", number(kind, dnswire.TYPES, "TYPE"), number(cls, CLASSES, "CLASS"))
        authority, serial = 0, b""
        if kind == "IXFR":      # RFC 1995 §3: the serial held stands in the authority section
            authority, serial = 1, b"\xc0\x0c" + struct.pack("!HHIH", 6, 1, 0, 22) + b"\0\0" + bytes(20)
        options = struct.pack("!HH", 10, 8) + COOKIE if "cookie" in words else b""
        opt = b"" if size is None else b"\0" + struct.pack("!HHIH", 41, size, 0x8000 if "do" in words else 0,
                                                           len(options)) + options
        self.rest = struct.pack("!5H", bits, 1, 0, authority, 1 if opt else 0) + self.section + serial + opt

    def wire(self, ident):
        return struct.pack("!H", ident) + self.rest


def _strings(raw):
    """Character strings (RFC 1035 §3.3) as quoted text."""
    at, out = 0, []
    while at < len(raw):
        piece = raw[at + 1:at + 1 + raw[at]]
        out.append('"' + "".join(f"\\{chr(byte)}" if byte in b'"\\' else chr(byte) if 0x20 <= byte <= 0x7E
                                 else f"\\{byte:03d}" for byte in piece) + '"')
        at += 1 + raw[at]
    return " ".join(out)


def _rdata(kind, data, at, raw, now):
    if kind in ("A", "AAAA", "CNAME", "NS", "PTR", "SRV"):
        return dnswire._rdata(kind, data, at, raw)
    if kind == "SOA":
        mname, rname, serial, *times = dnswire._rdata(kind, data, at, raw).split(" ")
        if times[:3] == ["7200", "1800", "86400"] and abs(int(serial) - now) < DAY:
            serial = "SERIAL"
        return " ".join([mname, rname, serial, *times])
    if kind in ("TXT", "HINFO"):
        return _strings(raw)
    if kind == "MX":
        return f"{raw[0] << 8 | raw[1]} {dnswire.read_name(data, at + 2)[0]}"
    return f"\\# {len(raw)} {raw.hex()}".rstrip()


def _records(data, at, count, now):
    """([[owner, ttl, type, rdata]], OPT or None, where the section ends)"""
    found, opt = [], None
    for _ in range(count):
        owner, at = dnswire.read_name(data, at)
        code, cls, ttl, length = struct.unpack_from("!HHIH", data, at)
        at += 10
        raw = data[at:at + length]
        if len(raw) != length:
            raise ValueError("record runs out")
        if code == 41:
            opt = (cls, ttl, raw)
        else:
            kind = dnswire.TYPE_NAMES.get(code, f"TYPE{code}")
            record = [owner, ttl, kind, _rdata(kind, data, at, raw, now)]
            if cls != 1:
                record[2] = f"{CLASS_NAMES.get(cls, f'CLASS{cls}')}:{kind}"
            if record not in found:
                found.append(record)
        at += length
    return sorted(found), opt, at


def _opt(opt):
    size, ttl, raw = opt
    options, at = {}, 0
    while at + 4 <= len(raw):
        code, length = struct.unpack_from("!HH", raw, at)
        options[str(code)] = raw[at + 4:at + 4 + length].hex()
        at += 4 + length
    return {"size": size, "do": bool(ttl & 0x8000), "options": options}


def _asked(data, count):
    """(the question sections' end, the last question as text or None)"""
    at, asked = 12, None
    for _ in range(count):
        name, at = dnswire.read_name(data, at)
        kind, cls = struct.unpack_from("!HH", data, at)
        at += 4
        asked = [name, dnswire.TYPE_NAMES.get(kind, f"TYPE{kind}"), CLASS_NAMES.get(cls, f"CLASS{cls}")]
    return at, asked


def read(question, data, truncated=False):
    """The answer object of a reply's bytes."""
    try:
        flags, questions, *counts = struct.unpack_from("!5H", data, 2)
        at, asked = _asked(data, questions)
        now, sections, opt = time.time(), [], None
        for count in counts:
            records, found, at = _records(data, at, count, now)
            sections.append(records)
            opt = opt or found
    except (ValueError, struct.error, IndexError):
        return {"unparsable": data[2:].hex()}
    code = flags & 15 | (opt[1] >> 24 << 4 if opt else 0)
    answer = {"rcode": RCODES.get(code, f"RCODE{code}"), "flags": " ".join(word for bit, word in FLAGS if flags & bit),
              "answer": sections[0], "authority": sections[1], "additional": sections[2]}
    if opt:
        answer["opt"] = _opt(opt)
    if truncated:
        answer["udp_tc"] = True
    if questions != 1 or data[12:12 + len(question.section)] != question.section:
        answer["question"] = asked
    return answer


def transfer(question, messages):
    """One answer of all messages of a transfer."""
    parts = [read(question, data) for data in messages]
    whole = dict(parts[0])
    if "answer" not in whole:
        return whole
    records = {tuple(record): None for part in parts for record in part.get("answer", ())}
    return {**whole, "answer": sorted(map(list, records)), "authority": [], "additional": []}


def ends(messages):
    """Is a transfer complete: an error, or the SOA it began with came again?"""
    soas = 0
    for data in messages:
        flags, questions, count = struct.unpack_from("!3H", data, 2)
        if flags & 15 or not count:
            return True
        at, _ = _asked(data, questions)
        for _ in range(count):
            _, at = dnswire.read_name(data, at)
            kind, _, _, length = struct.unpack_from("!HHIH", data, at)
            at += 10 + length
            soas += kind == 6
    return soas >= 2


def text(value):
    return json.dumps(value, separators=(",", ":"))


def grouped(by_version, started):
    """{versions: answer} as JSON text, from {version: JSON text}: equal answers stand once; `*` where all `started` agree."""
    groups = {}
    for version in started:          # not in order of arrival: equal answers give equal bytes
        if version in by_version:
            groups.setdefault(by_version[version], []).append(version)
    named = ("*" if len(versions) == len(started) else ",".join(versions) for versions in groups.values())
    return "{" + ",".join(f'"{name}":{answer}' for name, answer in zip(named, groups)) + "}"
