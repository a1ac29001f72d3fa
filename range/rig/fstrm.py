"""A Frame Streams receiver for dnstap: takes a bidirectional stream on a unix socket, writes a unidirectional file.

Enters: connections of one CoreDNS replica (a reload makes a new one). Leaves: one .fstrm file with the frames of all of them.
"""
import os
import socket
import struct
import threading

CONTENT = b"protobuf:dnstap.Dnstap"
ACCEPT, START, STOP, READY, FINISH = 1, 2, 3, 4, 5


def control(kind, content=CONTENT):
    body = struct.pack("!I", kind) + (struct.pack("!II", 1, len(content)) + content if content else b"")
    return struct.pack("!II", 0, len(body)) + body


class Receiver:
    def __init__(self, socket_path, file_path):
        self.file = open(file_path, "wb", buffering=0)
        self.file.write(control(START))
        self.lock = threading.Lock()
        self.frames, self.closed, self.connections = 0, False, []
        if os.path.exists(socket_path):
            os.unlink(socket_path)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(socket_path))
        self.listener.listen(8)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        stream = connection.makefile("rb")
        try:
            while True:
                head = stream.read(4)
                if len(head) < 4:
                    return
                length = struct.unpack("!I", head)[0]
                if length:
                    data = stream.read(length)
                    if len(data) < length:
                        return
                    self._frame(head + data)
                    continue
                size = struct.unpack("!I", stream.read(4))[0]
                kind = struct.unpack("!I", stream.read(size)[:4])[0]
                if kind == READY:
                    connection.sendall(control(ACCEPT))
                elif kind == STOP:
                    connection.sendall(control(FINISH, None))
                    return
        except (OSError, struct.error, ValueError):
            return
        finally:
            connection.close()

    def _frame(self, data):
        with self.lock:
            if not self.closed:
                self.file.write(data)
                self.frames += 1

    def close(self):
        self.listener.close()
        with self.lock:
            if self.closed:
                return
            self.closed = True
            self.file.write(control(STOP, None))
            self.file.close()
