//! Which rights an executed file would have given its process: set-user-ID and set-group-ID bits (execve(2)) and file
//! capabilities (capabilities(7)).

use super::file_rights::file_capabilities;
use nix::sys::statvfs::{FsFlags, statvfs};
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What an executable grants beyond what its process has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gains {
    /// The user it would become.
    pub user: Option<u32>,
    /// The group it would become.
    pub group: Option<u32>,
    /// Capabilities, one bit each.
    pub capabilities: u64,
}

/// Bits of `st_mode` (inode(7)). Set-group-ID without execution for the group meant something else once.
const SET_USER: u32 = 0o4000;
const SET_GROUP: u32 = 0o2010;

impl Gains {
    /// What the file that a task runs would have granted. `None`: nothing, or it cannot be seen.
    pub fn of_task(tid: u32) -> Option<Self> {
        let program = format!("/proc/{tid}/exe");
        let file = std::fs::metadata(&program).ok()?;
        // The effective user and group (proc(5)).
        let task = std::fs::metadata(format!("/proc/{tid}")).ok()?;
        let capabilities = file_capabilities(Path::new(&program)).ok().flatten();
        let has = |bits| file.mode() & bits == bits;
        let gains = Self {
            user: (has(SET_USER) && file.uid() != task.uid()).then(|| file.uid()),
            group: (has(SET_GROUP) && file.gid() != task.gid()).then(|| file.gid()),
            capabilities: capabilities.unwrap_or(0),
        };
        if gains == Self::default() {
            return None;
        }
        // There it would gain nothing untraced either.
        let no_gains =
            statvfs(program.as_str()).is_ok_and(|fs| fs.flags().contains(FsFlags::ST_NOSUID));
        (!no_gains).then_some(gains)
    }
}

/// By number (linux/capability.h).
const NAMES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

impl fmt::Display for Gains {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        match self.user {
            Some(0) => parts.push("root (its set-user-ID bit)".to_owned()),
            Some(uid) => parts.push(format!("user {uid} (its set-user-ID bit)")),
            None => {}
        }
        if let Some(gid) = self.group {
            parts.push(format!("group {gid} (its set-group-ID bit)"));
        }
        let names: Vec<String> = (0..u64::BITS)
            .filter(|bit| self.capabilities >> bit & 1 == 1)
            .map(|bit| match NAMES.get(bit as usize) {
                Some(name) => format!("cap_{name}"),
                None => format!("capability {bit}"),
            })
            .collect();
        if !names.is_empty() {
            parts.push(format!("{} (its file capabilities)", names.join(", ")));
        }
        f.write_str(&parts.join(" and "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gains_are_named() {
        let root = Gains {
            user: Some(0),
            ..Gains::default()
        };
        assert_eq!(root.to_string(), "root (its set-user-ID bit)");
        let ping = Gains {
            group: Some(5),
            capabilities: 1 << 13 | 1 << 63,
            ..Gains::default()
        };
        assert_eq!(
            ping.to_string(),
            "group 5 (its set-group-ID bit) and cap_net_raw, capability 63 (its file capabilities)"
        );
    }

    #[test]
    fn an_ordinary_program_grants_nothing() {
        assert_eq!(Gains::of_task(std::process::id()), None);
        assert_eq!(Gains::of_task(u32::MAX), None);
    }
}
