import ClusterHarness
import Glibc

/// Ctrl-C and its like: what was started is ended and removed before this process ends.
enum Interruption {
    /// Takes SIGINT, SIGTERM and SIGHUP from now on; called before other threads are started.
    static func watch() {
        var signals = sigset_t()
        sigemptyset(&signals)
        for number in [SIGINT, SIGTERM, SIGHUP] {
            sigaddset(&signals, number)
            // A shell starts what runs in the background with SIGINT ignored, and nobody waits for what is ignored.
            signal(number, SIG_DFL)
        }
        pthread_sigmask(SIG_BLOCK, &signals, nil)
        var thread = pthread_t()
        let code = pthread_create(
            &thread, nil,
            { _ in
                var signals = sigset_t()
                sigemptyset(&signals)
                for signal in [SIGINT, SIGTERM, SIGHUP] { sigaddset(&signals, signal) }
                var signal: Int32 = 0
                while sigwait(&signals, &signal) != 0 {}
                tell("Interrupted: ending what was started")
                Leftovers.cleanAll()
                _exit(128 + signal)
            }, nil)
        if code == 0 { pthread_detach(thread) }
    }
}
