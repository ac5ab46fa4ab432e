//! The child's half: between fork and exec, nothing allocates or locks.
#![allow(unsafe_code)] // setns, chroot and clone in the child

use super::super::sys::Result;
use super::{ContainerEntrance, Done, step};
use nix::errno::Errno;
use nix::sys::prctl;
use std::os::fd::AsRawFd;

/// What the child does on its way into a namespace or a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamespaceStep {
    /// The control groups.
    Groups,
    /// The label of a security module.
    Label,
    /// The limits.
    Limits,
    /// The namespaces.
    Namespaces,
    /// The root directory.
    Root,
    /// The seccomp filters.
    Filters,
    /// The user, the groups and the capabilities.
    Rights,
    /// The fork into the pid namespace.
    Fork,
    /// The mounts of a named network namespace.
    Mounts,
}

impl NamespaceStep {
    const ALL: [Self; 9] = [
        Self::Groups,
        Self::Label,
        Self::Limits,
        Self::Namespaces,
        Self::Root,
        Self::Filters,
        Self::Rights,
        Self::Fork,
        Self::Mounts,
    ];

    /// As a byte of a report.
    pub fn code(self) -> u8 {
        b'a' + self as u8
    }

    /// From that byte.
    pub fn of(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.code() == code)
    }

    /// What could not be done.
    pub fn what(self) -> &'static str {
        match self {
            Self::Groups => "joining its control groups",
            Self::Label => "taking its security label",
            Self::Limits => "taking its resource limits",
            Self::Namespaces => "joining its namespaces (setns(2) with a pidfd, Linux 5.8)",
            Self::Root => "changing to its root directory",
            Self::Filters => "installing its seccomp filters",
            Self::Rights => "taking its user and capabilities",
            Self::Fork => "forking into its pid namespace",
            Self::Mounts => "mounting what belongs to the network namespace",
        }
    }
}

/// A step that the kernel refused.
#[derive(Clone, Copy, Debug)]
pub struct Failed {
    /// Which.
    pub step: NamespaceStep,
    /// What the kernel said.
    pub error: Errno,
}

impl ContainerEntrance {
    /// Into the container, with the rights of its first process. `filter` installs presyn's own while that is possible.
    pub fn join(&self, forbid_gains: bool, filter: impl FnOnce() -> Result<()>) -> Done {
        self.confinement
            .apply_label()
            .map_err(step(NamespaceStep::Label))?;
        self.confinement
            .apply_groups()
            .map_err(step(NamespaceStep::Groups))?;
        self.rights
            .apply_limits()
            .map_err(step(NamespaceStep::Limits))?;
        // SAFETY: integers only.
        let joined = unsafe { libc::setns(self.first.as_raw_fd(), self.namespaces) };
        Errno::result(joined).map_err(step(NamespaceStep::Namespaces))?;
        self.change_root().map_err(step(NamespaceStep::Root))?;
        self.close_descriptors();
        filter()
            .and_then(|()| self.confinement.apply_filters())
            .map_err(step(NamespaceStep::Filters))?;
        self.rights.apply().map_err(step(NamespaceStep::Rights))?;
        if forbid_gains {
            prctl::set_no_new_privs().map_err(step(NamespaceStep::Rights))?;
        }
        Ok(())
    }

    /// A mount namespace's root is not the container's where that was entered by chroot(2).
    fn change_root(&self) -> Result<()> {
        // SAFETY: integers, and paths that end with NUL.
        unsafe {
            Errno::result(libc::fchdir(self.root.as_raw_fd()))?;
            Errno::result(libc::chroot(c".".as_ptr()))?;
            Errno::result(libc::chdir(c"/".as_ptr()))?;
        }
        Ok(())
    }

    fn close_descriptors(&self) {
        let own = [self.first.as_raw_fd(), self.root.as_raw_fd()];
        for fd in own {
            // SAFETY: their owners are never dropped in this process: it execs or leaves by `_exit`.
            unsafe { libc::close(fd) };
        }
        self.confinement.close_descriptors();
    }

    /// Forks a sibling into the pid namespace: presyn's own child, which the container sees from here on. Returns its
    /// number as presyn sees it, or 0 in that child.
    pub fn fork_sibling(&self) -> std::result::Result<u32, super::Failed> {
        let flags = libc::CLONE_PARENT | libc::SIGCHLD;
        // SAFETY: the child goes on as this one would, on a copy of its stack; there is one thread.
        let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
        let pid = Errno::result(pid).map_err(step(NamespaceStep::Fork))?;
        Ok(u32::try_from(pid).unwrap_or(0))
    }
}
