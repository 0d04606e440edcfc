"""A ZooKeeper server of our own, a watcher of the leader's node, and a proxy that counts what goes to the server."""

import collections
import os
import re
import selectors
import socket
import struct
import subprocess
import threading
import time

JAR = "/usr/share/java/zookeeper.jar"


class Server:
    """A standalone ZooKeeper with a short tick, as short leases want it."""

    title = "ZooKeeper"

    def __init__(self, directory, port, tick):
        self.directory, self.port, self.tick = directory, port, tick
        self.process = None

    def start(self):
        os.makedirs(self.directory + "/data", exist_ok=True)
        with open(self.directory + "/zoo.cfg", "w") as file:
            file.write(
                f"tickTime={self.tick}\ndataDir={self.directory}/data\nclientPort={self.port}\n"
                "clientPortAddress=127.0.0.1\nadmin.enableServer=false\n4lw.commands.whitelist=srvr,ruok,mntr,cons\n"
                # Patroni's default session of 30 s is beyond the usual 20 ticks.
                "maxSessionTimeout=60000\n"
            )
        log = open(self.directory + "/log", "ab")
        self.process = subprocess.Popen(
            ["java", "-Xmx256m", "-XX:+UseSerialGC", "-cp", JAR,
             "org.apache.zookeeper.server.quorum.QuorumPeerMain", self.directory + "/zoo.cfg"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory, start_new_session=True)
        until = time.monotonic() + 60
        while ask(self.port, b"ruok") != b"imok":
            if time.monotonic() > until or self.process.poll() is not None:
                raise RuntimeError(f"ZooKeeper did not start; see {self.directory}/log")
            time.sleep(0.1)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


    def section(self, port):
        return f"zookeeper:\n  hosts: ['127.0.0.1:{port}']"

    def log_entries(self):
        """The number of the last transaction: of every request that is no read, even when it fails or changes nothing."""
        return int(re.search(rb"Zxid: 0x([0-9a-f]+)", ask(self.port, b"srvr")).group(1), 16)

    def changes(self):
        """The server does not tell: the proxy does."""
        return None


def ask(port, word):
    """One of the server's four-letter words; None when nobody answers."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(word)
            answer = b""
            while part := connection.recv(65536):
                answer += part
            return answer
    except OSError:
        return None


class Watcher:
    """Notes when the leader's node vanishes and when it appears, as a client of its own sees it."""

    def __init__(self, port, path):
        import logging

        from kazoo.client import KazooClient

        logging.getLogger("kazoo").addHandler(logging.NullHandler())
        logging.getLogger("kazoo").propagate = False
        self.path = path
        self.events = []
        self.client = KazooClient(hosts=f"127.0.0.1:{port}", timeout=10, read_only=False)
        self.client.start(15)
        self.watch(None)

    def watch(self, event):
        now = time.monotonic()
        if event is not None and event.type in ("DELETED", "CREATED"):
            self.events.append((event.type, now))
        try:
            self.client.exists_async(self.path, watch=self.watch)
        except Exception:
            pass

    def first(self, kind, after):
        return next((at for what, at in list(self.events) if what == kind and at >= after), None)

    def close(self):
        self.client.stop()
        self.client.close()


OPERATIONS = {
    -11: "close session", 1: "create", 2: "delete", 3: "exists", 4: "get data", 5: "set data", 6: "get ACL",
    8: "get children", 9: "sync", 11: "heartbeat", 12: "get children", 13: "check", 14: "multi", 15: "create",
    100: "authenticate", 101: "set watches", 105: "set watches", 106: "add watch",
}


WRITES = ("create", "delete", "set data", "multi")


def changes_nothing(body):
    """Whether a multi consists of checks alone."""
    at = 0
    while at + 9 <= len(body):
        operation, is_end = struct.unpack(">i?", body[at:at + 5])
        if is_end:
            return True
        if operation != 13 or at + 13 > len(body):
            return False
        at += 9 + 4 + struct.unpack(">i", body[at + 9:at + 13])[0] + 4
    return False


class CountingProxy:
    """Stands between agents and server and counts the requests by kind, as the protocol's frames tell them."""

    def __init__(self, port, server_port):
        self.port, self.server_port = port, server_port
        self.counts = collections.Counter()
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", port))
        self.closing = False
        threading.Thread(target=self.accept, daemon=True).start()

    def snapshot(self):
        with self.lock:
            return collections.Counter(self.counts)

    def count(self, kind):
        with self.lock:
            self.counts[kind] += 1

    def accept(self):
        while not self.closing:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        try:
            server = socket.create_connection(("127.0.0.1", self.server_port))
        except OSError:
            client.close()
            return
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector = selectors.DefaultSelector()
        selector.register(client, selectors.EVENT_READ, server)
        selector.register(server, selectors.EVENT_READ, client)
        pending, is_first = b"", True
        try:
            while True:
                for key, _ in selector.select():
                    data = key.fileobj.recv(65536)
                    if not data:
                        return
                    if key.fileobj is client:
                        pending, is_first = self.inspect(pending + data, is_first)
                    key.data.sendall(data)
        except OSError:
            return
        finally:
            selector.close()
            client.close()
            server.close()

    def inspect(self, data, is_first):
        while len(data) >= 4:
            if is_first and data[:4].isalpha():
                self.count("four-letter word")
                return b"", False
            (length,) = struct.unpack(">i", data[:4])
            if len(data) < 4 + length:
                break
            if is_first:
                self.count("connect")
                is_first = False
            elif length >= 8:
                xid, operation = struct.unpack(">ii", data[4:12])
                kind = "heartbeat" if xid == -2 else OPERATIONS.get(operation, f"operation {operation}")
                self.count("multi of checks" if operation == 14 and changes_nothing(data[12:4 + length]) else kind)
            data = data[4 + length:]
        return data, is_first

    def close(self):
        self.closing = True
        self.listener.close()
