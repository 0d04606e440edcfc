public import ConfigurationTree

/// Checks checked settings against the host they are for: ports, programs, the data directory.
///
/// `matriarch validate` runs it after the configuration itself was found good. The probes may block; they are
/// replaceable, so that tests need no host.
public enum DeploymentCheck {
    /// What a data directory is.
    public enum DataDirectory: Sendable, Equatable {
        case missing
        /// Nothing in it but dot-files and `lost+found`.
        case empty
        /// The major version in `PG_VERSION`.
        case cluster(majorVersion: Int)
        /// Something else is in there.
        case foreign
        /// It cannot be looked at; why.
        case unreadable(String)
    }

    /// Questions to the host.
    public struct Probes: Sendable {
        /// Nil when a server could listen there, else why not.
        public var bindingFailure: @Sendable (HostPort) -> String?
        /// The major version of PostgreSQL that a program prints, or why it does not.
        public var majorVersion: @Sendable (_ program: String) -> Result<Int, ProbeFailure>
        /// Whether a path (or a name along `PATH`) can be run.
        public var isExecutable: @Sendable (String) -> Bool
        public var isReadable: @Sendable (String) -> Bool
        public var dataDirectory: @Sendable (String) -> DataDirectory

        public init(
            bindingFailure: @escaping @Sendable (HostPort) -> String?,
            majorVersion: @escaping @Sendable (String) -> Result<Int, ProbeFailure>,
            isExecutable: @escaping @Sendable (String) -> Bool,
            isReadable: @escaping @Sendable (String) -> Bool,
            dataDirectory: @escaping @Sendable (String) -> DataDirectory
        ) {
            self.bindingFailure = bindingFailure
            self.majorVersion = majorVersion
            self.isExecutable = isExecutable
            self.isReadable = isReadable
            self.dataDirectory = dataDirectory
        }
    }

    /// Why a probe has no answer.
    public struct ProbeFailure: Error, Sendable, Equatable {
        public var reason: String

        public init(_ reason: String) {
            self.reason = reason
        }
    }

    /// Oldest and newest major version of PostgreSQL that the agent is made for.
    public static let supportedVersions = 13...18

    /// All that does not fit. `ignoringPorts`: on a host where the agent is running already.
    public static func run(
        _ settings: Settings, ignoringPorts: Bool = false, probes: Probes = .host
    ) -> [ConfigurationComplaint] {
        var complaints: [ConfigurationComplaint] = []
        func complain(_ path: [String], _ message: String) {
            complaints.append(
                ConfigurationComplaint(
                    at: mark(of: path, in: settings.tree), path: path.joined(separator: "."), message))
        }
        let postgresql = settings.postgresql
        if !ignoringPorts {
            if let failure = probes.bindingFailure(settings.restAPI.listen) {
                complain(["restapi", "listen"], "cannot listen on \(settings.restAPI.listen): \(failure)")
            }
            for address in postgresql.listenAddresses {
                let place = HostPort(host: address, port: postgresql.port)
                if let failure = probes.bindingFailure(place) {
                    complain(["postgresql", "listen"], "cannot listen on \(place): \(failure)")
                }
            }
        }
        let binaries = ["postgresql", "bin_dir"]
        var needed: [PostgresProgram] = [.postgres, .pgControldata, .pgBasebackup]
        if settings.bootstrap?.method == "initdb" { needed.append(.initdb) }
        if postgresql.usesPgRewind { needed.append(.pgRewind) }
        for program in needed where !probes.isExecutable(postgresql.executable(program)) {
            complain(
                binaries,
                "cannot find program \(postgresql.executable(program)); give the directory of PostgreSQL's programs")
        }
        var version: Int?
        let server = postgresql.executable(.postgres)
        if probes.isExecutable(server) {
            switch probes.majorVersion(server) {
            case .success(let major):
                version = major
                if !supportedVersions.contains(major) {
                    complain(
                        binaries,
                        "\(server) is PostgreSQL \(major); supported are "
                            + "\(supportedVersions.lowerBound) to \(supportedVersions.upperBound)")
                }
            case .failure(let failure):
                complain(binaries, "\(server) does not tell its version: \(failure.reason)")
            }
        }
        let directory = ["postgresql", "data_dir"]
        switch probes.dataDirectory(postgresql.dataDirectory) {
        case .missing, .empty:
            break
        case .cluster(let major):
            if let version, version != major {
                complain(directory, "holds a cluster of PostgreSQL \(major), and \(server) is PostgreSQL \(version)")
            }
        case .foreign:
            complain(directory, "is neither empty nor a PostgreSQL data directory")
        case .unreadable(let reason):
            complain(directory, "cannot be read: \(reason)")
        }
        let files: [([String], String?)] = [
            (["restapi", "certfile"], settings.restAPI.certificateFile),
            (["restapi", "keyfile"], settings.restAPI.keyFile),
            (["restapi", "cafile"], settings.restAPI.caFile),
            (["ctl", "certfile"], settings.control.certificateFile),
            (["ctl", "keyfile"], settings.control.keyFile),
            (["postgresql", "custom_conf"], postgresql.customConf.flatMap { $0.hasPrefix("/") ? $0 : nil }),
        ]
        for (path, file) in files {
            if let file, !probes.isReadable(file) { complain(path, "cannot read the file '\(file)'") }
        }
        return complaints.inReadingOrder()
    }

    /// Where a key stands, or the nearest section above it that is there.
    private static func mark(of path: [String], in tree: ConfigurationNode) -> SourceMark {
        var node = tree
        for key in path {
            guard let next = node[key] else { break }
            node = next
        }
        return node.mark
    }
}
