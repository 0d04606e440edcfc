"""Builds the machine with switchable faults and measures how soon the simulator finds each."""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

from mutations import MUTATIONS

ROOT = pathlib.Path(__file__).resolve().parents[2]
COPY = ROOT / ".build" / "mutations"
MODULES = ["ClusterModel", "HighAvailability", "Simulation", "matriarch-simulate"]

SWITCH = """import Glibc

/// The number of the fault that is switched on in this copy; 0: none.
package let plantedMutation: Int = getenv("MATRIARCH_PLANTED").flatMap { Int(String(cString: $0)) } ?? 0

package func planted(_ number: Int) -> Bool { plantedMutation == number }
"""

PACKAGE = """// swift-tools-version: 6.2
import PackageDescription

let strict: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"), .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
]
let package = Package(
    name: "mutations",
    dependencies: [.package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0")],
    targets: [
        .target(name: "ClusterModel", swiftSettings: strict),
        .target(name: "HighAvailability", dependencies: ["ClusterModel"], swiftSettings: strict),
        .target(name: "Simulation", dependencies: ["ClusterModel", "HighAvailability"], swiftSettings: strict),
        .executableTarget(
            name: "matriarch-simulate",
            dependencies: ["Simulation", .product(name: "ArgumentParser", package: "swift-argument-parser")],
            swiftSettings: strict),
    ],
    swiftLanguageModes: [.v6]
)
"""


def fail(text, *more):
    print(f"error: {text}", *more, sep="\n       ", file=sys.stderr)
    sys.exit(2)


def write(path, text):
    """Only when it differs: an unchanged file is not compiled again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def prepare():
    sources = {}
    for module in MODULES:
        for file in sorted((ROOT / "Sources" / module).rglob("*.swift")):
            sources[file.relative_to(ROOT)] = file.read_text()
    for number, (name, path, find, replace, _) in enumerate(MUTATIONS, 1):
        key = pathlib.Path("Sources") / path if isinstance(path, str) else None
        edits = [(key, find, replace)] if isinstance(find, str) else [
            (pathlib.Path("Sources") / place, old, new) for place, old, new in zip(path, find, replace)]
        for key, old, new in edits:
            text = sources.get(key, "")
            if text.count(old) != 1:
                fail(
                    f"{name}: its place stands {text.count(old)} times in {key}",
                    "Tests/Mutations/mutations.py has to follow the source.")
            sources[key] = text.replace(old, new.replace("@", f"planted({number})"))
    sources[pathlib.Path("Sources/ClusterModel/Planted.swift")] = SWITCH
    kept = {COPY / path for path in sources}
    for old in (COPY / "Sources").rglob("*.swift") if (COPY / "Sources").exists() else []:
        if old not in kept:
            old.unlink()
    for path, text in sources.items():
        write(COPY / path, text)
    write(COPY / "Package.swift", PACKAGE)


def build():
    command = ["swift", "build", "-c", "release", "--product", "matriarch-simulate"]
    done = subprocess.run(command, cwd=COPY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        fail("the copy does not build", *[line for line in done.stdout.splitlines() if "error" in line][:8])
    return COPY / ".build" / "release" / "matriarch-simulate"


def run(program, number, seeds, jobs):
    command = [program, "--count", str(seeds), "--failures", "1", "--quiet", "--no-minimize", "--jobs", str(jobs)]
    began = time.monotonic()
    done = subprocess.run(
        command, env={**os.environ, "MATRIARCH_PLANTED": str(number)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True)
    took = time.monotonic() - began
    runs = re.match(r"(\d+) runs", done.stdout)
    broken = re.search(r"^seed \d+: (.*)$", done.stdout, re.M)
    if done.returncode not in (0, 1) and not runs:
        # The machine ended with a trap: found, in its way.
        return True, None, "the machine trapped", took
    return done.returncode == 1, int(runs.group(1)) if runs else None, broken.group(1) if broken else "", took


def main():
    parser = argparse.ArgumentParser(prog="Tests/Mutations/run.sh", description=__doc__)
    parser.add_argument("--seeds", type=int, default=12000, help="seeds for each fault at most")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these faults alone")
    parser.add_argument("--list", action="store_true", help="list the faults and end")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    chosen = [
        (number, mutation) for number, mutation in enumerate(MUTATIONS, 1)
        if not options.only or mutation[0] in options.only
    ]
    if options.list:
        for number, mutation in chosen:
            print(f"{number:3} {mutation[0]:32} {mutation[4]}")
        return 0
    if not chosen:
        fail("no such fault", "See --list.")
    print(f"building a copy with {len(MUTATIONS)} faults that can be switched on", flush=True)
    prepare()
    program = build()
    found, runs, why, took = run(program, 0, min(options.seeds, 1000), options.jobs)
    if found:
        fail(f"the copy without any fault breaks a promise: {why}")
    caught = 0
    total = 0
    for number, (name, _, _, _, meaning) in chosen:
        found, runs, why, took = run(program, number, options.seeds, options.jobs)
        caught += found
        total += runs or 0
        verdict = f"found in {runs if runs is not None else '?'} seeds" if found else f"NOT FOUND in {runs} seeds"
        print(f"{number:3} {name:32} {verdict:24} {took:5.1f} s  {why[:90]}", flush=True)
    print(f"{caught} of {len(chosen)} planted faults found, in {total} seeds")
    return 0 if caught == len(chosen) else 1


sys.exit(main())
