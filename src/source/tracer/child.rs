//! The child between fork and exec. The parent may have threads, so nothing here allocates or locks: everything is
//! prepared before the fork.
#![allow(unsafe_code)] // fork and the calls after it have no safe interface

use super::enter::{self, ContainerEntrance, Entrance, NamespaceStep};
use super::filter;
use super::snapshot::{Restoration, Snapshot};
use super::substitute::Substitute;
use super::sys::{self, Result};
use crate::user::User;
use crate::user::capabilities::{self, Capabilities};
use nix::errno::Errno;
use nix::sys::prctl;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

/// What the child reports about itself before its exec. The first three are no failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It may be seized now.
    Ready,
    /// It has entered a container, and the child that goes on is another: this one.
    Forked,
    /// It has set `NO_NEW_PRIVS`: set-user-ID programs gain nothing below this command.
    NoNewPrivileges,
    /// What presyn was started with could not be restored.
    Restore,
    /// The container or the namespace could not be entered.
    Enter(NamespaceStep),
    /// The command's own resolv.conf could not be mounted.
    Mount,
    /// The filter could not be installed.
    Filter,
    /// The user could not be changed.
    User,
    /// The program could not be run.
    Exec,
}

/// A report: the step, and a number that belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which step.
    pub step: Step,
    /// An error number; of [`Step::Forked`] a process.
    pub number: i32,
}

impl Step {
    const PLAIN: [(Self, u8); 8] = [
        (Self::Ready, b'R'),
        (Self::Forked, b'P'),
        (Self::NoNewPrivileges, b'N'),
        (Self::Restore, b'S'),
        (Self::Mount, b'M'),
        (Self::Filter, b'F'),
        (Self::User, b'U'),
        (Self::Exec, b'E'),
    ];

    fn code(self) -> u8 {
        if let Self::Enter(step) = self {
            return step.code();
        }
        let row = Self::PLAIN.iter().find(|(step, _)| *step == self);
        row.map_or(0, |(_, code)| *code)
    }

    fn of(code: u8) -> Option<Self> {
        let row = Self::PLAIN.iter().find(|(_, known)| *known == code);
        row.map(|(step, _)| *step)
            .or_else(|| NamespaceStep::of(code).map(Self::Enter))
    }
}

impl Report {
    /// Its length.
    pub const BYTES: usize = 5;

    /// As it comes through the pipe: step, then the number.
    pub fn read(report: [u8; Self::BYTES]) -> Option<Self> {
        Some(Self {
            step: Step::of(report[0])?,
            number: i32::from_ne_bytes([report[1], report[2], report[3], report[4]]),
        })
    }

    /// Its number as an error.
    pub fn error(self) -> Errno {
        Errno::from_raw(self.number)
    }
}

/// Everything the child needs, made before the fork.
pub struct Prepared {
    candidates: Vec<CString>,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    filter: Vec<libc::sock_filter>,
    user: Option<User>,
    /// Whether the command and what it starts may gain rights by an exec.
    may_gain: bool,
    /// What makes the child traceable by a tracer without `CAP_SYS_PTRACE`.
    exposure: Option<Capabilities>,
    /// The command's own resolv.conf.
    pub substitute: Option<Substitute>,
    /// Where the command begins, if not where presyn is.
    entrance: Option<Arc<Entrance>>,
}

/// Arrays of pointers into [`Prepared`], as execve wants them.
struct Pointers {
    arguments: Vec<*const libc::c_char>,
    /// `/bin/sh FILE ARGUMENTS…`, for a script without `#!` (execvp(3)); the file is filled in.
    shell: Vec<*const libc::c_char>,
    environment: Vec<*const libc::c_char>,
}

/// linux/capability.h
const CAP_SYS_PTRACE: u64 = 1 << 19;

const SHELL: &CStr = c"/bin/sh";

/// Where `execvp(3)` looks when there is no `PATH`.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

impl Prepared {
    /// `None`: the command is empty or something holds a NUL byte.
    pub fn new(
        command: &[OsString],
        environment: &[(OsString, OsString)],
        user: Option<User>,
        tracing: Tracing,
    ) -> Option<Self> {
        let program = command.first()?;
        let text = |s: &OsStr| CString::new(s.as_bytes()).ok();
        let variables = environment.iter().map(|(name, value)| {
            let mut both = name.clone();
            both.push("=");
            both.push(value);
            text(&both)
        });
        let path = environment.iter().find(|(name, _)| name == "PATH");
        let path = path.map_or(OsStr::new(DEFAULT_PATH), |(_, value)| value);
        Some(Self {
            candidates: candidates(program, path)?,
            arguments: command.iter().map(|a| text(a)).collect::<Option<_>>()?,
            environment: variables.collect::<Option<_>>()?,
            filter: if tracing == Tracing::Off {
                Vec::new()
            } else {
                filter::program()
            },
            may_gain: tracing.may_gain(user.as_ref()),
            exposure: exposure(),
            user,
            substitute: None,
            entrance: None,
        })
    }

    /// The command begins in a container or a network namespace.
    pub fn begin_in(&mut self, entrance: Arc<Entrance>, tracing: Tracing) {
        if let Some(uid) = entrance.host_uid() {
            self.may_gain = tracing.may_gain_as(uid);
            // The entrance has the container's user.
            self.user = None;
        }
        self.entrance = Some(entrance);
    }

    /// Forks. The child waits until a byte comes through `go`, then prepares itself and runs the command;
    /// it tells of failures through `report`. Returns the child's pid, in the parent only.
    pub fn fork(&self, go: BorrowedFd<'_>, report: BorrowedFd<'_>) -> Result<u32> {
        let list = |strings: &[CString]| -> Vec<*const libc::c_char> {
            let pointers = strings.iter().map(|s| s.as_ptr());
            pointers.chain([std::ptr::null()]).collect()
        };
        let mut pointers = Pointers {
            arguments: list(&self.arguments),
            shell: list(&self.arguments),
            environment: list(&self.environment),
        };
        pointers.shell.insert(0, SHELL.as_ptr());
        let mut spared = vec![go.as_raw_fd(), report.as_raw_fd()];
        spared.extend(self.entrance.iter().flat_map(|e| e.descriptors()));
        let restoration = match self.container() {
            Some(_) => Snapshot::at_start().restoration_of_standard_streams(&spared),
            None => Snapshot::at_start().restoration(&spared),
        };
        // SAFETY: the child runs only async-signal-safe code until exec or _exit.
        let pid = Errno::result(unsafe { libc::fork() })?;
        if pid == 0 {
            let (step, error) = self.run(&mut pointers, &restoration, go, report);
            tell(report, step, error as i32);
            // SAFETY: ends the child; the status is never shown, the report is.
            unsafe { libc::_exit(127) }
        }
        Ok(pid.unsigned_abs())
    }

    /// In the child. Returns only with what failed.
    fn run(
        &self,
        pointers: &mut Pointers,
        restoration: &Restoration,
        go: BorrowedFd<'_>,
        report: BorrowedFd<'_>,
    ) -> (Step, Errno) {
        // First, and before anything that lets others reach this process: nothing of presyn's is open in it then.
        if let Err(error) = restoration.apply() {
            return (Step::Restore, error);
        }
        if let Some(container) = self.container()
            && let Err(failed) = self.enter(container, report)
        {
            return (Step::Enter(failed.step), failed.error);
        }
        if let Some(capabilities) = self.exposure {
            // A failure shows when the parent seizes.
            let _ = capabilities::set_capabilities(capabilities)
                .and_then(|()| prctl::set_dumpable(true));
        }
        tell(report, Step::Ready, 0);
        let mut byte = 0u8;
        loop {
            // SAFETY: one byte is written to `byte`.
            let got = unsafe { libc::read(go.as_raw_fd(), (&raw mut byte).cast(), 1) };
            match Errno::result(got) {
                Ok(1) => break,
                Err(Errno::EINTR) => {}
                // The parent is gone.
                // SAFETY: ends the child.
                _ => unsafe { libc::_exit(125) },
            }
        }
        if self.container().is_some() {
            if !self.may_gain {
                tell(report, Step::NoNewPrivileges, 0);
            }
        } else if let Err(failed) = self.settle(report) {
            return failed;
        }
        if let Err(error) = restoration.apply_parent_death_signal() {
            return (Step::Restore, error);
        }
        (Step::Exec, self.exec(pointers))
    }

    /// What takes rights, then the change to the command's user.
    fn settle(&self, report: BorrowedFd<'_>) -> std::result::Result<(), (Step, Errno)> {
        if let Some(Entrance::Network(network)) = self.entrance.as_deref() {
            let joined = network.join();
            joined.map_err(|failed| (Step::Enter(failed.step), failed.error))?;
        }
        if let Some(substitute) = &self.substitute {
            substitute.mount().map_err(|error| (Step::Mount, error))?;
        }
        if !self.may_gain {
            forbid_gains(report).map_err(|error| (Step::Filter, error))?;
        }
        // Then the filter: without NO_NEW_PRIVS it takes a privilege that the user may not have.
        if !self.filter.is_empty() {
            self.install(report)
                .map_err(|error| (Step::Filter, error))?;
        }
        match &self.user {
            Some(user) => become_user(user).map_err(|error| (Step::User, error)),
            None => Ok(()),
        }
    }

    fn container(&self) -> Option<&ContainerEntrance> {
        self.entrance.as_deref().and_then(Entrance::container)
    }

    /// Into the container. Its pid namespace takes a fork: this process says which one goes on, and ends; the other
    /// returns.
    fn enter(
        &self,
        container: &ContainerEntrance,
        report: BorrowedFd<'_>,
    ) -> std::result::Result<(), enter::Failed> {
        container.join(!self.may_gain, || {
            if self.filter.is_empty() {
                return Ok(());
            }
            sys::install_filter(&self.filter)
        })?;
        let pid = container.fork_sibling()?;
        if pid == 0 {
            return Ok(());
        }
        tell(report, Step::Forked, pid.cast_signed());
        // SAFETY: ends this process; the other one is the command's.
        unsafe { libc::_exit(0) }
    }

    fn install(&self, report: BorrowedFd<'_>) -> Result<()> {
        match sys::install_filter(&self.filter) {
            // Neither CAP_SYS_ADMIN nor NO_NEW_PRIVS (seccomp(2)).
            Err(Errno::EACCES) => {
                forbid_gains(report)?;
                sys::install_filter(&self.filter)
            }
            other => other,
        }
    }

    /// As `execvp(3)`: every candidate, but a refusal is remembered over an absence.
    fn exec(&self, pointers: &mut Pointers) -> Errno {
        let mut worst = Errno::ENOENT;
        for file in &self.candidates {
            // SAFETY: all arrays end with null and point to strings that live on in `self`.
            unsafe {
                libc::execve(
                    file.as_ptr(),
                    pointers.arguments.as_ptr(),
                    pointers.environment.as_ptr(),
                );
            }
            match Errno::last() {
                Errno::ENOENT | Errno::ENOTDIR => {}
                Errno::ENOEXEC => {
                    if let Some(place) = pointers.shell.get_mut(1) {
                        *place = file.as_ptr();
                    }
                    // SAFETY: as above; the array has one more entry in front.
                    unsafe {
                        libc::execve(
                            SHELL.as_ptr(),
                            pointers.shell.as_ptr(),
                            pointers.environment.as_ptr(),
                        );
                    }
                    return Errno::last();
                }
                Errno::EACCES => worst = Errno::EACCES,
                other => return other,
            }
        }
        worst
    }
}

/// The files that a command's name may mean.
fn candidates(program: &OsStr, path: &OsStr) -> Option<Vec<CString>> {
    let name = program.as_bytes();
    if name.is_empty() {
        return None;
    }
    if name.contains(&b'/') {
        return Some(vec![CString::new(name).ok()?]);
    }
    path.as_bytes()
        .split(|b| *b == b':')
        .map(|directory| {
            // An empty entry is the working directory.
            let directory = if directory.is_empty() {
                b"."
            } else {
                directory
            };
            CString::new([directory, b"/", name].concat()).ok()
        })
        .collect()
}

/// How a command is traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracing {
    /// Not at all: it is no concern of presyn's what its programs gain.
    Off,
    /// By a tracer that the command's user could reach: programs below gain nothing.
    On,
    /// By a tracer that stays root: set-user-ID programs and those with file capabilities gain what they always do.
    WithGains,
}

impl Tracing {
    /// A program that gains rights while presyn traces it is only as safe as presyn is from the user who ran it. Root
    /// gains nothing that it does not have.
    fn may_gain(self, user: Option<&User>) -> bool {
        self.may_gain_as(user.map_or_else(|| nix::unistd::geteuid().as_raw(), |user| user.uid))
    }

    fn may_gain_as(self, uid: u32) -> bool {
        self != Self::On || uid == 0
    }
}

/// presyn is not dumpable, and neither is what it forks: without `CAP_SYS_PTRACE` it may not trace its own child
/// (ptrace(2), "access mode checking"). So that child makes itself dumpable, once it holds nothing of presyn's, and with
/// only the capabilities that the command's exec leaves it anyway: a task with more than its tracer cannot be traced.
/// `None`: the tracer needs no such help.
fn exposure() -> Option<Capabilities> {
    let own = capabilities::capabilities().ok()?;
    if nix::unistd::geteuid().is_root() {
        // An exec gives root its capabilities back, so they stay; a change of user ends this state (prctl(2)). In a user
        // namespace that was entered after presyn's own exec, its memory belongs to the namespace around: no capability of
        // the inner one counts for it (`__ptrace_may_access`, kernel/ptrace.c).
        let helpless = own.effective & CAP_SYS_PTRACE == 0 || in_user_namespace();
        return helpless.then_some(own);
    }
    let kept = capabilities::ambient_capabilities();
    Some(Capabilities {
        effective: own.effective & kept,
        permitted: own.permitted & kept,
        inheritable: own.inheritable,
    })
}

/// Whether the user ids here are not all of the kernel's (`user_namespaces(7)`).
pub fn in_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().ne(["0", "0", "4294967295"])
}

fn forbid_gains(report: BorrowedFd<'_>) -> Result<()> {
    prctl::set_no_new_privs()?;
    tell(report, Step::NoNewPrivileges, 0);
    Ok(())
}

/// Raw calls: the wrappers of the C library would tell other threads, which the child has not.
fn become_user(user: &User) -> Result<()> {
    let (uid, gid) = (user.uid, user.gid);
    // SAFETY: the list has as many entries as it says; the rest are integers.
    unsafe {
        let (count, list) = (user.groups.len(), user.groups.as_ptr());
        Errno::result(libc::syscall(libc::SYS_setgroups, count, list))?;
        Errno::result(libc::syscall(libc::SYS_setresgid, gid, gid, gid))?;
        Errno::result(libc::syscall(libc::SYS_setresuid, uid, uid, uid))?;
    }
    Ok(())
}

fn tell(report: BorrowedFd<'_>, step: Step, number: i32) {
    let mut bytes = [0; Report::BYTES];
    bytes[0] = step.code();
    bytes[1..].copy_from_slice(&number.to_ne_bytes());
    // SAFETY: five bytes are read from `bytes`. A pipe takes them at once; if not, nobody reads.
    unsafe { libc::write(report.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_up_as_execvp_does() {
        let found = |program: &str, path: &str| -> Vec<String> {
            let list = candidates(OsStr::new(program), OsStr::new(path)).unwrap();
            let text = list.into_iter().map(|c| c.into_string().unwrap());
            text.collect()
        };
        assert_eq!(found("ls", "/bin::/x"), ["/bin/ls", "./ls", "/x/ls"]);
        assert_eq!(found("./a", "/bin"), ["./a"]);
        assert_eq!(candidates(OsStr::new(""), OsStr::new("/bin")), None);
    }

    #[test]
    fn reports_are_read_back() {
        let mut report = [b'E', 0, 0, 0, 0];
        report[1..].copy_from_slice(&libc::EACCES.to_ne_bytes());
        let read = Report::read(report).unwrap();
        assert_eq!((read.step, read.error()), (Step::Exec, Errno::EACCES));
        assert_eq!(Report::read([0; 5]), None);
        let mut codes: Vec<u8> = (0..=u8::MAX)
            .filter(|code| Step::of(*code).is_some_and(|step| step.code() == *code))
            .collect();
        codes.dedup();
        assert_eq!(codes.len(), 8 + 9);
    }
}
