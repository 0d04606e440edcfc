extension FuzzTarget {
    /// Every target, in the order of `--list`.
    public static let all: [FuzzTarget] = [
        json, yamlText, cluster, machine, yaml, settings, environment, dynamic, values, controlFile, postgresText,
        quoting, peer, rest, programs, zooKeeper, etcd, consul, embedded, time, stateFiles, guardPacket,
    ]
}
