import AgentConfiguration
import ClusterModel
import ConfigurationTree
import PluginInterfaces

/// What `matriarch doctor` judges: everything that it had to look at, gathered first.
struct DoctorFacts: Sendable {
    /// All that is wrong with the configuration.
    var complaints: [ConfigurationComplaint]
    /// Nil when the configuration cannot be used.
    var settings: Settings?
    var host: HostFacts?
    var store: StoreFacts?
}

/// What the host is like, for one agent.
struct HostFacts: Hashable, Sendable {
    /// A file or a directory, as far as it matters who may do what with it.
    struct Place: Hashable, Sendable {
        enum Kind: Hashable, Sendable { case missing, file, directory, other }

        var kind = Kind.missing
        var owner: UInt32 = 0
        /// The nine bits, and nothing else of the mode.
        var mode: UInt32 = 0
        /// Of which file system it is.
        var device: UInt64 = 0
        /// Whether this process may write there.
        var isWritable = false
    }

    /// The guard, tried in a directory of its own.
    enum GuardTrial: Hashable, Sendable {
        /// It ran; what it would like to have and may not.
        case ran(lacking: [String])
        case failed(String)
    }

    /// The account that asks.
    var account: UInt32 = 0
    /// Complaints of the check that `validate --host` makes as well, ports left out.
    var deployment: [ConfigurationComplaint] = []
    /// The server's program and the major version that it tells.
    var server = "postgres"
    var serverVersion: Int?
    var places: [String: Place] = [:]
    /// Those of the configuration's files that hold passwords or tokens.
    var configurationFiles: [String] = []
    /// Private keys and password files that the configuration names.
    var secretFiles: [String] = []
    var fencing: GuardTrial = .failed("not tried")
    /// Whether an agent has the state directory.
    var isAgentRunning = false
    /// Whether a postmaster has the data directory.
    var isServerRunning = false
    /// Why nobody can listen there; nil when somebody could.
    var apiPortFailure: String?
    var serverPortFailures: [String: String] = [:]
    var hasWatchdog = false
    var clockSource: String?
    /// Nil when the kernel does not say.
    var isClockSynchronized: Bool?
}

/// What the store is like, seen from the host.
struct StoreFacts: Hashable, Sendable {
    struct Lease: Hashable, Sendable {
        var asked: Duration
        var granted: Duration
        var wishedInterval: Duration
        var intervalsBehind: Int
    }

    var section: String
    /// Why it could not be read; nil when it could.
    var error: String?
    /// How long the read took.
    var took: Duration = .zero
    var keys = 0
    var leader: String?
    var findings: [StoreFinding] = []
    /// Where the lease's length comes from.
    var timingSource = "the defaults"
    var timingComplaints: [String] = []
    var lease: Lease?
    var sessionError: String?
}
