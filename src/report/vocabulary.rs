//! The enumerations of the contract.

use super::open_enum::open_enum;

open_enum! {
    /// What carried DNS.
    Transport {
        /// UDP.
        Udp = "udp",
        /// TCP.
        Tcp = "tcp",
    }
}

open_enum! {
    /// Who asked a resolver, as far as a trace, or a look at the socket, shows.
    Origin {
        /// A traced thread.
        Traced = "traced",
        /// A process that was watched: its socket is known, its calls were not traced.
        Watched = "watched",
        /// Another process in the same capture.
        Untraced = "untraced",
        /// Unknown, where processes were watched: it may be one of them, or another.
        Unattributed = "unattributed",
        /// There is no trace.
        Unknown = "unknown",
    }
}

open_enum! {
    /// What a lookup asked for.
    LookupKind {
        /// The addresses of a name.
        Forward = "forward",
        /// The name of an address.
        Reverse = "reverse",
    }
}

open_enum! {
    /// How a lookup ended.
    LookupOutcome {
        /// With an answer.
        Answered = "answered",
        /// There is no such name, or no record of the type.
        Negative = "negative",
        /// To other servers: a referral, as who asks an authority gets it.
        Referred = "referred",
        /// Without an answer that could be used.
        Failed = "failed",
        /// It had not ended with the inputs.
        Open = "open",
    }
}

open_enum! {
    /// A stub resolver, or another client that asks DNS itself.
    StubResolver {
        /// The GNU C library.
        Glibc = "glibc",
        /// musl.
        Musl = "musl",
        /// Go's own resolver.
        Go = "go",
        /// c-ares (curl, node).
        CAres = "c-ares",
        /// glibc's, called by a JVM.
        Java = "java",
        /// systemd-resolved, asking its upstream servers.
        SystemdResolved = "systemd-resolved",
        /// busybox' nslookup.
        Busybox = "busybox",
    }
}

open_enum! {
    /// Whose timetable it is.
    Model {
        /// The GNU C library.
        Glibc = "glibc",
        /// musl.
        Musl = "musl",
        /// Go's own resolver.
        Go = "go",
        /// c-ares.
        CAres = "c-ares",
    }
}

open_enum! {
    /// What became of a query.
    QueryState {
        /// An answer came in time.
        Answered = "answered",
        /// An answer came after the client had given up on it.
        Late = "late",
        /// An answer is on the wire, and did not reach the client.
        NotReceived = "not-received",
        /// No answer came, although one was due.
        Unanswered = "unanswered",
        /// An ICMP error came instead.
        Refused = "refused",
        /// The inputs do not show it.
        Open = "open",
        /// A call, no packet.
        NeverSent = "never-sent",
    }
}

open_enum! {
    /// How a packet's cause is known.
    CauseKind {
        /// By the call that sent it.
        Call = "call",
        /// By its socket.
        Socket = "socket",
        /// By destination, order and time.
        Inferred = "inferred",
    }
}

open_enum! {
    /// What a connection was for.
    Role {
        /// A server.
        Server = "server",
        /// DNS over TCP.
        Resolver = "resolver",
        /// Something else.
        Other = "other",
        /// Unknown: its SYN may be one of an attempt that was dropped from memory.
        NotAttributable = "not_attributable",
        /// Unknown, where processes were watched: its SYN may be one of theirs, or another's.
        Unattributed = "unattributed",
    }
}

open_enum! {
    /// Why it is unknown whose a packet is.
    UnattributedWhy {
        /// The socket was gone when it was looked up.
        Gone = "gone",
        /// Another socket with the same two ends existed meanwhile.
        Ambiguous = "ambiguous",
        /// The kernel's tables could not be read.
        Unreadable = "unreadable",
        /// It was not looked up: too many packets came.
        NotLookedUp = "not-looked-up",
        /// The case does not say that it was looked up.
        NotRecorded = "not-recorded",
    }
}

open_enum! {
    /// How a connection attempt ended.
    ConnectionOutcome {
        /// It was accepted.
        Connected = "connected",
        /// The far end refused it.
        Refused = "refused",
        /// The network reported the far end unreachable.
        Unreachable = "unreachable",
        /// Nothing answered before the client gave up.
        TimedOut = "timed-out",
        /// It failed before a SYN left the host.
        NoSyn = "no-syn",
        /// It had not ended with the inputs.
        Open = "open",
    }
}

open_enum! {
    /// What a delay breakdown is about.
    SubjectKind {
        /// A connection attempt.
        Connection = "connection",
        /// A lookup that no connection attempt followed.
        Lookup = "lookup",
    }
}

open_enum! {
    /// What the client was waiting for.
    EntryKind {
        /// A response that had not come when the client gave up on it.
        ResolverSilent = "resolver-silent",
        /// A response that is in the capture and did not reach the client.
        AnswerNotReceived = "answer-not-received",
        /// A response that came.
        ResolverAnswer = "resolver-answer",
        /// Negative responses to names of the search list.
        SearchDomains = "search-domains",
        /// An ICMP refusal.
        ResolverRefused = "resolver-refused",
        /// A query that could not leave the host.
        ResolverUnreachable = "resolver-unreachable",
        /// TCP to the resolver.
        ResolverTcp = "resolver-tcp",
        /// A name service on this host.
        NameService = "name-service",
        /// Another socket than a resolver's, a name service's or the connection's own.
        SocketWait = "socket-wait",
        /// Looking for the hardware address of a neighbour (ARP, ND).
        AddressResolution = "address-resolution",
        /// Asking for a name by multicast or broadcast (mDNS, LLMNR, `NetBIOS`).
        MulticastName = "multicast-name",
        /// Trying QUIC before TCP.
        Quic = "quic",
        /// An earlier attempt for the same purpose, or this one's own failure without a SYN.
        AttemptFailed = "attempt-failed",
        /// Nothing on the network, as far as calls show.
        Running = "running",
        /// The inputs do not show it.
        Unexplained = "unexplained",
    }
}

impl EntryKind {
    /// Whether the client waited for another party.
    pub fn is_wait(self) -> bool {
        !matches!(self, Self::Running | Self::Unexplained)
    }
}

open_enum! {
    /// How much a finding matters.
    Severity {
        /// Good to know.
        Info = "info",
        /// Costs little, or may.
        Low = "low",
        /// Costs something, or a part of the answer is in doubt.
        Medium = "medium",
        /// Costs seconds, or the connection.
        High = "high",
    }
}

open_enum! {
    /// What part a finding's party plays.
    PartyRole {
        /// A resolver: `address` and `port`.
        Resolver = "resolver",
        /// A server: `address` and `port`.
        Server = "server",
        /// A name service on this host: `name`.
        Service = "service",
        /// A name that was looked up: `name`.
        Name = "name",
    }
}

open_enum! {
    /// Which program wrote a trace.
    TraceWriter {
        /// strace.
        Strace = "strace",
        /// presyn.
        Presyn = "presyn",
    }
}

open_enum! {
    /// Why a stack ends before its outermost frame.
    StackCut {
        /// The caller is code made while the program ran (Java, JavaScript, …).
        GeneratedCode = "generated-code",
        /// A file lacks what is needed to go on.
        NoUnwindInformation = "no-unwind-information",
        /// The most frames that are read.
        Limit = "limit",
    }
}

open_enum! {
    /// A conclusion. `presyn explain` has a page about each.
    FindingId {
        /// A resolver answered none of the client's queries.
        ResolverSilent = "resolver-silent",
        /// A resolver answered only some of them.
        ResolverLossy = "resolver-lossy",
        /// A resolver's host refused the queries.
        ResolverRefused = "resolver-refused",
        /// A resolver was slow to answer.
        ResolverSlow = "resolver-slow",
        /// A resolver answered with an error.
        ResolverError = "resolver-error",
        /// Queries could not reach a resolver.
        ResolverUnreachable = "resolver-unreachable",
        /// Answers came after the client had given up.
        AnswerLate = "answer-late",
        /// Answers are on the wire that the client did not get.
        AnswerNotReceived = "answer-not-received",
        /// A resolver answers one address type and not the other.
        AaaaSilent = "aaaa-silent",
        /// Answers too large for UDP.
        TruncatedToTcp = "truncated-to-tcp",
        /// DNS over TCP did not work.
        ResolverTcpStuck = "resolver-tcp-stuck",
        /// Names of the search list that do not exist.
        SearchDomains = "search-domains",
        /// The name of an address was looked up before connecting to it.
        ReverseLookup = "reverse-lookup",
        /// A stub on this host waited for its own upstream.
        StubUpstreamSilent = "stub-upstream-silent",
        /// A name service on this host was slow.
        NameServiceWait = "name-service-wait",
        /// A name does not exist.
        NameNotFound = "name-not-found",
        /// A server did not answer the SYN.
        SynUnanswered = "syn-unanswered",
        /// A server answered the SYN, and the client sent it again.
        SynAckIgnored = "syn-ack-ignored",
        /// An older connection with the same ports answered the SYN.
        ChallengeAck = "challenge-ack",
        /// A server's answer to the SYN took much longer than the path does.
        SynAckSlow = "syn-ack-slow",
        /// A server looked up the name of the client that it had accepted.
        ServerReverseLookup = "server-reverse-lookup",
        /// A server refused the connection.
        ConnectRefused = "connect-refused",
        /// A server's host could not be reached.
        HostUnreachable = "host-unreachable",
        /// Other addresses of a name were tried first and failed.
        AddressFallback = "address-fallback",
        /// No connection came about.
        NeverConnected = "never-connected",
        /// The program used `io_uring`, which a trace does not show.
        IoUring = "io-uring",
        /// A host on the link did not answer ARP, or ND.
        ArpUnanswered = "arp-unanswered",
        /// No host on the link answered for a name.
        MulticastLookup = "multicast-lookup",
        /// A client connects, or tries to, without a SYN.
        Quic = "quic",
        /// The program asks DNS in a way that a capture does not show.
        EncryptedDns = "encrypted-dns",
        /// The capture lacks packets.
        CaptureIncomplete = "capture-incomplete",
        /// Nothing held the client up.
        NothingWrong = "nothing-wrong",
    }
}

open_enum! {
    /// Why a live run did not keep a packet.
    LeftOutWhy {
        /// No socket of the traced processes explains it: it is another process's.
        OtherProcess = "other-process",
        /// There was no space for it: it may be any process's.
        NoRoom = "no-room",
    }
}

open_enum! {
    /// A kind of packet.
    PacketKind {
        /// A DNS query.
        Query = "query",
        /// A DNS response.
        Response = "response",
        /// A SYN.
        Syn = "syn",
        /// A TCP segment that answers a SYN or ends a connection.
        TcpOther = "tcp-other",
        /// Anything else.
        Other = "other",
    }
}
