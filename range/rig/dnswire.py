"""The little DNS that the range's own actors need: questions made, messages read, answers made.

Enters: names, bytes. Leaves: bytes, Message. Absent on purpose: anything a resolver needs beyond the range (DNSSEC, EDNS
options). Bytes that are not DNS raise ValueError.
"""
import ipaddress
import struct
from dataclasses import dataclass, field

TYPES = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "HINFO": 13, "MX": 15, "TXT": 16, "AAAA": 28, "SRV": 33,
         "NAPTR": 35, "OPT": 41, "DS": 43, "RRSIG": 46, "NSEC": 47, "DNSKEY": 48, "SVCB": 64, "HTTPS": 65, "IXFR": 251,
         "AXFR": 252, "ANY": 255, "CAA": 257}
TYPE_NAMES = {number: name for name, number in TYPES.items()}
RCODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED", 9: "NOTAUTH"}
CLASSES = {"IN": 1, "CH": 3, "ANY": 255}


def pack_name(name):
    out = b""
    for label in name.rstrip(".").split("."):
        if label:
            raw = label.encode("latin-1")
            out += bytes([len(raw)]) + raw
    return out + b"\0"


def read_name(data, at):
    labels, end, jumps = [], None, 0
    while True:
        if at >= len(data):
            raise ValueError("name runs out")
        length = data[at]
        if length & 0xC0 == 0xC0:
            if at + 1 >= len(data) or jumps > 40:
                raise ValueError("bad pointer")
            end = end or at + 2
            at, jumps = (length & 0x3F) << 8 | data[at + 1], jumps + 1
            continue
        at += 1
        if not length:
            return ".".join(labels) + ".", end or at
        labels.append(_escaped(data[at:at + length]))
        at += length


def _escaped(label):
    out = ""
    for byte in label:
        char = chr(byte)
        if char in '. \'@;()"\\':
            out += "\\" + char
        else:
            out += char if 0x21 <= byte <= 0x7E else f"\\{byte:03d}"
    return out


@dataclass
class Record:
    name: str
    type: str
    ttl: int
    data: str
    raw: bytes = b""
    cls: int = 1


@dataclass
class Message:
    id: int
    flags: int
    name: str
    type: str
    cls: int
    answers: list = field(default_factory=list)
    authority: list = field(default_factory=list)
    edns: int = 0
    question_end: int = 12

    response = property(lambda self: bool(self.flags & 0x8000))
    rcode = property(lambda self: RCODES.get(self.flags & 15, str(self.flags & 15)))


def parse(data):
    if len(data) < 12:
        raise ValueError("short")
    ident, flags, questions, answers, authority, additional = struct.unpack("!6H", data[:12])
    message, at = Message(ident, flags, ".", "", 1), 12
    for _ in range(questions):
        message.name, at = read_name(data, at)
        kind, message.cls = struct.unpack("!HH", data[at:at + 4])
        message.type, at = TYPE_NAMES.get(kind, f"TYPE{kind}"), at + 4
        message.question_end = at
    for section, count in (("answers", answers), ("authority", authority), ("additional", additional)):
        for _ in range(count):
            record, at = _record(data, at)
            if record.type == "OPT":
                message.edns = record.cls
            elif section != "additional":
                getattr(message, section).append(record)
    return message


def _record(data, at):
    name, at = read_name(data, at)
    if at + 10 > len(data):
        raise ValueError("record runs out")
    kind, cls, ttl, length = struct.unpack("!HHIH", data[at:at + 10])
    at += 10
    raw, kind_name = data[at:at + length], TYPE_NAMES.get(kind, f"TYPE{kind}")
    return Record(name, kind_name, ttl, _rdata(kind_name, data, at, raw), raw, cls), at + length


def _rdata(kind, data, at, raw):
    if kind in ("A", "AAAA") and len(raw) in (4, 16):
        return str(ipaddress.ip_address(raw))
    if kind in ("CNAME", "NS", "PTR"):
        return read_name(data, at)[0]
    if kind == "SRV":
        return "%d %d %d " % struct.unpack("!HHH", raw[:6]) + read_name(data, at + 6)[0]
    if kind == "SOA":
        mname, after = read_name(data, at)
        rname, after = read_name(data, after)
        return f"{mname} {rname} " + " ".join(map(str, struct.unpack("!5I", data[after:after + 20])))
    if kind == "TXT":
        return '"' + raw[1:1 + raw[0]].decode("latin-1") + '"' if raw else ""
    return raw.hex()


def question(ident, name, kind, cls="IN", rd=True, edns=0, ad=False):
    flags = (0x0100 if rd else 0) | (0x0020 if ad else 0)
    number = TYPES.get(kind) or int(kind.removeprefix("TYPE"))
    tail = b"\0" + struct.pack("!HHIH", 41, edns, 0, 0) if edns else b""
    return struct.pack("!6H", ident, flags, 1, 0, 0, 1 if edns else 0) + pack_name(name) \
        + struct.pack("!HH", number, CLASSES[cls]) + tail


def pack_rdata(kind, data):
    if kind in ("A", "AAAA"):
        return ipaddress.ip_address(data).packed
    if kind in ("CNAME", "NS", "PTR"):
        return pack_name(data)
    if kind == "TXT":
        return bytes([len(data)]) + data.encode()
    raise ValueError(f"no rdata for {kind}")


def answer(query, records, rcode=0, aa=False, ra=True, edns=True, name=None):
    """An answer to the question in `query` (bytes). records: (name or None, type, ttl, data). `name` replaces the
    question's (an upstream that echoes another)."""
    asked = parse(query)
    flags = 0x8000 | (asked.flags & 0x0110) | (0x0400 if aa else 0) | (0x0080 if ra else 0) | rcode
    body = query[12:asked.question_end] if name is None else pack_name(name) + query[asked.question_end - 4:asked.question_end]
    out = struct.pack("!6H", asked.id, flags, 1, len(records), 0, 1 if edns and asked.edns else 0) + body
    for owner, kind, ttl, data in records:
        rdata = pack_rdata(kind, data)
        owner = b"\xc0\x0c" if owner is None else pack_name(owner)
        out += owner + struct.pack("!HHIH", TYPES[kind], 1, ttl, len(rdata)) + rdata
    if edns and asked.edns:
        out += b"\0" + struct.pack("!HHIH", 41, 1232, 0, 0)
    return out


def udp_packet(source, sport, target, dport, payload, ttl=64, ident=0):
    """A whole IPv4/UDP packet, for raw sockets."""
    src, dst = ipaddress.ip_address(source).packed, ipaddress.ip_address(target).packed
    length = 8 + len(payload)
    head = struct.pack("!HHHH", sport, dport, length, 0)
    checksum = _checksum(src + dst + struct.pack("!BBH", 0, 17, length) + head + payload) or 0xFFFF
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + length, ident, 0, ttl, 17, 0, src, dst)
    return header[:10] + struct.pack("!H", _checksum(header)) + header[12:] + head[:6] + struct.pack("!H", checksum) + payload


def _checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
