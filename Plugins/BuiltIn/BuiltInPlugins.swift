import BaseBackupReplica
import EmbeddedStore
import InitDBBootstrap
public import PluginInterfaces
import ScriptHooks

#if Consul
    import ConsulStore
#endif
#if Etcd
    import EtcdStore
#endif
#if ZooKeeper
    import ZooKeeperStore
#endif

/// The plugins that come with Matriarch.
public struct BuiltInPlugins {
    /// Adds them to a registry; others are added before or after, the last one of a name counts.
    public static func register(in registry: inout PluginRegistry) {
        #if ZooKeeper
            registry.register(ZooKeeperStoreFactory())
        #endif
        #if Etcd
            registry.register(EtcdStoreFactory())
        #endif
        #if Consul
            registry.register(ConsulStoreFactory())
        #endif
        registry.register(EmbeddedStoreFactory())
        registry.register(InitDBBootstrapFactory())
        registry.register(BaseBackupReplicaFactory())
        registry.register(ScriptCommandFactory())
        registry.register(ScriptCallbackFactory())
    }
}
