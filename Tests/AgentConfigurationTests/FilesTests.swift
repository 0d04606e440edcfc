import AgentConfiguration
import ConfigurationTree
import Glibc
import Testing

@Suite struct FilesTests {
    /// Makes a directory for one test and removes it afterwards.
    private func withDirectory<Result>(_ body: (String) throws -> Result) throws -> Result {
        var template = Array("/tmp/configuration-tests-XXXXXX".utf8CString)
        let path = try #require(mkdtemp(&template).map { String(cString: $0) })
        defer {
            if let directory = opendir(path) {
                while let entry = readdir(directory) {
                    let name = withUnsafeBytes(of: entry.pointee.d_name) { raw in
                        String(decoding: raw.prefix { $0 != 0 }, as: UTF8.self)
                    }
                    if name != ".", name != ".." { unlink("\(path)/\(name)") }
                }
                closedir(directory)
            }
            rmdir(path)
        }
        return try body(path)
    }

    private func write(_ text: String, to path: String) throws {
        let file = try #require(fopen(path, "w"))
        fputs(text, file)
        fclose(file)
    }

    @Test func `a file is read`() throws {
        try withDirectory { directory in
            try write(Samples.minimal, to: "\(directory)/c.yml")
            let loaded = ConfigurationLoader.load(
                path: "\(directory)/c.yml", environment: [:], knownStores: Samples.stores)
            #expect(loaded.complaints.isEmpty)
            #expect(loaded.settings?.tree["name"]?.mark.description == "\(directory)/c.yml:2:7")
        }
    }

    @Test func `a directory's files are merged in the order of their names`() throws {
        try withDirectory { directory in
            try write(Samples.minimal, to: "\(directory)/10-base.yml")
            try write(
                "name: pg9\npostgresql: {listen: 'localhost:1', parameters: {work_mem: 8MB}}\nwatchdog: {mode: off}\n",
                to: "\(directory)/20-over.yaml")
            try write("watchdog:\nzookeeper: null\nembedded: {path: x}\n", to: "\(directory)/30-delete.yml")
            try write("", to: "\(directory)/40-empty.yml")
            try write("name: ignored\n", to: "\(directory)/50.txt")
            let loaded = ConfigurationLoader.load(path: directory, environment: [:], knownStores: Samples.stores)
            #expect(loaded.complaints.map(\.description) == [])
            let settings = try #require(loaded.settings)
            #expect(settings.name == "pg9")
            #expect(settings.postgresql.port == 1)
            #expect(settings.postgresql.dataDirectory == "/srv/pg1")
            #expect(settings.postgresql.parameters["work_mem"] == "8MB")
            #expect(settings.watchdog.mode == .automatic, "deleted")
            #expect(settings.store.name == "embedded")
        }
    }

    @Test func `complaints of all files of a directory come at once`() throws {
        try withDirectory { directory in
            try write("a: b: c\n", to: "\(directory)/1.yml")
            try write("[x]\n", to: "\(directory)/2.yml")
            let loaded = ConfigurationLoader.load(path: directory, environment: [:], knownStores: Samples.stores)
            #expect(
                loaded.complaints.map(\.description) == [
                    "\(directory)/1.yml:1:5: not YAML: a second ': ' on one line; put the value in quotes, or check the "
                        + "indentation",
                    "\(directory)/2.yml:1:1: expected a mapping (name: value), found a list",
                ])
            #expect(loaded.settings == nil)
        }
    }

    @Test func `a directory without YAML is an error`() throws {
        try withDirectory { directory in
            let loaded = ConfigurationLoader.load(path: directory, environment: [:], knownStores: Samples.stores)
            #expect(
                loaded.complaints.map(\.description) == ["\(directory): is a directory without any *.yml or *.yaml"])
        }
    }

    @Test func `the deployment is checked against the host`() throws {
        let settings = try #require(
            Samples.load(
                Samples.minimal(
                    under: "postgresql", "  bin_dir: /pg/bin\n  use_pg_rewind: true\n  custom_conf: /c.conf")
            ).settings)
        let good = DeploymentCheck.Probes(
            bindingFailure: { _ in nil }, majorVersion: { _ in .success(15) }, isExecutable: { _ in true },
            isReadable: { _ in true }, dataDirectory: { _ in .empty })
        #expect(DeploymentCheck.run(settings, probes: good).isEmpty)

        var bad = good
        bad.bindingFailure = { "port \($0.port) is taken" }
        bad.isExecutable = { $0 != "/pg/bin/pg_rewind" }
        bad.dataDirectory = { _ in .cluster(majorVersion: 14) }
        bad.isReadable = { _ in false }
        #expect(
            DeploymentCheck.run(settings, probes: bad).map(\.description) == [
                "c.yml:4:11: restapi.listen: cannot listen on 127.0.0.1:8008: port 8008 is taken",
                "c.yml:8:12: postgresql.bin_dir: cannot find program /pg/bin/pg_rewind; give the directory of "
                    + "PostgreSQL's programs",
                "c.yml:10:16: postgresql.custom_conf: cannot read the file '/c.conf'",
                "c.yml:11:11: postgresql.listen: cannot listen on 127.0.0.1:5433: port 5433 is taken",
                "c.yml:12:13: postgresql.data_dir: holds a cluster of PostgreSQL 14, and /pg/bin/postgres is PostgreSQL 15",
            ])
        bad.majorVersion = { _ in .success(12) }
        bad.dataDirectory = { _ in .foreign }
        let complaints = DeploymentCheck.run(settings, ignoringPorts: true, probes: bad).map(\.description)
        #expect(!complaints.contains { $0.contains("cannot listen") })
        #expect(complaints.contains { $0.hasSuffix("is PostgreSQL 12; supported are 13 to 18") })
        #expect(complaints.contains { $0.hasSuffix("data_dir: is neither empty nor a PostgreSQL data directory") })
    }

    @Test func `the host's own probes answer`() throws {
        let probes = DeploymentCheck.Probes.host
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(listener) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let port = try withUnsafeMutablePointer(to: &address) { pointer in
            try pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                try #require(bind(listener, generic, length) == 0)
                try #require(listen(listener, 1) == 0)
                try #require(getsockname(listener, generic, &length) == 0)
            }
            return Int(UInt16(bigEndian: pointer.pointee.sin_port))
        }
        #expect(probes.bindingFailure(HostPort(host: "127.0.0.1", port: port)) == "Address already in use")
        #expect(probes.bindingFailure(HostPort(host: "*", port: 0)) == nil)
        #expect(probes.isExecutable("sh"))
        #expect(!probes.isExecutable("/nonexistent/postgres"))
        #expect(probes.dataDirectory("/nonexistent/data") == .missing)
        #expect(probes.dataDirectory("/etc") == .foreign)
        try withDirectory { directory in
            #expect(probes.dataDirectory(directory) == .empty)
            try write("#!/bin/sh\necho 'postgres (PostgreSQL) 16.4 (Debian)'\n", to: "\(directory)/postgres")
            chmod("\(directory)/postgres", 0o755)
            #expect(probes.majorVersion("\(directory)/postgres") == .success(16))
            try write("#!/bin/sh\necho nothing\n", to: "\(directory)/other")
            chmod("\(directory)/other", 0o755)
            #expect(probes.majorVersion("\(directory)/other") == .failure(.init("it printed 'nothing'")))
        }
    }
}
