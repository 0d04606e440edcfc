/// The version that members of a cluster show each other: the release of Patroni whose contract is kept.
public let advertisedVersion = "4.1.5"

/// This program's own version.
public let matriarchVersion = "0.1.0"
