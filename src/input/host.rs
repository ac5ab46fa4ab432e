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

/// The host of a run, as its trace describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordedHost {
    /// Names of its interfaces, as the trace has them.
    pub interfaces: Vec<String>,
    /// The user id that the command began with.
    pub user: Option<u32>,
}

/// The longest name of an interface (`IFNAMSIZ` of linux/if.h, with its final zero).
const LONGEST_NAME: usize = 15;

impl RecordedHost {
    /// The name of the interface that the client used, where there was one beside loopback only; names that no interface
    /// can have (`dev_valid_name`, net/core/dev.c), or that would not be safe to print, are none.
    pub fn only_interface(&self) -> Option<&str> {
        let plain = |name: &&String| {
            (1..=LONGEST_NAME).contains(&name.len())
                && name
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
                && !matches!(name.as_str(), "." | ".." | "lo")
        };
        let mut others = self.interfaces.iter().filter(|name| *name != "lo");
        let first = others.next()?;
        let alone = others.next().is_none();
        Some(first)
            .filter(|name| alone && plain(name))
            .map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_interface_beside_loopback_has_a_name() {
        let of = |names: &[&str]| {
            let host = RecordedHost {
                interfaces: names.iter().map(ToString::to_string).collect(),
                user: None,
            };
            host.only_interface().map(str::to_owned)
        };
        assert_eq!(of(&["lo", "ens3"]).as_deref(), Some("ens3"));
        for names in [
            &["lo"][..],
            &[],
            &["lo", "eth0", "docker0"],
            &["lo", "a/b"],
            &["lo", ".."],
            &["lo", "e\u{1b}[0m"],
            &["lo", "much-too-long-name"],
            &["lo", ""],
        ] {
            assert_eq!(of(names), None, "{names:?}");
        }
    }
}
