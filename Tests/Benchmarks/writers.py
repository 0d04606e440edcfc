"""Clients that insert a row every few milliseconds, one for each member, and the gaps that they saw.

Run as a program this file is one client; imported it starts them and reads what they noted. Times are CLOCK_MONOTONIC,
which all processes of a machine share.
"""

import os
import struct
import subprocess
import sys
import time

RECORD = struct.Struct("<cd")
SENT, ACKNOWLEDGED, REFUSED, UNCONNECTED = b"s", b"a", b"r", b"u"
INTERVAL = 0.005
BACK_OFF = 0.001


def client(member, port, password, path):
    import psycopg2

    out = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    connection = cursor = None

    def note(kind):
        now = time.monotonic()
        os.write(out, RECORD.pack(kind, now))
        return now

    number = 0
    while os.getppid() != 1:
        if connection is None:
            try:
                connection = psycopg2.connect(
                    host="127.0.0.1", port=port, user="postgres", password=password, dbname="postgres",
                    connect_timeout=3, application_name="benchmark")
                connection.autocommit = True
                cursor = connection.cursor()
            except psycopg2.Error:
                connection = None
                note(UNCONNECTED)
                time.sleep(BACK_OFF)
                continue
        number += 1
        begun = note(SENT)
        try:
            cursor.execute("insert into benchmark values (%s, %s)", (member, number))
            note(ACKNOWLEDGED)
        except psycopg2.Error:
            note(REFUSED)
            if connection.closed:
                connection = None
                continue
        time.sleep(max(0.0, begun + INTERVAL - time.monotonic()))


class Writers:
    """The clients of one cluster."""

    def __init__(self, directory, ports, password):
        self.directory, self.ports, self.password = directory, ports, password
        self.processes = []
        self.paths = {member: f"{directory}/writer-{member}" for member in ports}

    def start(self):
        for member, port in self.ports.items():
            environment = dict(os.environ, BENCHMARK_PASSWORD=self.password)
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, os.path.abspath(__file__), member, str(port), self.paths[member]],
                    stdin=subprocess.DEVNULL, env=environment, start_new_session=True,
                    stderr=open(f"{self.directory}/writers.log", "ab")))

    def stop(self):
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()
        self.processes = []

    def size(self):
        """Where the notes end now, for `since`."""
        return {member: os.path.getsize(path) if os.path.exists(path) else 0 for member, path in self.paths.items()}

    def read(self, member, offset=0):
        try:
            with open(self.paths[member], "rb") as file:
                file.seek(offset)
                data = file.read()
        except FileNotFoundError:
            return []
        return list(RECORD.iter_unpack(data[: len(data) // RECORD.size * RECORD.size]))

    def acknowledged_since(self, start, offsets):
        """The first acknowledgement of a write sent after `start`, by any member: (when, member)."""
        best = None
        for member in self.paths:
            sent = None
            for kind, at in self.read(member, offsets.get(member, 0)):
                if kind == SENT:
                    sent = at
                elif kind == ACKNOWLEDGED and sent is not None and sent > start and (best is None or at < best[0]):
                    best = (at, member)
                    break
        return best

    def gap(self, fault, offsets):
        """The interruption after `fault`: from the first write that was not acknowledged to the next that was.

        Writes that the fault did not touch yet (the old primary still works for a while after a request) come before.
        Returns (start, end, member that acknowledged), or None while no such thing has been seen.
        """
        acknowledged, failed = [], []
        for member in self.paths:
            sent = None
            has_written = False
            for kind, at in self.read(member, offsets.get(member, 0)):
                if kind == SENT:
                    sent = at
                elif kind == ACKNOWLEDGED:
                    acknowledged.append((sent, at, member))
                    has_written, sent = True, None
                elif has_written:
                    # The next refusal of one who could write: later ones are the same interruption, seen again.
                    failed.append((sent if sent is not None else at))
                    has_written, sent = False, None
            if has_written and sent is not None:
                # Still waiting for its answer: a frozen server gives none.
                failed.append(sent)
        acknowledged = [item for item in acknowledged if item[0] is not None]
        failed = sorted(at for at in failed if at >= fault - 1)
        for start in failed:
            later = [(at, member) for sent, at, member in acknowledged if sent > start]
            if later:
                end, member = min(later)
                return start, end, member
        return None


if __name__ == "__main__":
    client(sys.argv[1], int(sys.argv[2]), os.environ["BENCHMARK_PASSWORD"], sys.argv[3])
