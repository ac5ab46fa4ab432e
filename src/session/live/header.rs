//! What is said about a run before its first event.

use crate::case::arguments;
use crate::case::jsonl::{self, Header};
use crate::time::Timestamp;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

/// Variables that change how names are resolved (resolv.conf(5), resolver(3), Go and the JVM).
const RESOLVER_VARIABLES: [&str; 5] = [
    "RES_OPTIONS",
    "LOCALDOMAIN",
    "HOSTALIASES",
    "GODEBUG",
    "JAVA_TOOL_OPTIONS",
];
/// Settings that decide when SYNs are sent again and when neighbours are given up (ip-sysctl).
const SYSCTLS: [&str; 4] = [
    "net/ipv4/tcp_syn_retries",
    "net/ipv4/tcp_syn_linear_timeouts",
    "net/ipv4/neigh/default/ucast_solicit",
    "net/ipv4/neigh/default/mcast_solicit",
];

/// The header of a trace; its clocks are set when the run begins. Without `keep_arguments` what looks like a secret is
/// masked in the command and its environment.
pub fn header(
    command: &[OsString],
    environment: &[(OsString, OsString)],
    interface: &str,
    keep_arguments: bool,
) -> Header {
    let text = |text: &OsString| text.to_string_lossy().into_owned();
    let command: Vec<String> = command.iter().map(text).collect();
    let read = |path: &str| {
        fs::read_to_string(path)
            .map(|t| t.trim().to_owned())
            .unwrap_or_default()
    };
    Header {
        schema: jsonl::SCHEMA.into(),
        presyn: env!("CARGO_PKG_VERSION").into(),
        command: if keep_arguments {
            command
        } else {
            arguments::masked(&command)
        },
        host: read("/proc/sys/kernel/hostname"),
        kernel: format!(
            "{} {}",
            read("/proc/sys/kernel/osrelease"),
            std::env::consts::ARCH
        ),
        followed_sends_only: true,
        interface: interface.to_owned(),
        interfaces: interfaces(),
        sysctls: SYSCTLS
            .iter()
            .map(|name| (name.replace('/', "."), read(&format!("/proc/sys/{name}"))))
            .filter(|(_, value)| !value.is_empty())
            .collect(),
        resolver_environment: environment
            .iter()
            .filter(|(name, _)| RESOLVER_VARIABLES.iter().any(|v| name == v))
            .map(|(name, value)| {
                let (name, mut value) = (text(name), text(value));
                if !keep_arguments {
                    value = arguments::masked_variable(&name, &value);
                }
                (name, value)
            })
            .collect(),
        ..Header::default()
    }
}

fn interfaces() -> BTreeMap<u32, String> {
    let list = nix::net::if_::if_nameindex();
    list.map(|list| {
        list.iter()
            .map(|i| (i.index(), i.name().to_string_lossy().into_owned()))
            .collect()
    })
    .unwrap_or_default()
}

/// `CLOCK_REALTIME`.
pub fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// `CLOCK_MONOTONIC`, nanoseconds.
pub fn monotonic() -> i64 {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)
        .map_or(0, |t| t.tv_sec() * 1_000_000_000 + t.tv_nsec())
}
