import ClusterModel
import Glibc
import PluginInterfaces

/// A data directory on disk: what is in it, and moving it aside. Nothing here ever deletes data.
public struct DataDirectory: Hashable, Sendable {
    public enum State: Hashable, Sendable {
        case absent
        /// Nothing in it but dot-files and `lost+found`.
        case empty
        /// A cluster of this major version.
        case initialized(majorVersion: Int)
        /// Something else: told in words. Never touched.
        case foreign(String)
    }

    public var path: String

    public init(_ path: String) {
        self.path = path.count > 1 && path.hasSuffix("/") ? String(path.dropLast()) : path
    }

    /// What is in the directory.
    public func state() throws(PostgresError) -> State {
        guard let facts = Files.facts(path) else { return .absent }
        guard facts.isDirectory else { return .foreign("it is no directory") }
        guard let names = try Files.list(path) else { return .absent }
        let counted = names.filter { !$0.hasPrefix(".") && $0 != "lost+found" }
        let hasControl = Files.exists(path + "/global/pg_control")
        if counted.isEmpty { return .empty }
        guard let text = try Files.readText(path + "/PG_VERSION") else {
            return .foreign("it has \(counted.count) entries, among them \(counted[0]), but no PG_VERSION")
        }
        guard let version = Int(text.trimmed), version >= 10 else {
            return .foreign("PG_VERSION says '\(text.trimmed)'")
        }
        guard hasControl else { return .foreign("it has PG_VERSION but no global/pg_control: a torn copy") }
        return .initialized(majorVersion: version)
    }

    /// Makes sure that the directory exists with mode 0700 and that its owner is ours.
    public func prepare() throws(PostgresError) {
        try Files.makeDirectory(path, mode: 0o700)
    }

    /// Gives the directory the mode 0700 unless it already is 0700 or 0750, the two that PostgreSQL accepts.
    public func repairMode() throws(PostgresError) {
        guard let facts = Files.facts(path), facts.mode != 0o700, facts.mode != 0o750 else { return }
        guard chmod(path, 0o700) == 0 else { throw Files.failure("set the mode of", path) }
    }

    /// Where a fresh clone is built: beside the data, on the same file system.
    public var clonePath: String { path + ".clone" }

    /// What an earlier directory would be called when it is moved aside.
    public func asidePath(_ label: String, seconds: Int64) -> String { "\(path).\(label)-\(seconds)" }

    /// Moves the directory aside, whole (blocks on the disk: not for the cooperative pool): `<path>.<label>-<seconds>`. Returns the new path.
    ///
    /// A directory that is a mount point cannot be renamed; then its entries are moved into a directory made inside
    /// of the mount, with a name beginning with a dot, so that the directory counts as empty. `pg_wal` and tablespaces
    /// that are links stay links: their targets are moved along to a name of the same ending, so that a new cluster
    /// can take the old places.
    @discardableResult
    public func moveAside(_ label: String) throws(PostgresError) -> String {
        let seconds = SystemClock.wallTime().seconds
        var target = asidePath(label, seconds: seconds)
        var attempt = 0
        while Files.exists(target) {
            attempt += 1
            target = asidePath(label, seconds: seconds) + ".\(attempt)"
        }
        let ending = String(target.dropFirst(path.count))
        let links = try outsideLinks()
        if rename(path, target) != 0 {
            let code = errno
            guard code == EBUSY || code == EXDEV || code == EACCES else {
                throw PostgresError(.file, "cannot rename \(path) to \(target): \(String(cString: strerror(code)))")
            }
            target = path + "/" + ending
            try Files.makeDirectory(target, mode: 0o700)
            for name in try Files.list(path) ?? [] where !name.hasPrefix(".") && name != "lost+found" {
                try Files.move(path + "/" + name, to: target + "/" + name)
            }
        } else {
            try Files.syncDirectory(Files.parent(path))
        }
        for link in links {
            // The moved directory's links follow their targets' new names.
            let moved = link.target + ending
            guard Files.exists(link.target), !Files.exists(moved) else { continue }
            try Files.move(link.target, to: moved)
            let place = target + "/" + link.relative
            try Files.remove(place)
            guard symlink(moved, place) == 0 else { throw Files.failure("link", place) }
            try Files.syncDirectory(Files.parent(place))
        }
        return target
    }

    /// Puts a finished clone into place (blocks on the disk: not for the cooperative pool): the old directory is moved aside first, if there is one; returns where to.
    ///
    /// The old one comes back when the second step fails.
    @discardableResult
    public func swapIn(clone: String, label: String) throws(PostgresError) -> String? {
        guard case .initialized = try DataDirectory(clone).state() else {
            throw PostgresError(.refused, "\(clone) is no finished data directory and is not put into place")
        }
        try DataDirectory(clone).repairMode()
        var aside: String?
        switch try state() {
        case .absent: break
        case .empty:
            if rmdir(path) != 0 {
                // Dot-files or a mount point: the clone's entries move in one by one.
                for name in try Files.list(clone) ?? [] { try Files.move(clone + "/" + name, to: path + "/" + name) }
                rmdir(clone)
                return nil
            }
        default: aside = try moveAside(label)
        }
        if Files.exists(path) {
            for name in try Files.list(clone) ?? [] { try Files.move(clone + "/" + name, to: path + "/" + name) }
            rmdir(clone)
            return aside
        }
        do throws(PostgresError) {
            try Files.move(clone, to: path)
        } catch {
            if let aside { try Files.move(aside, to: path) }
            throw error
        }
        return aside
    }

    /// A link that leads out of the directory.
    public struct OutsideLink: Hashable, Sendable {
        /// `pg_wal` or `pg_tblspc/<number>`.
        public var relative: String
        public var target: String

        public init(relative: String, target: String) {
            self.relative = relative
            self.target = target
        }
    }

    /// Links that lead out of the directory: `pg_wal` and tablespaces.
    ///
    /// Where there are any, a clone cannot be built beside the old data, because its tablespaces would want the same
    /// places: move the old data aside first, which keeps it as well.
    public func outsideLinks() throws(PostgresError) -> [OutsideLink] {
        var found: [OutsideLink] = []
        var places = ["pg_wal"]
        for name in try Files.list(path + "/pg_tblspc") ?? [] { places.append("pg_tblspc/" + name) }
        for place in places {
            guard let target = Files.linkTarget(path + "/" + place), target.hasPrefix("/"),
                !target.hasPrefix(path + "/"), Files.facts(target)?.isDirectory == true
            else { continue }
            found.append(OutsideLink(relative: place, target: target))
        }
        return found
    }

    /// Why a server of the given version cannot run on this directory; nil when it can.
    public func obstacle(toServerOf majorVersion: Int) throws(PostgresError) -> String? {
        switch try state() {
        case .initialized(let version) where version == majorVersion: nil
        case .initialized(let version):
            "\(path) was made by PostgreSQL \(version), but the installed server is \(majorVersion)"
        case .absent: "\(path) is not there"
        case .empty: "\(path) is empty"
        case .foreign(let why): "\(path) is no data directory: \(why)"
        }
    }

    /// The major version of a program's or server's version text: `postgres (PostgreSQL) 15.20 (Debian ...)`.
    public static func majorVersion(fromVersionText text: String) -> Int? {
        for word in text.split(whereSeparator: { $0 == " " || $0 == "\n" }) {
            let digits = word.prefix { $0.isASCII && $0.isNumber }
            if !digits.isEmpty, let version = Int(digits), version >= 9, version < 100 { return version }
        }
        return nil
    }
}
