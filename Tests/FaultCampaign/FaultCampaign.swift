import ArgumentParser
import ClusterHarness
import ClusterModel
import Glibc

/// `fault-campaign`: real faults on real clusters, and a report of what the clients saw. `Tests/run.sh faults` prepares
/// what it needs and starts it.
@main
struct FaultCampaign: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "fault-campaign",
        abstract: "Does real faults to real clusters of three and reports what their clients saw.",
        discussion: "Started by `Tests/run.sh faults`, which prepares programs, account and directories.")

    @Flag(help: "Every fault of the catalogue, instead of the short list.")
    var full = false

    @Option(name: .customLong("fault"), help: "This fault; may be repeated, and end in * for all that begin so.")
    var names: [String] = []

    @Flag(help: "Print the catalogue and end.")
    var list = false

    @Option(help: "How often each fault is done.")
    var rounds = 1

    @Option(help: "zooKeeper, etcd, consul or embedded; may be repeated. Default: zooKeeper, with --full each.")
    var store: [String] = []

    @Option(help: "The lease's length in seconds.")
    var ttl = 4

    @Option(help: "The report's directory.")
    var report = "fault-report"

    @Flag(help: "Do without network namespaces even where the machine allows them.")
    var loopback = false

    func run() async throws {
        let faults = names.isEmpty ? (full ? Catalogue.all : Catalogue.short) : try Catalogue.named(names)
        if list {
            for fault in names.isEmpty ? Catalogue.all : faults {
                print("\(fault.isShort ? "*" : " ") \(fault.name): \(fault.title)")
            }
            print("* in the short list")
            return
        }
        let stores = try self.stores()
        Interruption.watch()
        var missing: [Fault.Need: String] = [:]
        if loopback {
            missing[.networks] = "--loopback was given"
        } else if let obstacle = await Network.obstacle() {
            missing[.networks] = obstacle
        }
        if let obstacle = SmallDisk.obstacle() { missing[.disks] = obstacle }
        for (need, why) in missing { tell("Not available here, its faults are left out: \(need.rawValue) (\(why))") }

        let hasNetwork = missing[.networks] == nil
        let directory = report.hasPrefix("/") ? report : currentDirectory() + "/" + report
        let environment = describe(stores, networks: hasNetwork)
        let (ttl, rounds, reasons) = (ttl, rounds, missing)
        let (failed, line) = try await onThread {
            let report = try Report(directory: directory, environment: environment)
            for store in stores {
                let campaign = Campaign(store: store, ttl: ttl, hasNetwork: hasNetwork, report: report)
                try campaign.run(faults, rounds: rounds, missing: reasons)
            }
            return (report.failed, report.closingLine)
        }
        tell(line)
        tell("Report: \(directory)/report.html")
        if failed > 0 { throw ExitCode(1) }
    }

    private func stores() throws -> [StoreKind] {
        if store.isEmpty { return full ? StoreKind.allCases.reversed() : [.zooKeeper] }
        return try store.map { name in
            guard let kind = StoreKind(rawValue: name) else {
                throw ValidationError(
                    "no such store: \(name); one of \(StoreKind.allCases.map(\.rawValue).joined(separator: ", "))")
            }
            return kind
        }
    }

    private func describe(_ stores: [StoreKind], networks: Bool) -> [(String, String)] {
        [
            ("stores", stores.map(\.rawValue).joined(separator: ", ")), ("lease", "\(ttl) s"),
            (
                "network",
                networks
                    ? "a namespace for each member and server, clients in another"
                    : "loopback, cuts from the store only"
            ), ("processors", "\(sysconf(Int32(_SC_NPROCESSORS_ONLN)))"),
            ("begun", wallNow().iso8601(fractionDigits: 0)),
        ]
    }

    private func currentDirectory() -> String { linkTarget("/proc/self/cwd") ?? "." }
}
