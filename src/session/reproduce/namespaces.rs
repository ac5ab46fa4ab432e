//! The namespaces of the client's side: made in a user namespace where presyn has no right to make them otherwise.

use super::{ReproduceError, helper, step};
use crate::user::capabilities;
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::unistd::{Pid, getegid, geteuid, getppid};
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

/// `CAP_SYS_ADMIN` and `CAP_NET_ADMIN` (linux/capability.h): with both, namespaces need no user namespace.
const MAKES_NAMESPACES: u64 = 1 << 21 | 1 << 12;

/// Who maps users: the process that was called.
pub struct Mapper {
    pipe: Option<UnixStream>,
    as_root: bool,
}

/// Whose users are mapped: the process of the client's side.
pub struct Mapped(Option<UnixStream>);

/// Both ends; they do nothing where no user namespace is needed.
///
/// In a user namespace the user is root where that is wanted, without a right outside.
pub fn pair(as_root: bool) -> io::Result<(Mapper, Mapped)> {
    let capable = capabilities::capabilities()
        .is_ok_and(|now| now.effective & MAKES_NAMESPACES == MAKES_NAMESPACES);
    if capable {
        return Ok((
            Mapper {
                pipe: None,
                as_root,
            },
            Mapped(None),
        ));
    }
    let (ours, theirs) = UnixStream::pair()?;
    let pipe = Some(ours);
    Ok((Mapper { pipe, as_root }, Mapped(Some(theirs))))
}

impl Mapper {
    /// Maps the user and group of a process that waits in its new user namespace, to themselves or to root. It cannot do that itself:
    /// it may be one that nobody may look into, as those with file capabilities are.
    pub fn map(self, client: Pid) -> Result<(), ReproduceError> {
        let Some(mut pipe) = self.pipe else {
            return Ok(());
        };
        if pipe.read_exact(&mut [0]).is_err() {
            // It has told why.
            return Ok(());
        }
        let write = |file: &str, text: &str| {
            fs::write(format!("/proc/{client}/{file}"), text).map_err(step("cannot map the user"))
        };
        let (user, group) = (geteuid(), getegid());
        write("setgroups", "deny")?;
        let inside = |own: u32| if self.as_root { 0 } else { own };
        let (user, group) = (user.as_raw(), group.as_raw());
        write("uid_map", &format!("{} {user} 1", inside(user)))?;
        write("gid_map", &format!("{} {group} 1", inside(group)))?;
        pipe.write_all(b"!").map_err(step("cannot map the user"))
    }
}

impl Mapped {
    /// Whether a user namespace is needed.
    pub fn has_own_users(&self) -> bool {
        self.0.is_some()
    }

    /// Puts this process into new namespaces: network, mounts, host name, and users where that is needed.
    pub fn enter(&mut self) -> Result<(), ReproduceError> {
        let parent = getppid();
        let dumpable = || prctl::set_dumpable(true).map_err(step("prctl"));
        if let Some(pipe) = &mut self.0 {
            // Who may be looked into can be mapped.
            dumpable()?;
            unshare(CloneFlags::CLONE_NEWUSER).map_err(forbidden)?;
            dumpable()?;
            pipe.write_all(b"?").map_err(step("cannot map the user"))?;
            pipe.read_exact(&mut [0])
                .map_err(step("cannot map the user"))?;
        }
        let apart = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS;
        unshare(apart).map_err(forbidden)?;
        helper::ends_with(parent).map_err(step("prctl"))
    }
}

/// Why the kernel does not let this user make namespaces.
pub fn forbidden(error: Errno) -> ReproduceError {
    let setting = |path: &str| {
        fs::read_to_string(path)
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    let why = if setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1" {
        "AppArmor restricts user namespaces (sysctl kernel.apparmor_restrict_unprivileged_userns=0, or a profile for presyn \
         with the rule 'userns,')"
            .to_owned()
    } else if setting("/proc/sys/kernel/unprivileged_userns_clone") == "0" {
        "sysctl kernel.unprivileged_userns_clone is 0".to_owned()
    } else if setting("/proc/sys/user/max_user_namespaces") == "0" {
        "sysctl user.max_user_namespaces is 0".to_owned()
    } else {
        error.desc().to_owned()
    };
    ReproduceError::Forbidden(why)
}
