//! Lookups inside TLS.

use super::{Context, Draft, FindingId, Page, Severity, attempt, parties};
use crate::explain::words;
use crate::join::connect::Connection;
use std::net::IpAddr;

/// DNS over TLS (RFC 7858), also over QUIC (RFC 9250).
const DNS_OVER_TLS: u16 = 853;
/// DNS over HTTPS (RFC 8484).
const HTTPS: u16 = 443;
/// Addresses of public resolvers that serve DNS over HTTPS, as their operators publish them: Cloudflare,
/// Google, Quad9, `OpenDNS`, `AdGuard`.
const PUBLIC: &[&str] = &[
    "1.1.1.1",
    "1.0.0.1",
    "8.8.8.8",
    "8.8.4.4",
    "9.9.9.9",
    "149.112.112.112",
    "208.67.222.222",
    "208.67.220.220",
    "94.140.14.14",
    "94.140.15.15",
    "2606:4700:4700::1111",
    "2606:4700:4700::1001",
    "2001:4860:4860::8888",
    "2001:4860:4860::8844",
    "2620:fe::fe",
    "2620:fe::9",
];

/// What `presyn explain encrypted-dns` shows.
pub const PAGE: Page = Page {
    id: FindingId::EncryptedDns,
    rests_on_absence: false,
    in_summary: false,
    text: "The client speaks encrypted DNS, so its lookups cannot be seen.

A connection went to port 853 (DNS over TLS) or to port 443 of a public resolver (DNS
over HTTPS; browsers, Go and Java programs with their own resolvers, cloudflared).
Questions and answers are inside TLS: the capture shows when bytes went, not what was
asked or answered, and the time spent there counts as connecting or running.

presyn knows the ports, and the published addresses of the large public resolvers;
it cannot know the others.

What to do: for the test switch the program to plain DNS (in browsers the 'secure
DNS' setting; resolvectl dnsovertls LINK no), or read the resolver's own log.",
};

/// Finds encrypted DNS; all of it is one finding.
pub fn find(context: &Context) -> Vec<Draft> {
    let public: Vec<IpAddr> = PUBLIC.iter().filter_map(|a| a.parse().ok()).collect();
    let found: Vec<&Connection> = context
        .case
        .joined
        .connections
        .iter()
        .filter(|x| x.is_clients())
        .filter(|x| x.to.port == DNS_OVER_TLS || x.to.port == HTTPS && public.contains(&x.to.ip))
        .collect();
    if found.is_empty() {
        return Vec::new();
    }
    let mut ends: Vec<String> = found.iter().map(|x| x.to.to_string()).collect();
    ends.sort();
    ends.dedup();
    vec![Draft {
        id: PAGE.id,
        severity: Severity::Info,
        subject: None,
        parties: parties::servers(found.iter().map(|x| x.to)),
        title: format!(
            "Encrypted DNS goes to {}: those lookups cannot be seen",
            words::list(&ends)
        ),
        detail: format!(
            "{}; what was asked there, and how fast it was answered, is inside TLS.",
            words::counted(found.len(), "connection", "connections")
        ),
        cost: None,
        total: None,
        remedy: Some("For the test, switch the program or the stub to plain DNS.".into()),
        evidence: attempt::evidence(found),
    }]
}
