"""The faults, and what an agent costs when nothing happens."""

import os
import random
import re
import signal
import socket
import statistics
import subprocess
import time

import zookeeper
from clusters import free_ports, is_running, send, wait_for
from writers import Writers

# ------------------------------------------------------------------------------------------------------------ faults


class Fault:
    """One fault and the interruption that the clients saw."""

    def __init__(self, name, title, inject, limit):
        self.name, self.title, self.inject, self.limit = name, title, inject, limit


def crash(cluster, leader):
    send(leader.postmaster, signal.SIGKILL)


def switchover(cluster, leader):
    candidate = next(name for name in sorted(cluster.members) if name != leader.name)
    status, text = leader.post("/switchover", {"leader": leader.name, "candidate": candidate})
    if status != 200:
        raise RuntimeError(f"switchover refused: {status} {text}")


def sigterm(cluster, leader):
    send(leader.agent, signal.SIGTERM)


def host_lost(cluster, leader):
    """Everything of the leader's host stands still at once: no connection is closed, nothing answers."""
    stopped = set()
    # Those who could start or end others first; then again, until nobody new is found.
    for pid in (leader.agent, leader.guard, leader.postmaster):
        if pid:
            send(pid, signal.SIGSTOP)
            stopped.add(pid)
    while more := [pid for pid in leader.everything() if pid not in stopped and is_running(pid)]:
        for pid in more:
            send(pid, signal.SIGSTOP)
            stopped.add(pid)


FAULTS = {
    fault.name: fault
    for fault in (
        Fault("crash", "postmaster killed", crash, 90),
        Fault("switchover", "switchover (POST /switchover)", switchover, 60),
        Fault("sigterm", "SIGTERM of the primary's agent", sigterm, 90),
        Fault("host", "primary's host lost (all stopped)", host_lost, 120),
    )
}


def run_fault(fault, cluster, writers, watcher):
    """Injects a fault into a whole cluster and leaves it whole again. Returns milliseconds by what they are."""
    leader = cluster.wait_until_whole()
    # Agents that poll meet a fault anywhere in their round: a fixed pause would show always the same place of it.
    time.sleep(1 + random.uniform(0, cluster.contestant.loop_wait))
    offsets = writers.size()
    # What was acknowledged before the fault tells who could write then.
    wait_for("the clients write", 20, lambda: writers.acknowledged_since(time.monotonic() - 0.5, offsets))
    wall, begun = time.time(), time.monotonic()
    fault.inject(cluster, leader)
    start, end, member = wait_for(
        f"{cluster.contestant.name}, {fault.name}: writes again", fault.limit,
        lambda: writers.gap(begun, offsets), every=0.1)
    result = {"gap": (end - start) * 1000, "from": leader.name, "to": member}
    if fault.name == "host" and watcher is not None:
        expired = watcher.first("DELETED", begun)
        if expired is not None:
            result["expiry"] = (expired - begun) * 1000
            result["after_expiry"] = (end - expired) * 1000
    # Let the agents note what they did before they are asked.
    time.sleep(0.5)
    if cluster.contestant.is_matriarch:
        # The clocks' difference is taken from one instant that both told.
        shift = (start - begun) * 1000
        result["decisions"] = [
            (round(at * 1000 - shift), *rest) for at, *rest in cluster.decisions(wall)]
    restore(fault, cluster, leader)
    return result


def restore(fault, cluster, leader):
    if fault.name == "host":
        leader.kill_everything()
    elif fault.name == "sigterm":
        leader.process.wait(90)
        leader.kill_everything()
    if leader.agent is None:
        leader.start()
    cluster.wait_until_whole()


# ---------------------------------------------------------------------------------------------- PostgreSQL on its own


def bare_crash(tools, directory, rounds):
    """What crash recovery takes when nothing but a loop stands behind the postmaster: started again as soon as it ended,
    under the same clients. Milliseconds without writes, a figure for each round."""
    (port,) = free_ports(1)
    data, password = directory + "/data", "bare"
    os.makedirs(directory, mode=0o700)
    with open(directory + "/password", "w") as file:
        file.write(password)
    subprocess.run(
        [tools.postgres + "/initdb", "-D", data, "-U", "postgres", "-E", "UTF8", "-k", "-A", "scram-sha-256",
         "--pwfile", directory + "/password"], check=True, stdout=subprocess.DEVNULL)
    command = [
        tools.postgres + "/postgres", "-D", data, "-p", str(port), "-c", "listen_addresses=127.0.0.1",
        "-c", f"unix_socket_directories={directory}", "-c", "shared_buffers=32MB", "-c", "max_connections=50",
        "-c", "wal_log_hints=on"]
    log = open(directory + "/log", "ab")

    def start():
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

    writers = Writers(directory, {"bare": port}, password)
    server = start()
    gaps = []
    try:
        wait_for("the bare server", 30, lambda: try_sql(
            port, password, "create table if not exists benchmark (member text, number bigint)"))
        writers.start()
        for _ in range(rounds):
            time.sleep(3)
            offsets = writers.size()
            wait_for("the client writes", 20, lambda: writers.acknowledged_since(time.monotonic() - 0.5, offsets))
            begun = time.monotonic()
            server.kill()
            server.wait()
            while True:
                # Refused while the old server's processes still hold its shared memory.
                server = start()
                try:
                    server.wait(0.05)
                except subprocess.TimeoutExpired:
                    break
            start_of_gap, end, _ = wait_for(
                "the bare server writes again", 60, lambda: writers.gap(begun, offsets))
            gaps.append((end - start_of_gap) * 1000)
    finally:
        writers.stop()
        server.send_signal(signal.SIGINT)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
    return gaps


def try_sql(port, password, statement):
    import psycopg2

    try:
        connection = psycopg2.connect(
            host="127.0.0.1", port=port, user="postgres", password=password, dbname="postgres", connect_timeout=3)
    except psycopg2.Error:
        return False
    try:
        connection.autocommit = True
        connection.cursor().execute(statement)
        return True
    finally:
        connection.close()


# --------------------------------------------------------------------------------------------------- size and leisure


def private_memory(pid):
    """MiB that this process alone holds."""
    total = 0
    with open(f"/proc/{pid}/smaps_rollup") as file:
        for line in file:
            if match := re.match(r"Private_(Clean|Dirty|Hugetlb):\s+(\d+) kB", line):
                total += int(match.group(2))
    return total / 1024


def processor_seconds(pid):
    """Processor time of a process with all its threads, those that ended too, to the nanosecond."""
    return time.clock_gettime((~pid) << 3 | 2)


def wake_ups(pid):
    """Voluntary context switches of each thread that there is: how often the process woke."""
    found = {}
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{thread}/status") as file:
                found[thread] = int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", file.read(), re.M).group(1))
        except (OSError, AttributeError):
            continue
    return found


def wakes_since(pid, before):
    """Those since an earlier look; what threads did that have ended meanwhile is lost."""
    return sum(count - before.get(thread, 0) for thread, count in wake_ups(pid).items())


def agents(member):
    """The processes that are the agent: not PostgreSQL, nor what shows PostgreSQL's own parts."""
    return [pid for pid in (member.agent, member.guard) if pid]


def memory(cluster):
    """Private memory of agent and guard, in MiB: on the leader, and the larger of the replicas."""
    leader = cluster.wait_until_whole()
    figures = {name: sum(private_memory(pid) for pid in agents(member)) for name, member in cluster.members.items()}
    result = {"leader": figures.pop(leader.name), "replica": max(figures.values())}
    if leader.guard:
        result["guard"] = private_memory(leader.guard)
    return result


def first_answer(cluster):
    """Milliseconds from a replica's agent being started, its PostgreSQL running on, to its first HTTP answer."""
    leader = cluster.wait_until_whole()
    member = next(one for one in cluster.members.values() if one is not leader)
    # A dead agent leaves its PostgreSQL running; both programs take it over.
    agent = member.agent
    send(agent, signal.SIGKILL)
    member.process.wait(10)
    begun = time.monotonic()
    member.start()
    until = begun + 30
    while True:
        try:
            with socket.create_connection(("127.0.0.1", member.rest), timeout=1) as connection:
                connection.sendall(b"GET /liveness HTTP/1.0\r\nHost: localhost\r\n\r\n")
                if connection.recv(1):
                    break
        except OSError:
            pass
        if time.monotonic() > until:
            raise TimeoutError(f"{cluster.contestant.name}: no HTTP answer within 30 s of the start")
        time.sleep(0.0005)
    took = (time.monotonic() - begun) * 1000
    cluster.wait_until_whole()
    return took


def idle(cluster, proxy, server, seconds, settle):
    """What three members cost while nothing happens: processor time, wake-ups, requests to the store."""
    leader = cluster.wait_until_whole()
    # Whatever the bootstrap set in motion has come to rest: members' published states, the last WAL of initdb's
    # statistics and of the background writer's snapshots. The same for every contestant.
    time.sleep(settle)
    watched = {name: agents(member) for name, member in cluster.members.items()}
    before = {pid: (processor_seconds(pid), wake_ups(pid)) for pids in watched.values() for pid in pids}
    requests = proxy.snapshot() if proxy else None
    written = (server.log_entries(), server.changes()) if server else None
    begun = time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - begun
    result = {"seconds": took}
    used = {
        name: (
            sum(processor_seconds(pid) - before[pid][0] for pid in pids),
            sum(wakes_since(pid, before[pid][1]) for pid in pids),
        )
        for name, pids in watched.items()
    }
    if requests is not None:
        counts = {kind: count * 60 / took for kind, count in sorted((proxy.snapshot() - requests).items())}
        result["requests"] = counts
        entries, changes = server.log_entries() - written[0], server.changes()
        result["log_entries"] = entries * 60 / took
        if changes is not None:
            result["changes"] = (changes - written[1]) * 60 / took
        else:
            result["changes"] = sum(counts.get(kind, 0) for kind in zookeeper.WRITES)
    processor, wakes = used.pop(leader.name)
    result["leader_cpu"] = processor / took * 3600
    result["leader_wakes"] = wakes / took
    result["replica_cpu"] = statistics.mean(one[0] for one in used.values()) / took * 3600
    result["replica_wakes"] = statistics.mean(one[1] for one in used.values()) / took
    if leader.guard in before:
        result["guard_cpu"] = (processor_seconds(leader.guard) - before[leader.guard][0]) / took * 3600
    if cluster.leader_name() != leader.name:
        raise RuntimeError(f"{cluster.contestant.name}: the leader changed during the quiet time")
    return result
