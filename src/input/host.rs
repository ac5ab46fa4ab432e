//! The name resolution settings of a host.

/// The files that decide how names are looked up, as raw text. `None`: not there, or not readable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostFiles {
    /// `/etc/resolv.conf`
    pub resolv_conf: Option<String>,
    /// `/etc/nsswitch.conf`
    pub nsswitch_conf: Option<String>,
    /// `/etc/hosts`
    pub hosts: Option<String>,
    /// `/etc/gai.conf`
    pub gai_conf: Option<String>,
    /// What exists and could not be read, or was longer than the bound: one line each.
    pub warnings: Vec<String>,
}
