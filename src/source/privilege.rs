//! Who the command runs as, and which rights presyn keeps while it runs.

use super::tracer::sys::{self, Capabilities};
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{self, Gid, Uid};
use std::ffi::{CString, OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

/// A user as the kernel and the environment know one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Name.
    pub name: String,
    /// User number.
    pub uid: u32,
    /// Main group.
    pub gid: u32,
    /// All groups.
    pub groups: Vec<u32>,
    /// Home directory.
    pub home: PathBuf,
    /// Login shell.
    pub shell: PathBuf,
}

/// Why a user could not be found.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// There is none of this name or number.
    #[error("there is no user '{0}'")]
    Unknown(String),
    /// The user database could not be asked.
    #[error("cannot look up user '{name}': {}", .error.desc())]
    Lookup {
        /// Whom.
        name: String,
        /// What the system said.
        error: Errno,
    },
}

impl User {
    /// By name, or by number.
    pub fn find(name: &str) -> Result<Self, UserError> {
        let lookup = |error| UserError::Lookup {
            name: name.to_owned(),
            error,
        };
        let found = match unistd::User::from_name(name).map_err(lookup)? {
            Some(user) => Some(user),
            None => match name.parse() {
                Ok(uid) => unistd::User::from_uid(Uid::from_raw(uid)).map_err(lookup)?,
                Err(_) => None,
            },
        };
        let found = found.ok_or_else(|| UserError::Unknown(name.to_owned()))?;
        let groups = CString::new(found.name.clone())
            .map_err(|_| Errno::EINVAL)
            .and_then(|name| unistd::getgrouplist(&name, found.gid))
            .map_err(lookup)?;
        Ok(Self {
            uid: found.uid.as_raw(),
            gid: found.gid.as_raw(),
            groups: groups.into_iter().map(Gid::as_raw).collect(),
            home: found.dir,
            shell: found.shell,
            name: found.name,
        })
    }

    /// The user who typed `sudo`, by `SUDO_UID`; `None` when presyn was not run through sudo, or by root itself.
    pub fn behind_sudo(environment: &[(OsString, OsString)]) -> Result<Option<Self>, UserError> {
        if !unistd::geteuid().is_root() {
            return Ok(None);
        }
        let get = |name: &str| {
            let found = environment.iter().find(|(n, _)| n == name);
            found.and_then(|(_, value)| value.to_str())
        };
        match get("SUDO_UID") {
            None | Some("0") => Ok(None),
            Some(uid) => Self::find(uid).map(Some),
        }
    }

    /// The environment with this user's `HOME`, `USER`, `LOGNAME` and `SHELL`.
    #[must_use]
    pub fn environment(&self, from: &[(OsString, OsString)]) -> Vec<(OsString, OsString)> {
        let own = [
            ("HOME", self.home.as_os_str()),
            ("USER", OsStr::new(&self.name)),
            ("LOGNAME", OsStr::new(&self.name)),
            ("SHELL", self.shell.as_os_str()),
        ];
        let others = from
            .iter()
            .filter(|(name, _)| own.iter().all(|(own, _)| name != own));
        let own = own.map(|(name, value)| (name.into(), value.to_owned()));
        others.cloned().chain(own).collect()
    }
}

/// What presyn needs of its rights once the command is seized and the capture is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: no call is traced.
    Nothing,
    /// To trace what the command's user may trace.
    Trace,
    /// To trace programs that gain rights by their set-user-ID bit or file capabilities. Their tracer must be out of
    /// their user's reach: whoever writes its memory writes theirs.
    TraceGains,
}

/// What presyn kept of its rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It had none to give up.
    NothingToGiveUp,
    /// It has become this user, without any capability.
    BecameUser(String),
    /// Root's user number, `CAP_SYS_PTRACE` and `CAP_SYS_NICE`, because this user runs programs that gain rights.
    Root(String),
    /// Only `CAP_SYS_PTRACE`, to go on reading the command's calls, and `CAP_SYS_NICE`, to share a CPU with it.
    PtraceAndNice,
    /// No capability at all.
    None,
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingToGiveUp => f.write_str("ran unprivileged"),
            Self::BecameUser(name) => write!(f, "gave up root and became {name}"),
            Self::Root(name) => write!(
                f,
                "stayed root with CAP_SYS_PTRACE and CAP_SYS_NICE, because --allow-setuid lets {name}'s command gain rights"
            ),
            Self::PtraceAndNice => {
                f.write_str("kept CAP_SYS_PTRACE and CAP_SYS_NICE, gave up everything else")
            }
            Self::None => f.write_str("gave up all capabilities"),
        }
    }
}

/// `CAP_SYS_PTRACE`, `CAP_SYS_NICE` and `CAP_NET_RAW` (linux/capability.h).
const SYS_PTRACE: u64 = 1 << 19;
/// Without it nobody may move a task that has more capabilities (`cap_task_setscheduler`), as root's command
/// has once presyn has given up its own: then tracer and task cannot share a CPU, and every stop costs 170 µs.
const SYS_NICE: u64 = 1 << 23;
const NET_RAW: u64 = 1 << 13;

/// Puts presyn out of the reach of other processes of its user: no ptrace(2), no `/proc/PID/mem`, no `pidfd_getfd(2)`
/// (`PR_SET_DUMPABLE` of prctl(2)). presyn holds what that user must not have, a packet socket first of all, and may be
/// the tracer of programs with more rights. A change of user changes this state, so [`give_up`] calls it again.
///
/// What it forks inherits it.
pub fn harden() -> Result<(), Errno> {
    sys::clear_dumpable()
}

/// Raises presyn's own soft limit of open descriptors to the hard one: it holds one for each traced thread. The command
/// gets the limit that presyn was started with. Returns the limit now.
pub fn raise_descriptor_limit() -> Result<u64, Errno> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

/// Gives up what is no longer needed, once the capture is open and the command is seized. Call it before the first packet
/// is read and before any thread is started: the kernel keeps capabilities by thread.
///
/// `command` is who the command runs as, if not presyn's own user.
pub fn give_up(command: Option<&User>, needs: Needs) -> Result<Kept, Errno> {
    harden()?;
    let now = sys::capabilities()?;
    if now.permitted == 0 {
        return Ok(Kept::NothingToGiveUp);
    }
    let other = command.filter(|user| user.uid != 0 && unistd::geteuid().is_root());
    if let Some(user) = other
        && needs != Needs::TraceGains
    {
        let groups: Vec<_> = user.groups.iter().copied().map(Gid::from_raw).collect();
        let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
        unistd::setgroups(&groups)?;
        unistd::setresgid(gid, gid, gid)?;
        unistd::setresuid(uid, uid, uid)?;
        // The kernel has set it to fs.suid_dumpable.
        harden()?;
        return Ok(Kept::BecameUser(user.name.clone()));
    }
    let keep = match needs {
        Needs::Nothing => 0,
        Needs::Trace | Needs::TraceGains => now.permitted & (SYS_PTRACE | SYS_NICE),
    };
    sys::set_capabilities(Capabilities {
        effective: keep,
        // An ambient capability is the command's too, and a task with more than its tracer cannot be looked into.
        permitted: keep | now.permitted & sys::ambient_capabilities(),
        inheritable: 0,
    })?;
    Ok(match other {
        Some(user) => Kept::Root(user.name.clone()),
        None if keep == 0 => Kept::None,
        None => Kept::PtraceAndNice,
    })
}

/// Whether this thread may capture.
pub fn may_capture() -> bool {
    sys::capabilities().is_ok_and(|now| now.effective & NET_RAW != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str, value: &str) -> (OsString, OsString) {
        (name.into(), value.into())
    }

    #[test]
    fn users_by_name_and_number() {
        let root = User::find("root").unwrap();
        assert_eq!((root.uid, root.name.as_str()), (0, "root"));
        assert_eq!(User::find("0").unwrap(), root);
        assert!(matches!(
            User::find("nobody-of-this-name"),
            Err(UserError::Unknown(_))
        ));
    }

    #[test]
    fn the_environment_is_the_users() {
        let user = User::find("root").unwrap();
        let before = [pair("HOME", "/x"), pair("A", "b")];
        let after = user.environment(&before);
        assert!(after.contains(&pair("A", "b")) && !after.contains(&pair("HOME", "/x")));
        assert!(after.contains(&pair("LOGNAME", "root")));
        assert_eq!(after.len(), 5);
    }

    #[test]
    fn rights_given_up_are_gone() {
        if sys::capabilities().unwrap().permitted & SYS_PTRACE == 0 {
            let said = "SKIPPED: no CAP_SYS_PTRACE to keep\n";
            // Not eprintln: the test harness swallows what passing tests print.
            std::io::Write::write_all(&mut std::io::stderr(), said.as_bytes()).unwrap();
            return;
        }
        // In a thread: the rights are the thread's own.
        let after = std::thread::spawn(|| {
            let kept = give_up(None, Needs::Trace).unwrap();
            (kept, sys::capabilities().unwrap().permitted, may_capture())
        });
        assert_eq!(
            after.join().unwrap(),
            (Kept::PtraceAndNice, SYS_PTRACE | SYS_NICE, false)
        );
    }
}
