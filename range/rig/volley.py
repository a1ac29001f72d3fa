"""Many questions to several cells at once, each as cold, hot and repeated as the plan wants; who died of what.

Enters: Questions, running cells. Leaves: an Outcome per question: answers as JSON text by version. UDP by one loop over all cells;
TCP and transfers by a few threads. Absent on purpose: the meaning of answers.
"""
import queue
import select
import socket
import struct
import threading
import time
from collections import deque

from . import answers, netns

WINDOW = 48
YOUNG = 0.15       # seconds after which a question without an answer no longer takes a place in the window
TRIES = 2
PATIENCE = 3.0     # seconds of the second try over TCP, where no sign of life tells a slow machine from a silent server
STALL = 15        # seconds after which a silent server is taken at its word
# An opcode (STATUS) that the server's library refuses before any plugin sees it.
PROBE = struct.pack("!6H", 0x5353, 2 << 11, 1, 0, 0, 0) + b"\0\0\1\0\1"


class Outcome:
    __slots__ = ("question", "first", "cold", "hot", "alt")

    def __init__(self, question):
        self.question, self.first = question, None
        self.cold, self.hot, self.alt = {}, {}, {}


class _Ask:
    """One question on its way in one cell."""
    __slots__ = ("outcome", "leg", "left", "tries", "sent", "young", "key")

    def __init__(self, outcome, leg, left):
        self.outcome, self.leg, self.left, self.tries, self.sent, self.young, self.key = outcome, leg, left, 0, 0.0, False, None


class _Side:
    """One cell's part of a volley."""

    def __init__(self, cell, outcomes):
        self.cell, self.version = cell, cell.version
        self.ready = deque(_Ask(outcome, "cold", outcome.question.repeat) for outcome in outcomes)
        self.flying, self.order, self.window, self.tcp = {}, deque(), 0, 0
        self.unsure = []         # asked over TCP when the process died
        self.sockets, self.serial = {}, 0
        self.heard = self.probed = 0.0     # when anything last came; when a sign of life was last asked for

    def socket_for(self, client, poll, by_fd):
        found = self.sockets.get(client)
        if found is None:
            family = socket.AF_INET6 if ":" in client else socket.AF_INET
            found = netns.sock(self.cell.netns, family)
            found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
            found.bind((client, 0))
            found.connect((self.cell.server(client), 53))
            found.setblocking(False)
            self.sockets[client] = found
            poll.register(found, select.EPOLLIN)
            by_fd[found.fileno()] = (self, found)
        return found

    def probe(self, now):
        """Ask for a sign of life."""
        if now - self.probed > 0.1 and self.sockets:
            self.probed, self.serial = now, (self.serial + 1) & 0xFFFF
            try:
                next(iter(self.sockets.values())).send(struct.pack("!H", self.serial) + PROBE[2:])
            except OSError:
                pass

    def open(self):
        return bool(self.ready or self.flying or self.tcp or self.unsure)

    def close(self, by_fd):
        for one in self.sockets.values():
            by_fd.pop(one.fileno(), None)
            one.close()
        self.sockets.clear()


class Volley:
    def __init__(self, cells, hot, on_crash):
        self.cells, self.hot, self.on_crash = cells, hot, on_crash
        self.cache, self.sent, self.counting = {}, 0, threading.Lock()

    def run(self, questions):
        """Ask all; transfers last, one at a time in each cell."""
        outcomes = [Outcome(question) for question in questions]
        plain = [one for one in outcomes if not one.question.transfer]
        _Loop(self, plain).run()
        transfers = [one for one in outcomes if one.question.transfer]
        threads = [threading.Thread(target=self._transfers, args=(cell, transfers)) for cell in self.cells.values()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return outcomes

    def _transfers(self, cell, outcomes):
        for outcome in outcomes:
            self._alone(cell, outcome)

    def text(self, question, data, truncated=False):
        key = (data[2:], truncated, question.section)
        found = self.cache.get(key)
        if found is None:
            found = self.cache[key] = answers.text(answers.read(question, data, truncated))
        return found

    def _alone(self, cell, outcome):
        """One question alone, then a look whether the process lived through it."""
        outcome.first = outcome.first or time.monotonic()
        if cell.alive():
            with self.counting:
                self.sent += 1
            found = over_tcp(self, cell, outcome.question) if outcome.question.tcp else _single(self, cell, outcome.question)
            for _ in range(2):
                _sign_of_life(cell, outcome.question)
        if not cell.alive():
            found = answers.text({"crash": cell.died()})
            self.on_crash(cell)
        outcome.cold[cell.version] = found

    def suspects(self, cell, asks):
        """The process died with these on their way: asked again one by one of a new one."""
        if cell.alive() or self.on_crash(cell):
            for ask in asks:
                if ask.leg == "cold":
                    self._alone(cell, ask.outcome)
            return True
        return False


def _sign_of_life(cell, question):
    """Wait until the process has had time to die: a panic stops the world, so that no probe is answered after it."""
    time.sleep(0.015)
    raw = netns.sock(cell.netns, socket.AF_INET6 if ":" in question.client else socket.AF_INET)
    try:
        raw.bind((question.client, 0))
        raw.connect((cell.server(question.client), 53))
        raw.settimeout(0.5)
        for _ in range(4):
            if not cell.alive():
                return
            raw.send(PROBE)
            try:
                raw.recv(512)
                return
            except TimeoutError:
                pass
    except OSError:
        pass
    finally:
        raw.close()


def _single(volley, cell, question):
    raw = netns.sock(cell.netns, socket.AF_INET6 if ":" in question.client else socket.AF_INET)
    try:
        raw.bind((question.client, 0))
        raw.connect((cell.server(question.client), 53))
        raw.settimeout(question.timeout)
        for _ in range(TRIES):
            try:
                raw.send(question.wire(0x5151))
                data = raw.recv(65535)
                if data[2] & 2:
                    return over_tcp(volley, cell, question, True)
                return volley.text(question, data)
            except OSError:
                if not cell.alive():
                    break
        return '{"timeout":true}'
    finally:
        raw.close()


def over_tcp(volley, cell, question, truncated=False):
    """One question over TCP, as JSON text; a transfer until its end. The second try waits longer: a machine may stall."""
    for attempt in range(TRIES):
        raw = netns.sock(cell.netns, socket.AF_INET6 if ":" in question.client else socket.AF_INET, socket.SOCK_STREAM)
        try:
            raw.bind((question.client, 0))
            raw.settimeout(question.timeout if attempt == 0 else max(question.timeout, PATIENCE))
            raw.connect((cell.server(question.client), 53))
            wire = question.wire(0x5252)
            raw.sendall(struct.pack("!H", len(wire)) + wire)
            messages = [_message(raw)]
            while question.transfer and not answers.ends(messages):
                messages.append(_message(raw))
            if question.transfer:
                return answers.text(answers.transfer(question, messages))
            return volley.text(question, messages[0], truncated)
        except (OSError, EOFError, struct.error, IndexError, ValueError):
            if not cell.alive():
                break
        finally:
            raw.close()
    return '{"timeout":true}'


def _message(raw):
    size = struct.unpack("!H", _exactly(raw, 2))[0]
    return _exactly(raw, size)


def _exactly(raw, size):
    data = b""
    while len(data) < size:
        more = raw.recv(size - len(data))
        if not more:
            raise EOFError
        data += more
    return data


class _Loop:
    """The UDP loop of one volley."""

    def __init__(self, volley, outcomes):
        self.volley, self.poll, self.by_fd = volley, select.epoll(), {}
        self.sides = [_Side(cell, outcomes) for cell in volley.cells.values()]
        self.tasks, self.done = queue.Queue(), queue.Queue()
        self.looked = time.monotonic()

    def run(self):
        workers = [threading.Thread(target=self._work, daemon=True) for _ in range(3)]
        for worker in workers:
            worker.start()
        try:
            while any(side.open() for side in self.sides):
                self._turn()
        finally:
            for _ in workers:
                self.tasks.put(None)
            for side in self.sides:
                side.close(self.by_fd)
            self.poll.close()

    def _work(self):
        while task := self.tasks.get():
            side, ask, truncated = task
            self.done.put((side, ask, over_tcp(self.volley, side.cell, ask.outcome.question, truncated)))

    def _turn(self):
        for side in self.sides:
            while side.ready and side.window < WINDOW and side.tcp < WINDOW:
                self._send(side, side.ready.popleft())
        busy = any(side.tcp for side in self.sides)
        for fd, _ in self.poll.poll(0.002 if busy else 0.02):
            self._receive(*self.by_fd[fd])
        while not self.done.empty():
            side, ask, found = self.done.get()
            side.tcp -= 1
            if found == '{"timeout":true}' and not side.cell.alive():
                side.unsure.append(ask)
            else:
                self._answered(side, ask, found)
        now = time.monotonic()
        look, self.looked = now - self.looked > 0.1, now if now - self.looked > 0.1 else self.looked
        for side in self.sides:
            self._age(side, now)
            if look and not side.cell.alive():
                self._crashed(side)
            elif look:
                self._expire(side, now)

    def _send(self, side, ask):
        question = ask.outcome.question
        self.volley.sent += 1
        if ask.outcome.first is None:
            ask.outcome.first = time.monotonic()
        if question.tcp:
            side.tcp += 1
            self.tasks.put((side, ask, False))
            return
        via = side.socket_for(question.client, self.poll, self.by_fd)
        side.serial = (side.serial + 1) & 0xFFFF
        ask.key, ask.sent, ask.young = (via.fileno(), side.serial), time.monotonic(), True
        ask.tries += 1
        side.flying[ask.key] = ask
        side.order.append(ask)
        side.window += 1
        try:
            via.send(question.wire(side.serial))
        except OSError:
            pass          # the process is gone, or the buffer is full: the second try, or the look at the process, tells

    def _receive(self, side, via):
        while True:
            try:
                data = via.recv(65535)
            except BlockingIOError:
                return
            except OSError:
                return
            side.heard = time.monotonic()
            ask = side.flying.pop((via.fileno(), struct.unpack_from("!H", data)[0]), None) if len(data) >= 12 else None
            if ask is None:
                continue
            if ask.young:
                ask.young = False
                side.window -= 1
            if data[2] & 2:
                side.tcp += 1
                self.tasks.put((side, ask, True))
            else:
                self._answered(side, ask, self.volley.text(ask.outcome.question, data))

    def _answered(self, side, ask, found):
        """File the answer, and ask again if more is wanted."""
        outcome, version = ask.outcome, side.version
        if ask.leg == "cold":
            outcome.cold[version] = found
        elif ask.leg == "hot":
            outcome.hot[version] = found
        elif found != outcome.cold[version] and found not in outcome.alt.setdefault(version, []):
            outcome.alt[version].append(found)
        if found == '{"timeout":true}':
            return
        if ask.left:
            side.ready.appendleft(_Ask(outcome, "alt", ask.left - 1))
        elif ask.leg == "cold" and self.volley.hot:
            side.ready.appendleft(_Ask(outcome, "hot", 0))

    def _age(self, side, now):
        order = side.order
        while order and (order[0].key not in side.flying or side.flying[order[0].key] is not order[0]
                         or now - order[0].sent > YOUNG):
            ask = order.popleft()
            if ask.young and side.flying.get(ask.key) is ask:
                ask.young = False
                side.window -= 1

    def _expire(self, side, now):
        for key, ask in list(side.flying.items()):
            if now - ask.sent > ask.outcome.question.timeout:
                if side.heard < ask.sent + ask.outcome.question.timeout / 2 and now - ask.sent < STALL:
                    side.probe(now)          # nobody is answered: the machine, not the question
                    continue
                del side.flying[key]
                if ask.young:
                    ask.young = False
                    side.window -= 1
                if ask.tries < TRIES:
                    side.ready.appendleft(ask)
                else:
                    self._answered(side, ask, '{"timeout":true}')

    def _crashed(self, side):
        """Whatever was on its way is asked alone; if the process does not come back, nothing more is asked of it."""
        suspects = [*side.flying.values(), *side.unsure]
        side.flying.clear()
        side.order.clear()
        side.unsure.clear()
        side.window = 0
        side.close(self.by_fd)
        if not self.volley.suspects(side.cell, suspects):
            gone = answers.text({"crash": side.cell.died()})
            for ask in [*suspects, *side.ready]:
                ask.outcome.cold.setdefault(side.version, gone)
            side.ready.clear()
