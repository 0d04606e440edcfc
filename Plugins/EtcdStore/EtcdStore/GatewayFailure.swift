#if Etcd
    import ClusterModel
    import PluginInterfaces

    /// What a server said when it did not do what was asked.
    struct Refusal: Hashable, Sendable {
        enum Kind: Hashable, Sendable {
            /// The token is unknown, expired or older than the users' last change, or there was none: log in (again).
            case tokenRefused
            /// The user may not do that, or the password is wrong.
            case notAuthorized
            /// The gateway of a cluster with users takes no client certificates that name somebody.
            case certificateNamed
            /// The cluster has no users: there is nothing to log in to.
            case authenticationOff
            case leaseNotFound
            case tooLarge
            /// The revision asked for has been compacted.
            case compacted
            /// This member cannot serve that now; another one may.
            case unfit
            /// The server knows no such call.
            case unknownCall
            /// Anything else that was refused for what it says.
            case malformedRequest
            /// It may have happened, or may still.
            case undecided
        }

        var kind: Kind
        /// The server's own words, without a secret.
        var message: String
        /// Whether a write that was answered like this certainly has no effect, now or later.
        var isCertain: Bool

        /// Words of the server, after "etcdserver: ", and what they mean for a write.
        ///
        /// What is not here may still take effect: a timeout, a change of the leader, a server that stops, and also
        /// "database space exceeded", with which etcd answers a write that went just over its quota and was applied.
        private static let known: [(text: String, kind: Kind, isCertain: Bool)] = [
            // Before the proposal, or where it is applied, in place of it (auth: the whole proposal is refused).
            ("invalid auth token", .tokenRefused, true),
            ("revision of auth store is old", .tokenRefused, true),
            ("revision in header is old", .tokenRefused, true),
            ("user name is empty", .tokenRefused, true),
            ("permission denied", .notAuthorized, true),
            ("commonname of client sending a request against gateway", .certificateNamed, true),
            ("authentication failed", .notAuthorized, true),
            ("user name not found", .notAuthorized, true),
            ("authentication is not enabled", .authenticationOff, true),
            ("requested lease not found", .leaseNotFound, true),
            ("request is too large", .tooLarge, true),
            ("too many operations in txn request", .tooLarge, true),
            ("duplicate key given in txn request", .malformedRequest, true),
            ("key is not provided", .malformedRequest, true),
            ("required revision has been compacted", .compacted, true),
            ("required revision is a future revision", .unfit, true),
            ("too many requests", .unfit, true),
            ("rpc not supported for learner", .unfit, true),
            ("not capable", .unfit, true),
            // raft has not taken it: there is no leader that this member knows of.
            ("raft proposal dropped", .unfit, true),
            ("no leader", .unfit, false),
            ("not leader", .unfit, false),
            ("leader changed", .unfit, false),
            ("server stopped", .unfit, false),
            ("unhealthy cluster", .unfit, false),
            ("not a primary lessor", .unfit, false),
        ]

        init(status: Int, code: Int?, message: String) {
            self.message = String(message.prefix(300).map { $0.isNewline ? " " : $0 })
            let text = message.lowercased()
            if let match = Self.known.first(where: { text.contains($0.text) }) {
                (kind, isCertain) = (match.kind, match.isCertain)
            } else if code == 12 || (code == nil && (status == 404 || status == 405 || status == 501)) {
                (kind, isCertain) = (.unknownCall, true)
            } else if code == 16 {
                (kind, isCertain) = (.tokenRefused, true)
            } else if code == 7 {
                (kind, isCertain) = (.notAuthorized, true)
            } else if code == 3 {
                // What cannot be read is not proposed.
                (kind, isCertain) = (.malformedRequest, true)
            } else {
                (kind, isCertain) = (.undecided, false)
            }
        }
    }

    /// Why a call did not end with an answer of use.
    struct GatewayFailure: Error, Hashable, Sendable {
        enum Stage: Hashable, Sendable {
            /// No byte of the request went out.
            case notSent
            /// It went out, at least in part, and nothing is known of what became of it.
            case unknown
            case refused(Refusal)
            /// Answered, and not understood; a write may have been done.
            case malformed
        }

        var stage: Stage
        /// What happened where, without a secret.
        var message: String
        /// The time was over, rather than the connection.
        var isTimeout = false

        /// Whether a write certainly has no effect.
        var isCertain: Bool {
            switch stage {
            case .notSent: true
            case .refused(let refusal): refusal.isCertain
            case .unknown, .malformed: false
            }
        }

        var refusal: Refusal? {
            if case .refused(let refusal) = stage { return refusal }
            return nil
        }

        /// In the words of the store's users.
        func error(_ attempt: String) -> StoreError {
            let text = "cannot \(attempt): \(message)"
            switch stage {
            case .notSent, .unknown: return StoreError(isTimeout ? .timedOut : .unreachable, text)
            case .malformed: return StoreError(.malformed, text)
            case .refused(let refusal):
                switch refusal.kind {
                case .tokenRefused:
                    return StoreError(
                        .notAuthorized, text + "; set etcd3.username and etcd3.password to a user of the cluster")
                case .notAuthorized:
                    return StoreError(
                        .notAuthorized,
                        text + "; check etcd3.username and etcd3.password, and that a role of the user may read and "
                            + "write everything below the cluster's prefix")
                case .certificateNamed:
                    return StoreError(
                        .notAuthorized,
                        text
                            + "; where etcd has users its gateway takes only client certificates without a common name: "
                            + "give etcd3.cert one without CN in its subject")
                case .authenticationOff: return StoreError(.misconfigured, text)
                case .leaseNotFound: return StoreError(.sessionLost, text)
                case .tooLarge: return StoreError(.tooLarge, text)
                case .unknownCall:
                    return StoreError(
                        .misconfigured,
                        text + "; it takes an etcd of 3.4 or later whose JSON gateway is on (enable-grpc-gateway)")
                case .malformedRequest: return StoreError(.malformed, text)
                case .compacted, .unfit, .undecided: return StoreError(.unreachable, text)
                }
            }
        }
    }
#endif
