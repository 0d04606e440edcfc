#!/usr/bin/env python3
"""Measures Matriarch beside the current Patroni; Tests/Benchmarks/run.sh calls it. See README.md."""

import argparse
import collections
import contextlib
import json
import os
import shutil
import signal
import sys
import time

import httpstores
import report
import scenarios
import zookeeper
from clusters import Cluster, Contestant, free_ports, processes_of, send
from scenarios import FAULTS
from writers import Writers

SIZES = {
    "memory": "private memory of agent and guard",
    "start": "an agent's start to its first HTTP answer",
    "idle": "processor time and store requests when nothing happens",
}

# Short leases are what Matriarch is for; its costs are shown at Patroni's defaults as well. Patroni at its defaults, and
# at the least that it accepts.
MATRIARCH = Contestant("Matriarch, ttl 3", "matriarch", 3, 1, 1)
MATRIARCH_SLOW = Contestant("Matriarch, ttl 30", "matriarch", 30, 10, 10)
PATRONI = Contestant("Patroni, ttl 30", "patroni", 30, 10, 10)
PATRONI_LEAST = Contestant("Patroni, ttl 20", "patroni", 20, 1, 3)


def arguments():
    listed = "\n".join(
        [f"  {one.name:<12}{one.title}" for one in FAULTS.values()] + [f"  {name:<12}{what}" for name, what in SIZES.items()])
    parser = argparse.ArgumentParser(
        prog="Tests/Benchmarks/run.sh", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measures Matriarch beside the current Patroni on this machine: three members each, a client for each "
        "member\nthat inserts every 5 ms, the same store, PostgreSQL and settings, in turn.",
        epilog="scenarios:\n" + listed)
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="rounds of each fault (default 3)")
    parser.add_argument("--only", action="append", metavar="NAME", choices=[*FAULTS, *SIZES],
                        help="this scenario alone; may be repeated")
    parser.add_argument("--no-patroni", action="store_true", help="Matriarch alone")
    parser.add_argument("--no-least", action="store_true", help="leave out Patroni at its shortest settings (ttl 20)")
    parser.add_argument("--equal", action="store_true",
                        help="costs at the same settings only: leave out Matriarch at its short lease")
    parser.add_argument("--store", choices=["zookeeper", "etcd", "consul", "embedded"],
                        default="zookeeper", help="Patroni has no embedded one: then it is left out")
    parser.add_argument("--ttl", type=int, default=3, metavar="S", help="Matriarch's ttl (default 3)")
    parser.add_argument("--tick", type=int, default=500, metavar="MS", help="ZooKeeper's tickTime (default 500)")
    parser.add_argument("--idle-seconds", type=int, default=120, metavar="S", help="length of the quiet time (default 120)")
    parser.add_argument("--settle-seconds", type=int, default=90, metavar="S",
                        help="time left to the cluster before the quiet time is measured (default 90)")
    parser.add_argument("--trace", action="store_true", help="show what Matriarch's agents decided, and when")
    parser.add_argument("--json", action="store_true", help="all figures as JSON on standard output, no table")
    parser.add_argument("--keep", metavar="DIR", help="copy logs and configurations there at the end")
    for hidden in ("--bin", "--postgres", "--work"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    return parser.parse_args()


class Tools:
    def __init__(self, options):
        self.bin, self.postgres = options.bin, options.postgres
        self.patroni = os.path.join(os.path.dirname(sys.executable), "patroni")


class Benchmark:
    def __init__(self, options):
        self.options = options
        self.tools = Tools(options)
        self.wanted = options.only or [*FAULTS, *SIZES]
        MATRIARCH.ttl, MATRIARCH.name = options.ttl, f"Matriarch, ttl {options.ttl}"
        # Who meets the faults, and whose costs are measured.
        self.contestants = [MATRIARCH]
        self.idlers = [MATRIARCH_SLOW] if options.equal else [MATRIARCH, MATRIARCH_SLOW]
        if not options.no_patroni and options.store != "embedded":
            self.contestants += [PATRONI] + ([] if options.no_least else [PATRONI_LEAST])
            self.idlers += [PATRONI]
        # scenario -> contestant -> results of the rounds
        self.results = collections.defaultdict(lambda: collections.defaultdict(list))
        self.bare = []
        self.failures = []
        self.server, self.front, self.proxy = None, None, None
        self.count = 0

    def say(self, text):
        print(text, file=sys.stderr, flush=True)

    # ------------------------------------------------------------------------------------------------------- clusters

    @contextlib.contextmanager
    def cluster(self, contestant, port=None):
        """A cluster in place, in an emptied part of the store."""
        self.count += 1
        directory = f"{self.options.work}/{self.count}"
        name = f"bench{self.count}"
        if self.options.store == "embedded":
            store = f"embedded:\n  path: {directory}/cluster.db"
        else:
            store = self.server.section(port or self.server.port)
        cluster = Cluster(self.tools, contestant, directory, f"namespace: /{name}/\n{store}")
        cluster.leader_path = f"/{name}/bench/leader"
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()
            self.save(directory)
            for member in cluster.members.values():
                shutil.rmtree(member.data, ignore_errors=True)

    def save(self, directory):
        if not self.options.keep:
            return
        target = f"{self.options.work}/kept/{os.path.basename(directory)}"
        for place, _, files in os.walk(directory):
            for name in files:
                if name.endswith(".log"):
                    os.makedirs(target, exist_ok=True)
                    label = os.path.relpath(place, directory).replace("/", "-")
                    shutil.copy(f"{place}/{name}", f"{target}/{label}-{name}")

    def attempt(self, what, action):
        """One measurement; a failed one is told and counted, the others go on."""
        try:
            return action()
        except Exception as error:
            self.failures.append(f"{what}: {error}")
            self.say(f"  failed: {what}: {error}")
            return None

    def faults(self, contestant, number):
        names = [name for name in FAULTS if name in self.wanted]
        done = []

        def round():
            with self.cluster(contestant) as cluster:
                leader = cluster.wait_until_whole()
                cluster.sql(leader, "create table if not exists benchmark (member text, number bigint)")
                writers = Writers(
                    cluster.directory, {one.name: one.port for one in cluster.members.values()}, cluster.password)
                writers.start()
                watcher = None
                if self.options.store == "zookeeper":
                    watcher = zookeeper.Watcher(self.server.port, cluster.leader_path)
                try:
                    for name in names:
                        result = scenarios.run_fault(FAULTS[name], cluster, writers, watcher)
                        done.append(name)
                        self.results[name][contestant.name].append(result)
                        self.tell(number, contestant, name, result)
                finally:
                    writers.stop()
                    if watcher:
                        watcher.close()
            return True

        self.attempt(f"{contestant.name}, round {number}", round)

    def tell(self, number, contestant, name, result):
        text = f"  round {number}, {contestant.name}, {name}: {result['gap']:.0f} ms without writes"
        if "after_expiry" in result:
            text += f"; the store expired after {result['expiry']:.0f} ms, a write {result['after_expiry']:.0f} ms later"
        self.say(text)
        if self.options.trace:
            for at, member, rule, what, facts in result.get("decisions", []):
                self.say(f"    {at:+7d} ms  {member}  {what} [{rule}] {json.dumps(facts) if facts else ''}")

    def sizes(self, contestant):
        """Memory, starts and a quiet time, on a cluster that nobody writes to."""
        proxy = self.proxy

        def measure():
            with self.cluster(contestant, proxy.port if proxy else None) as cluster:
                if "idle" in self.wanted:
                    self.results["idle"][contestant.name].append(
                        scenarios.idle(
                            cluster, proxy, self.server, self.options.idle_seconds, self.options.settle_seconds))
                if "memory" in self.wanted:
                    self.results["memory"][contestant.name].append(scenarios.memory(cluster))
                if "start" in self.wanted:
                    for _ in range(max(3, self.options.rounds)):
                        self.results["start"][contestant.name].append(scenarios.first_answer(cluster))

        self.attempt(f"{contestant.name}, sizes", measure)

    # ------------------------------------------------------------------------------------------------------------ run

    def run(self):
        self.server = self.make_server()
        if self.server:
            self.say(f"Starting {self.server.title}")
            self.server.start()
            counting = zookeeper if self.options.store == "zookeeper" else httpstores
            self.proxy = counting.CountingProxy(self.front, self.server.port)
        try:
            if "crash" in self.wanted:
                self.say("Bare crash recovery")
                bare = self.attempt("bare crash recovery", lambda: scenarios.bare_crash(
                    self.tools, self.options.work + "/bare", max(3, self.options.rounds)))
                self.bare = bare or []
            if any(name in FAULTS for name in self.wanted):
                for number in range(1, self.options.rounds + 1):
                    self.say(f"Faults, round {number} of {self.options.rounds}")
                    for contestant in self.contestants:
                        self.faults(contestant, number)
            if any(name in SIZES for name in self.wanted):
                for contestant in self.idlers:
                    self.say(f"Size and leisure: {contestant.name}")
                    self.sizes(contestant)
        finally:
            if self.server:
                self.server.stop()

    def make_server(self):
        if self.options.store == "embedded":
            return None
        directory = f"{self.options.work}/{self.options.store}"
        port, self.front = free_ports(2)
        if self.options.store == "zookeeper":
            return zookeeper.Server(directory, port, self.options.tick)
        if self.options.store == "etcd":
            # It sends its clients to the front.
            return httpstores.Etcd(directory, port, *free_ports(1), self.front)
        return httpstores.Consul(directory, port, *free_ports(2))

    # --------------------------------------------------------------------------------------------------------- report

    def column(self, scenario, pick):
        return {
            name: [value for value in map(pick, results) if value is not None]
            for name, results in self.results[scenario].items()
        }

    def tables(self):
        faults = report.Table(self.contestants, "milliseconds without an acknowledged write: median (least-most)")
        for name, fault in FAULTS.items():
            if name == "crash" and self.bare:
                faults.note("bare crash recovery, no agent", report.milliseconds(self.bare))
            faults.add(fault.title, self.column(name, lambda one: one["gap"]), report.milliseconds)
        faults.add("  of it after the store's expiry", self.column("host", lambda one: one.get("after_expiry")),
                   report.milliseconds)

        sizes = report.Table(self.idlers, "size and leisure: an agent with its guard, nobody writes")
        mib = lambda values: report.plain(values, "MiB")
        sizes.add("private memory, leader", self.column("memory", lambda one: one["leader"]), mib)
        sizes.add("private memory, replica", self.column("memory", lambda one: one["replica"]), mib)
        sizes.add("start to first HTTP answer", self.column("start", lambda one: one), report.milliseconds)
        seconds = lambda values: report.plain(values, "s", 2)
        sizes.add("processor time an hour, leader", self.column("idle", lambda one: one["leader_cpu"]), seconds)
        sizes.add("processor time an hour, replica", self.column("idle", lambda one: one["replica_cpu"]), seconds)
        wakes = lambda values: report.plain(values, "/s")
        sizes.add("wake-ups, leader", self.column("idle", lambda one: one["leader_wakes"]), wakes)
        sizes.add("wake-ups, replica", self.column("idle", lambda one: one["replica_wakes"]), wakes)
        minute = lambda values: report.plain(values, "/min")
        kinds = sorted({
            kind for results in self.results["idle"].values() for one in results for kind in one.get("requests", {})})
        sizes.add("store requests, all three", self.column("idle", lambda one: sum(
            one["requests"].values()) if "requests" in one else None), minute)
        for kind in kinds:
            sizes.add(f"  {kind}", self.column("idle", lambda one: one.get("requests", {}).get(kind)), minute)
        sizes.add("entries in the store's log", self.column("idle", lambda one: one.get("log_entries")), minute)
        sizes.add("  that change data", self.column("idle", lambda one: one.get("changes")), minute)
        return [table for table in (faults, sizes) if table.rows]

    def document(self):
        return {
            "machine": {"processors": os.cpu_count(), "load": os.getloadavg(), "kernel": os.uname().release},
            "contestants": [vars(one) for one in [*self.idlers, PATRONI_LEAST]],
            "store": self.options.store, "tick_ms": self.options.tick, "bare_crash_ms": self.bare,
            "results": self.results, "failures": self.failures,
        }


def main():
    options = arguments()
    if not options.work:
        sys.exit("Tests/Benchmarks/run.sh is the command")

    def interrupted(number, frame):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupted)
    benchmark = Benchmark(options)
    load = os.getloadavg()[0]
    if load > os.cpu_count() / 2:
        benchmark.say(f"note: this machine is busy (load {load:.1f} on {os.cpu_count()} processors): times will be long")
    status = 0
    try:
        benchmark.run()
    except KeyboardInterrupt:
        benchmark.say("interrupted")
        status = 1
    finally:
        # Nothing of ours stays, however it ended.
        for _ in range(50):
            left = processes_of(options.work)
            for pid in left:
                send(pid, signal.SIGKILL)
            if not left:
                break
            time.sleep(0.1)
    if options.json:
        print(json.dumps(benchmark.document(), indent=1))
    else:
        for table in benchmark.tables():
            print(f"\n{table}")
        for failure in benchmark.failures:
            print(f"failed: {failure}")
    if benchmark.failures:
        status = 1
    sys.exit(status)


if __name__ == "__main__":
    main()
