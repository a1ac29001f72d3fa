"""The programs a run has started, and their end. Killed by recorded pid only.

Enters: argv. Leaves: processes in sessions of their own, with their output in files of the run's folder.
"""
import subprocess
import threading


class Children:
    def __init__(self, folder):
        self.folder = folder
        self.running = []
        self.lock = threading.Lock()

    def start(self, name, argv, stdout=None, stderr=None, **more):
        log = open(self.folder / f"{name}.out", "ab") if stdout is None or stderr is None else None
        child = subprocess.Popen(argv, stdout=stdout or log, stderr=stderr or log, start_new_session=True,
                                 stdin=more.pop("stdin", subprocess.DEVNULL), **more)
        if log:
            log.close()
        child.label = name
        with self.lock:
            self.running.append(child)
        return child

    def stop(self, child, grace=1.0, kill=False):
        """End one program; returns when it is gone."""
        if child.poll() is None:
            child.kill() if kill else child.terminate()
            try:
                child.wait(grace)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        for stream in (child.stdin, child.stdout):
            if stream and not stream.closed:
                try:
                    stream.close()
                except OSError:
                    pass
        with self.lock:
            if child in self.running:
                self.running.remove(child)

    def stop_all(self):
        for child in list(reversed(self.running)):
            if child.poll() is None:
                child.terminate()
        for child in list(reversed(self.running)):
            self.stop(child)
