"""The contestants: three members each, the same configuration file but for the lease's length."""

import contextlib
import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import time

MEMBERS = ("pg1", "pg2", "pg3")

CONFIGURATION = """\
scope: bench
name: {name}
restapi:
  listen: 127.0.0.1:{rest}
  connect_address: 127.0.0.1:{rest}
{store}
bootstrap:
  dcs:
    ttl: {ttl}
    loop_wait: {loop_wait}
    retry_timeout: {retry_timeout}
    postgresql:
      use_pg_rewind: true
      parameters:
        max_connections: 50
  initdb:
    - encoding: UTF8
    - data-checksums
postgresql:
  listen: 127.0.0.1:{port}
  connect_address: 127.0.0.1:{port}
  data_dir: {directory}/{name}/data
  bin_dir: {postgres}
  pgpass: {directory}/{name}/pgpass
  pg_hba:
    - local all all trust
    - host all all 127.0.0.1/32 scram-sha-256
    - host replication replicator 127.0.0.1/32 scram-sha-256
  authentication:
    superuser: {{username: postgres, password: {password}}}
    replication: {{username: replicator, password: {password}}}
    rewind: {{username: rewinder, password: {password}}}
  parameters:
    unix_socket_directories: {directory}/{name}
    shared_buffers: 32MB
"""


def wait_for(what, seconds, condition, every=0.05):
    """The condition's first true answer; the condition is asked until then, or until it is too late."""
    until = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > until:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(every)


PORTS = range(21000, 31000)


def free_ports(count, taken=set()):
    """Ports below those that outgoing connections use; none twice in one run."""
    found = []
    start = 21000 + os.getpid() * 37 % 9000
    for port in [*range(start, PORTS.stop), *range(PORTS.start, start)]:
        if port in taken:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        taken.add(port)
        found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError("no free ports")


# ------------------------------------------------------------------------------------------------- the process table


def stat(pid):
    """(parent, state) of a process; None when there is none."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return int(fields[1]), fields[0]
    except (OSError, IndexError, ValueError):
        return None


def is_running(pid):
    found = stat(pid)
    return found is not None and found[1] not in "ZX"


def first_number(path):
    try:
        with open(path) as file:
            return int(file.readline())
    except (OSError, ValueError):
        return None


def working_directory(pid):
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return ""


def command_line(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def processes_of(directory):
    """Every process that works in a directory of ours or was started with its path: nobody else's can."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        pid = int(name)
        try:
            if os.stat(f"/proc/{pid}").st_uid != os.getuid():
                continue
        except OSError:
            continue
        place = working_directory(pid)
        if place == directory or place.startswith(directory + "/") or directory + "/" in command_line(pid):
            found.append(pid)
    return found


def send(pid, number):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


# ------------------------------------------------------------------------------------------------------ a contestant


class Contestant:
    """What is measured: a program and its timing."""

    def __init__(self, name, program, ttl, loop_wait, retry_timeout):
        self.name, self.program = name, program
        self.ttl, self.loop_wait, self.retry_timeout = ttl, loop_wait, retry_timeout

    @property
    def is_matriarch(self):
        return self.program == "matriarch"


class Member:
    def __init__(self, cluster, name):
        self.cluster, self.name = cluster, name
        self.port, self.rest = free_ports(2)
        self.directory = f"{cluster.directory}/{name}"
        self.data = self.directory + "/data"
        self.process = None

    def configure(self, store):
        os.makedirs(self.directory, mode=0o700, exist_ok=True)
        contestant = self.cluster.contestant
        text = CONFIGURATION.format(
            name=self.name, rest=self.rest, port=self.port, directory=self.cluster.directory, store=store,
            postgres=self.cluster.tools.postgres, password=self.cluster.password, ttl=contestant.ttl,
            loop_wait=contestant.loop_wait, retry_timeout=contestant.retry_timeout)
        with open(os.open(self.directory + "/agent.yml", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)

    def start(self):
        if self.cluster.contestant.is_matriarch:
            command = [self.cluster.tools.bin + "/matriarch", "run", self.directory + "/agent.yml"]
        else:
            command = [self.cluster.tools.patroni, self.directory + "/agent.yml"]
        with open(self.directory + "/agent.log", "ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory, start_new_session=True)

    @property
    def agent(self):
        """The agent's process."""
        return self.process.pid if self.process and self.process.poll() is None else None

    @property
    def guard(self):
        pid = first_number(self.data + ".matriarch/guard.lock")
        return pid if pid and is_running(pid) and "matriarch-guard" in command_line(pid) else None

    @property
    def postmaster(self):
        pid = first_number(self.data + "/postmaster.pid")
        return pid if pid and is_running(pid) and working_directory(pid) == self.data else None

    def everything(self):
        """All processes of this "host": agent, guard, and every one of PostgreSQL."""
        found = [pid for pid in (self.agent, self.guard) if pid]
        return found + [pid for pid in processes_of(self.directory) if pid not in found]

    def get(self, path, timeout=5):
        connection = http.client.HTTPConnection("127.0.0.1", self.rest, timeout=timeout)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"null")
        except (OSError, http.client.HTTPException, ValueError):
            return 0, None
        finally:
            connection.close()

    def post(self, path, body, timeout=60):
        connection = http.client.HTTPConnection("127.0.0.1", self.rest, timeout=timeout)
        try:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        finally:
            connection.close()

    def kill_everything(self):
        """The host is switched off, however it stood."""
        until = time.monotonic() + 10
        while running := [pid for pid in self.everything() if is_running(pid)]:
            for pid in running:
                send(pid, signal.SIGKILL)
                # A stopped process dies of SIGKILL as it is; its children are found in the next round.
            if self.process:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.wait(0.01)
            if time.monotonic() > until:
                raise TimeoutError(f"processes of {self.name} do not end: {running}")
            time.sleep(0.01)

    def terminate(self, seconds=60):
        if self.agent:
            self.process.terminate()
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                pass


class Cluster:
    """Three members on loopback."""

    def __init__(self, tools, contestant, directory, store):
        self.tools, self.contestant, self.directory, self.store = tools, contestant, directory, store
        self.password = secrets.token_hex(12)
        os.makedirs(directory, mode=0o700)
        self.members = {name: Member(self, name) for name in MEMBERS}

    def start(self):
        for member in self.members.values():
            member.configure(self.store)
        self.members["pg1"].start()
        wait_for(f"{self.contestant.name}: a first leader", 120, self.leader_name)
        for name in MEMBERS[1:]:
            self.members[name].start()
        self.wait_until_whole(180)

    def stop(self):
        """Orderly, replicas first; then whatever is left."""
        with contextlib.suppress(Exception):
            leader = self.leader_name()
            for member in sorted(self.members.values(), key=lambda one: one.name == leader):
                member.terminate(30)
        self.kill()

    def kill(self):
        for member in self.members.values():
            member.kill_everything()

    def view(self):
        """The cluster as a running member tells it: name -> its row of GET /cluster."""
        for member in self.members.values():
            if member.agent is None:
                continue
            status, document = member.get("/cluster", timeout=2)
            if status == 200 and isinstance(document, dict):
                return {row["name"]: row for row in document.get("members", [])}
        return {}

    def leader_name(self):
        for name, row in self.view().items():
            if row.get("role") == "leader" and row.get("state") == "running":
                # /cluster tells what the store holds; the member itself must agree.
                if name in self.members and self.members[name].get("/primary", timeout=2)[0] == 200:
                    return name
        return None

    def wait_until_whole(self, seconds=120):
        """A leader, and two that stream its timeline. Returns the leader."""

        def whole():
            rows = self.view()
            if len(rows) != len(MEMBERS):
                return None
            leader = self.leader_name()
            if leader is None:
                return None
            timeline = rows[leader].get("timeline")
            for name, row in rows.items():
                if name != leader and (row.get("state") != "streaming" or row.get("timeline") != timeline):
                    return None
            return leader

        return self.members[wait_for(f"{self.contestant.name}: all members in place", seconds, whole, every=0.2)]

    def sql(self, member, statement):
        import psycopg2

        connection = psycopg2.connect(
            host="127.0.0.1", port=member.port, user="postgres", password=self.password, dbname="postgres",
            connect_timeout=5)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def decisions(self, since):
        """What Matriarch's agents decided after a wall-clock instant: (seconds after it, member, rule, text, facts)."""
        from datetime import datetime

        found = []
        for member in self.members.values():
            status, document = member.get("/decisions", timeout=2)
            for one in (document or {}).get("decisions", []) if status == 200 else []:
                at = datetime.fromisoformat(one["at"]).timestamp() - since
                if at >= -0.5:
                    found.append((at, member.name, one["rule"], one["text"], one["facts"]))
        return sorted(found, key=lambda one: one[0])
