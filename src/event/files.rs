//! The configuration of name resolution as a process saw it.

use serde::{Deserialize, Serialize};

/// The files that decide how names are looked up, as raw text. `None`: not there, not readable, or not stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolverFiles {
    /// `/etc/resolv.conf`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolv_conf: Option<Box<str>>,
    /// `/etc/nsswitch.conf`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nsswitch_conf: Option<Box<str>>,
    /// `/etc/hosts`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Box<str>>,
    /// `/etc/gai.conf`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gai_conf: Option<Box<str>>,
    /// What exists and could not be read, or not in full: one line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}
