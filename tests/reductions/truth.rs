//! What happened in the recorded cases.

use presyn::report::Transport;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;

/// What is known of a case beside its capture and its log.
pub struct Truth {
    /// Its folder below captures/.
    pub case: &'static str,
    /// Seconds from the first query to the first SYN of the server connect, or to the end of the lookup.
    pub delay: f64,
    /// Whom the client waited for, and for how long, in all.
    pub waits: &'static [(&'static str, f64)],
    /// What became of connection attempts.
    pub servers: &'static [(&'static str, &'static str)],
}

const SERVER: (&str, &str) = ("192.168.110.231:80", "connected");

/// As `scripts/lab.d/cases.py` scripts them; the waits are glibc's timetable (5 s, then 5, 3, 6 s with three).
pub const TRUTHS: &[Truth] = &[
    Truth {
        case: "first-resolver-silent",
        delay: 5.1,
        waits: &[("10.0.1.93", 5.0)],
        servers: &[SERVER],
    },
    Truth {
        case: "zookeeper-three-silent",
        delay: 56.2,
        waits: &[
            ("10.0.1.93", 20.0),
            ("10.0.1.95", 12.0),
            ("10.0.1.92", 24.0),
        ],
        servers: &[("192.168.110.231:8998", "connected")],
    },
    Truth {
        case: "bridge-duplicates",
        delay: 5.1,
        waits: &[("10.0.1.93", 5.0)],
        servers: &[SERVER],
    },
    Truth {
        case: "slow-resolver",
        delay: 2.6,
        waits: &[("10.0.1.93", 2.5)],
        servers: &[SERVER],
    },
    Truth {
        case: "nothing-wrong",
        delay: 0.1,
        waits: &[],
        servers: &[SERVER],
    },
    Truth {
        case: "servfail",
        delay: 0.1,
        waits: &[],
        servers: &[SERVER],
    },
    Truth {
        case: "connect-refused",
        delay: 0.1,
        waits: &[],
        servers: &[("192.168.110.231:80", "refused")],
    },
    Truth {
        case: "go-client",
        delay: 5.1,
        waits: &[("10.0.1.93", 5.0)],
        servers: &[SERVER],
    },
    Truth {
        case: "truncated-to-tcp",
        delay: 0.2,
        waits: &[],
        servers: &[SERVER],
    },
    Truth {
        case: "aaaa-silent",
        delay: 15.1,
        waits: &[("10.0.1.93", 15.0)],
        servers: &[SERVER],
    },
    Truth {
        case: "two-addresses-fallback",
        delay: 4.2,
        waits: &[("192.168.110.232:80", 4.0)],
        servers: &[SERVER, ("192.168.110.232:80", "timed-out")],
    },
];

impl Truth {
    /// The resolvers' own books: asked and answered, by address, over UDP.
    pub fn books(&self) -> impl Iterator<Item = (String, (u64, u64))> + use<> {
        let path = format!("captures/{}/asked.json", self.case);
        let text = fs::read_to_string(path).unwrap();
        let books: BTreeMap<String, Value> = serde_json::from_str(&text).unwrap();
        let udp = books.into_iter().filter_map(|(key, book)| {
            let address = key.strip_suffix("/udp")?.to_owned();
            let count = |name: &str| book[name].as_u64().unwrap();
            Some((address, (count("queries"), count("answered"))))
        });
        udp.collect::<Vec<_>>().into_iter()
    }

    /// What a resolver says that it was asked and answered.
    pub fn book(&self, address: &str, transport: Transport) -> Option<(u64, u64)> {
        let udp = transport == Transport::Udp;
        let mut books = self.books().filter(|_| udp);
        books.find(|(a, _)| a == address).map(|(_, book)| book)
    }

    /// Whether some of a resolver's answers came when nobody waited for them, or some of its answers did not come.
    pub fn is_late(&self, address: &str) -> bool {
        self.waits.iter().any(|(party, _)| *party == address)
    }

    /// How long the client waited for somebody, in all.
    pub fn waited_for(&self, party: &str) -> f64 {
        let own = self.waits.iter().filter(|(p, _)| *p == party);
        own.map(|(_, seconds)| seconds).sum()
    }
}
