"""Tests of the range's pure parts; no root, no network. Run by range/check and by `python3 -m unittest rig.selftest`."""
import struct
import tempfile
import time
import unittest
from pathlib import Path
from types import SimpleNamespace

from . import answers, cells, dnswire, fstrm, scenario
from .record import make_older
from .truth import Truth, transport

SECOND = 10**9


def frame(source, sport, target, dport, payload):
    return b"\0" * 12 + b"\x08\x00" + dnswire.udp_packet(source, sport, target, dport, payload)


def pod(uid, address):
    return SimpleNamespace(uid=uid, namespace="shop", name=uid, address=address, addresses=[address], host_network=False)


def truth(seen=(), holdings=(), skew_ms=100):
    tap = SimpleNamespace(seen=list(seen))
    return Truth(tap, SimpleNamespace(holdings=list(holdings)), skew_ms)


def held(uid, start, end, address="10.244.0.9", host=False):
    return {"uid": uid, "address": address, "from_ns": start, "to_ns": end, "host": host}


class Wire(unittest.TestCase):
    def test_a_question_is_read_back(self):
        message = dnswire.parse(dnswire.question(7, "A.b.example", "SRV", edns=1232, rd=False))
        self.assertEqual((message.id, message.name, message.type, message.edns, message.flags),
                         (7, "A.b.example.", "SRV", 1232, 0))

    def test_an_answer_repeats_the_question_and_its_records_are_read(self):
        query = dnswire.question(9, "x.example", "A")
        message = dnswire.parse(dnswire.answer(query, [(None, "CNAME", 5, "y.example"), ("y.example", "A", 6, "192.0.2.1")]))
        self.assertEqual([(one.name, one.type, one.ttl, one.data) for one in message.answers],
                         [("x.example.", "CNAME", 5, "y.example."), ("y.example.", "A", 6, "192.0.2.1")])

    def test_names_that_point_in_circles_are_refused(self):
        with self.assertRaises(ValueError):
            dnswire.read_name(b"\xc0\x00", 0)

    def test_special_bytes_in_names_are_escaped(self):
        self.assertEqual(dnswire.read_name(b"\x04a.\x07\"\x00", 0)[0], 'a\\.\\007\\".')

    def test_packets_carry_right_checksums(self):
        packet = dnswire.udp_packet("192.0.2.1", 53, "192.0.2.2", 4000, b"odd")
        words = struct.unpack("!10H", packet[:20])
        total = sum(words)
        self.assertEqual((total & 0xFFFF) + (total >> 16), 0xFFFF)

    def test_control_frames_are_as_the_specification_has_them(self):
        self.assertEqual(fstrm.control(fstrm.START)[:12], struct.pack("!III", 0, 12 + len(fstrm.CONTENT), 2))


class WhoAsked(unittest.TestCase):
    def test_owners_are_those_within_the_skew(self):
        known = truth(holdings=[held("old", 0, 10 * SECOND), held("new", 10 * SECOND + 50_000_000, None)])
        self.assertEqual(known.owners("10.244.0.9", 5 * SECOND), ["old"])
        self.assertEqual(known.owners("10.244.0.9", 10 * SECOND + 20_000_000), ["new", "old"])
        self.assertEqual(known.owners("10.244.0.9", 11 * SECOND), ["new"])

    def test_the_node_is_an_owner_of_its_own_address(self):
        self.assertEqual(truth(holdings=[held("agent", 0, None, "10.10.0.1", True)]).owners("10.10.0.1", 5),
                         ["agent", "node:node-1"])

    def seen(self, *events):
        one = pod("a", "10.244.0.9")
        return [(at, "a", one, transport(frame(*packet))) for at, packet in events]

    def test_a_repeated_question_is_one_lookup_and_the_first_answer_counts(self):
        query = dnswire.question(3, "x.example", "A")
        lie, real = (dnswire.answer(query, [(None, "A", 5, data)]) for data in ("192.0.2.66", "192.0.2.1"))
        out, back = ("10.244.0.9", 4000, "10.96.0.10", 53), ("10.96.0.10", 53, "10.244.0.9", 4000)
        known = truth(self.seen((0, (*out, query)), (5 * SECOND, (*out, query)), (6 * SECOND, (*back, lie)),
                                (7 * SECOND, (*back, real))))
        found = known.lookups()
        self.assertEqual(len(found), 1)
        self.assertEqual((found[0]["sent"], found[0]["reply"].answers[0].data), (2, "192.0.2.66"))

    def test_a_lie_is_known_by_its_data_and_name(self):
        known = truth()
        known.lie("192.0.2.66", "on-path", "x.example")
        query = dnswire.question(3, "x.example", "A")
        self.assertEqual(known._lie(dnswire.parse(dnswire.answer(query, [(None, "A", 5, "192.0.2.66")]))), "on-path")
        self.assertIsNone(known._lie(dnswire.parse(dnswire.answer(query, [(None, "A", 5, "192.0.2.1")]))))

    def test_classes(self):
        known = truth()
        known.hijacks.append(("db.shop.svc.cluster.local", 10, 20))
        for name, at, wanted in (("a.b.svc.cluster.local.", 0, "cluster"), ("1-2-3-4.b.pod.cluster.local.", 0, "pod"),
                                 ("1.0.96.10.in-addr.arpa.", 0, "reverse"), ("1.2.0.192.in-addr.arpa.", 0, "external"),
                                 ("ns.dns.cluster.local.", 0, "fixed"), ("db.shop.svc.cluster.local.", 15, "config"),
                                 ("db.shop.svc.cluster.local.", 25, "cluster"), ("example.com.", 0, "external")):
            self.assertEqual(known._class(name, "A", 1, at), wanted, name)
        self.assertEqual(known._class("cluster.local.", "AXFR", 1, 0), "other")
        self.assertEqual(known._class("example.com.", "A", 1, 0, "SERVFAIL"), "other")


class Answers(unittest.TestCase):
    def ask(self, name="a.example.", kind="A", flags="rd"):
        return answers.Question({"q": [name, kind, "IN", flags]})

    def test_a_question_says_what_its_words_say_and_no_more(self):
        wire = self.ask("we\\.ird\\032x.Example.", "TYPE65", "rd cd cookie edns=4096").wire(7)
        self.assertEqual(wire[:4], b"\0\x07\x01\x10")
        self.assertIn(b"\x08we.ird x\x07Example\0\0\x41\0\x01", wire)
        self.assertTrue(wire.endswith(b"\0\0\x29\x10\0\0\0\0\0\0\x0c\0\x0a\0\x08" + answers.COOKIE))
        self.assertEqual(self.ask(flags="").rest[:10], b"\0\0\0\x01\0\0\0\0\0\0")
        self.assertTrue(self.ask(kind="AXFR").tcp and not self.ask(kind="AXFR", flags="udp").tcp)
        with self.assertRaises(answers.BadQuestion):
            self.ask(kind="NOSUCH")

    def test_an_answer_is_sets_and_hides_what_differs_by_chance(self):
        asked = self.ask(flags="rd edns=1232")
        one = dnswire.answer(asked.wire(1), [(None, "A", 5, "10.0.0.2"), (None, "A", 5, "10.0.0.1"), (None, "A", 5, "10.0.0.2")])
        read = answers.read(asked, one)
        self.assertEqual(read["answer"], [["a.example.", 5, "A", "10.0.0.1"], ["a.example.", 5, "A", "10.0.0.2"]])
        self.assertEqual((read["rcode"], read["flags"], read["opt"]["size"]), ("NOERROR", "rd ra", 1232))
        self.assertNotIn("question", read)
        other = answers.read(self.ask("b.example."), one)
        self.assertEqual(other["question"], ["a.example.", "A", "IN"])
        self.assertIn("unparsable", answers.read(asked, one[:-20]))

    def test_a_serial_of_today_is_a_word(self):
        def soa(serial):
            data = dnswire.pack_name("ns.dns.x.") + dnswire.pack_name("h.x.") + struct.pack("!5I", serial, 7200, 1800, 86400, 5)
            reply = dnswire.answer(self.ask().wire(1), [])
            return answers.read(self.ask(), reply[:6] + b"\0\x01" + reply[8:] + b"\xc0\x0c" + struct.pack("!HHIH", 6, 1, 5, len(data)) + data)
        self.assertIn("SERIAL", soa(int(time.time()))["answer"][0][3])
        self.assertIn(" 42 ", soa(42)["answer"][0][3])

    def test_versions_that_agree_stand_together(self):
        self.assertEqual(answers.grouped({"1": "x", "2": "x"}, {"1": 0, "2": 0}), '{"*":x}')
        self.assertEqual(answers.grouped({"3": "x", "2": "y", "1": "x"}, "123"), '{"1,3":x,"2":y}')
        self.assertEqual(answers.grouped({"1": "x"}, "12"), '{"1":x}')

    def test_zone_files_come_apart(self):
        self.assertEqual(cells.split_zones("$ORIGIN .\n@ SOA\n$ORIGIN a.\nb A\n"), [(".", "$ORIGIN .\n@ SOA\n"), ("a.", "$ORIGIN a.\nb A\n")])
        with self.assertRaises(ValueError):
            cells.split_zones("@ SOA")


class Older(unittest.TestCase):
    def test_only_times_before_the_start_move(self):
        with tempfile.TemporaryDirectory() as name:
            path = Path(name) / "audit.log"
            path.write_text('{"a":"1970-01-02T00:00:00Z","b":"1970-01-03T00:00:00Z","c":"1970-01-02T00:00:00.5Z"}')
            make_older(Path(name), 86400 * 2 * SECOND, 1)
            self.assertEqual(path.read_text(),
                             '{"a":"1970-01-01T23:00:00Z","b":"1970-01-03T00:00:00Z","c":"1970-01-02T00:00:00.5Z"}')


class Scenarios(unittest.TestCase):
    def test_events_are_ordered_and_repeated(self):
        read = scenario.parse("name x\nevery 2 from 1 to 5 lookup a/b c\nat 2 scale a/b 3\n")
        self.assertEqual([(event.at, event.verb) for event in read.events],
                         [(1, "lookup"), (2, "scale"), (3, "lookup"), (5, "lookup")])

    def test_prose_may_hold_quotes_and_slips_name_their_line(self):
        self.assertEqual(scenario.parse("name x\nabout it's fine\n").about, "it's fine")
        with self.assertRaisesRegex(scenario.BadScenario, "line 2"):
            scenario.parse("name x\nevry 2\n")
