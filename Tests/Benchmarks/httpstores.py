"""Servers of etcd and Consul of our own, and a proxy that counts the HTTP requests that go to them."""

import collections
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time


class Server:
    """One server of a store that speaks HTTP, alone, with its data in a directory of its own."""

    def __init__(self, directory, port):
        self.directory, self.port = directory, port
        self.process = None

    def launch(self, command):
        os.makedirs(self.directory, exist_ok=True)
        log = open(self.directory + "/log", "ab")
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory, start_new_session=True)
        until = time.monotonic() + 60
        while not self.serves():
            if time.monotonic() > until or self.process.poll() is not None:
                raise RuntimeError(f"{self.title} did not start; see {self.directory}/log")
            time.sleep(0.1)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def call(self, method, path, body=None):
        """The answer's JSON; None when there is none."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return json.loads(answer.read()) if answer.status == 200 else None
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            connection.close()


class Etcd(Server):
    """`front` is the port at which its clients are to come: its members tell clients where to go."""

    title = "etcd"

    def __init__(self, directory, port, peer_port, front):
        super().__init__(directory, port)
        self.peer_port, self.front = peer_port, front

    def start(self):
        own, peer = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{self.peer_port}"
        self.launch([
            "/usr/bin/etcd", "--name", "etcd1", "--data-dir", self.directory + "/data", "--listen-client-urls", own,
            "--advertise-client-urls", f"http://127.0.0.1:{self.front}", "--listen-peer-urls", peer,
            "--initial-advertise-peer-urls", peer, "--initial-cluster", f"etcd1={peer}",
            # Leases of two seconds and more.
            "--heartbeat-interval", "50", "--election-timeout", "500", "--enable-v2=false", "--logger", "zap",
            "--log-outputs", "stderr", "--log-level", "warn"])

    def serves(self):
        status = self.call("POST", "/v3/maintenance/status", "{}")
        return bool(status and int(status.get("leader", 0)))

    def log_entries(self):
        """The number of the last entry of its log: every write is one, and so is a lease that is granted."""
        return int(self.call("POST", "/v3/maintenance/status", "{}")["raftIndex"])

    def changes(self):
        """The number of the last change of its data."""
        return int(self.call("POST", "/v3/maintenance/status", "{}")["header"]["revision"])

    def section(self, port):
        return f"etcd3:\n  host: 127.0.0.1:{port}"


class Consul(Server):
    title = "Consul"

    def __init__(self, directory, port, serf_port, server_port):
        super().__init__(directory, port)
        self.serf_port, self.server_port = serf_port, server_port

    def start(self):
        os.makedirs(self.directory, exist_ok=True)
        with open(self.directory + "/consul.json", "w") as file:
            json.dump({
                "data_dir": self.directory + "/data", "server": True, "bootstrap_expect": 1, "node_name": "consul",
                "bind_addr": "127.0.0.1", "client_addr": "127.0.0.1", "disable_update_check": True, "log_level": "warn",
                # Leases of three seconds want sessions of one.
                "session_ttl_min": "300ms", "performance": {"raft_multiplier": 1},
                # Otherwise it writes every five seconds where its nodes are.
                "disable_coordinates": True,
                "ports": {"http": self.port, "serf_lan": self.serf_port, "server": self.server_port, "dns": -1,
                          "grpc": -1, "serf_wan": -1}}, file)
        self.launch([shutil.which("consul") or "consul", "agent", f"-config-file={self.directory}/consul.json"])

    def serves(self):
        # The key does not exist; who knows that for sure has a leader.
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/v1/kv/none?consistent")
            return connection.getresponse().status == 404
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def log_entries(self):
        """The number of the last entry of its log: every write is one, and so are the servers' own few."""
        return int(self.call("GET", "/v1/agent/self")["Stats"]["raft"]["last_log_index"])

    # A session's renewal is none, nor is a transaction that only reads.
    changes = log_entries

    def section(self, port):
        return f"consul:\n  host: 127.0.0.1:{port}"


def kind(method, target):
    """What a request is, without the names in it: `PUT /v1/session/renew`."""
    path, _, query = target.partition("?")
    parts = path.split("/")
    text = "/".join(parts[:4] if path.startswith(("/v3/", "/v1/session/", "/v1/agent/")) else parts[:3])
    if method == "POST":
        # All of etcd's are.
        return text
    waits = re.search(r"(^|&)(wait|index)=", query) is not None
    return f"{method} {text}{' (blocking)' if waits else ''}"


class Requests:
    """Finds the requests in what a client sends on one connection."""

    def __init__(self):
        self.data, self.rest, self.is_chunked = b"", 0, False

    def add(self, data):
        self.data += data
        while True:
            if self.rest:
                taken = min(self.rest, len(self.data))
                self.data, self.rest = self.data[taken:], self.rest - taken
                if self.rest:
                    return
            if self.is_chunked:
                line, found, rest = self.data.partition(b"\r\n")
                if not found:
                    return
                size = int(line.split(b";")[0], 16)
                self.data, self.rest, self.is_chunked = rest, size + 2, size > 0
                continue
            head, found, rest = self.data.partition(b"\r\n\r\n")
            if not found:
                return
            self.data = rest
            lines = head.decode("latin-1").split("\r\n")
            method, target = lines[0].split(" ")[:2]
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
            self.rest = int(headers.get("content-length", 0))
            self.is_chunked = "chunked" in headers.get("transfer-encoding", "").lower()
            yield kind(method, target)


class CountingProxy:
    """Stands between agents and server and counts the requests by kind."""

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

    def accept(self):
        while not self.closing:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.server_port))
            except OSError:
                client.close()
                continue
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.pass_on, args=(client, server, Requests()), daemon=True).start()
            threading.Thread(target=self.pass_on, args=(server, client, None), daemon=True).start()

    def pass_on(self, source, target, requests):
        try:
            while data := source.recv(65536):
                if requests:
                    found = list(requests.add(data))
                    with self.lock:
                        self.counts.update(found)
                target.sendall(data)
        except OSError:
            pass
        finally:
            for end in (source, target):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
            if requests:
                # The other direction ends by the shutdown.
                time.sleep(1)
                source.close()
                target.close()

    def close(self):
        self.closing = True
        self.listener.close()
