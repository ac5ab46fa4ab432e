//! The rights of a process, and how the child takes them: users, groups, capabilities, `no_new_privs`, limits.
#![allow(unsafe_code)] // the child's half runs between fork and exec

use super::super::sys::Result;
use crate::user::capabilities::{self, Capabilities};
use nix::errno::Errno;
use nix::sys::prctl;
use std::io;

/// The width of a limit's name.
const LIMIT_NAME: usize = 26;
/// Capabilities are numbered below this.
const CAPABILITIES: u32 = u64::BITS;

/// The rights of a process, by the numbers of its own user namespace.
#[derive(Clone, Debug)]
pub struct ProcessRights {
    /// Real, effective and saved user.
    uids: [u32; 3],
    gids: [u32; 3],
    groups: Vec<u32>,
    sets: Capabilities,
    bounding: u64,
    ambient: u64,
    no_new_privileges: bool,
    /// 0: none, 1: strict, 2: filters.
    pub seccomp: u32,
    /// By resource number.
    limits: Vec<libc::rlimit>,
}

/// A line of `uid_map` or `gid_map` (`user_namespaces(7)`), its second number by presyn's own namespace.
#[derive(Clone, Copy, Debug)]
struct Mapped {
    inside: u32,
    outside: u32,
    count: u32,
}

impl ProcessRights {
    /// Those of a process, and its effective user by the host's numbers.
    pub fn of(pid: u32, other_users: bool) -> io::Result<(Self, u32)> {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}"));
        let status = read("status")?;
        let mut rights =
            Self::parse(&status).ok_or_else(|| io::Error::other("its status is not understood"))?;
        let host_uid = rights.uids[1];
        if other_users {
            let (users, groups) = (map(&read("uid_map")?), map(&read("gid_map")?));
            rights.translate(&users, &groups).ok_or_else(|| {
                io::Error::other("it has a user or group that its namespace has not")
            })?;
        }
        rights.limits = limits(&read("limits")?)
            .ok_or_else(|| io::Error::other("its limits are not understood"))?;
        Ok((rights, host_uid))
    }

    fn parse(status: &str) -> Option<Self> {
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
        let numbers = |name: &str| {
            let words = field(name)?.split_whitespace();
            words.map(|n| n.parse().ok()).collect::<Option<Vec<u32>>>()
        };
        let set = |name: &str| u64::from_str_radix(field(name)?.trim(), 16).ok();
        let three = |name: &str| numbers(name)?.get(..3)?.try_into().ok();
        Some(Self {
            uids: three("Uid:")?,
            gids: three("Gid:")?,
            groups: numbers("Groups:")?,
            sets: Capabilities {
                effective: set("CapEff:")?,
                permitted: set("CapPrm:")?,
                inheritable: set("CapInh:")?,
            },
            bounding: set("CapBnd:")?,
            ambient: set("CapAmb:")?,
            no_new_privileges: field("NoNewPrivs:")?.trim() == "1",
            // Absent: a kernel without seccomp.
            seccomp: field("Seccomp:").map_or(Some(0), |n| n.trim().parse().ok())?,
            limits: Vec::new(),
        })
    }

    fn translate(&mut self, users: &[Mapped], groups: &[Mapped]) -> Option<()> {
        for uid in &mut self.uids {
            *uid = inside(users, *uid)?;
        }
        for gid in &mut self.gids {
            *gid = inside(groups, *gid)?;
        }
        // A supplementary group that the namespace does not have gives the process rights on the host's files; the
        // command does without.
        self.groups = self
            .groups
            .iter()
            .filter_map(|gid| inside(groups, *gid))
            .collect();
        Some(())
    }

    /// In the child: the limits. Raising one takes a right over the host's user namespace, so this comes before that is
    /// left. A root without it (`CAP_SYS_RESOURCE`) gives the command the lower one of the process's and presyn's own.
    pub fn apply_limits(&self) -> Result<()> {
        for (resource, limit) in (0u32..).zip(&self.limits) {
            match set_limit(resource, *limit) {
                Err(Errno::EPERM) => {
                    let own = get_limit(resource)?;
                    let lower = libc::rlimit {
                        rlim_cur: limit.rlim_cur.min(own.rlim_max),
                        rlim_max: limit.rlim_max.min(own.rlim_max),
                    };
                    set_limit(resource, lower)?;
                }
                // A resource that this kernel does not have.
                Err(Errno::EINVAL) | Ok(()) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// In the child, as root of the process's user namespace: becomes the process's user, with its capabilities. Nothing
    /// allocates.
    pub fn apply(&self) -> Result<()> {
        for capability in 0..CAPABILITIES {
            if self.bounding >> capability & 1 == 0 {
                drop_from_bounding_set(capability)?;
            }
        }
        // Otherwise a change from root to another user drops all of them, the ambient ones too (capabilities(7)).
        prctl_number(libc::PR_SET_KEEPCAPS, 1)?;
        let (groups, uids, gids) = (&self.groups, self.uids, self.gids);
        capabilities::set_thread_groups(groups)?;
        // Raw calls: the wrappers of the C library would tell other threads, which the child has not.
        // SAFETY: integers only.
        unsafe {
            Errno::result(libc::syscall(
                libc::SYS_setresgid,
                gids[0],
                gids[1],
                gids[2],
            ))?;
            Errno::result(libc::syscall(
                libc::SYS_setresuid,
                uids[0],
                uids[1],
                uids[2],
            ))?;
        }
        capabilities::set_capabilities(self.sets)?;
        prctl_number(libc::PR_SET_KEEPCAPS, 0)?;
        self.apply_ambient()?;
        if self.no_new_privileges {
            prctl::set_no_new_privs()?;
        }
        // The changes of user set it to fs.suid_dumpable.
        prctl::set_dumpable(false)
    }

    fn apply_ambient(&self) -> Result<()> {
        let (clear, raise) = (libc::PR_CAP_AMBIENT_CLEAR_ALL, libc::PR_CAP_AMBIENT_RAISE);
        // SAFETY: integers only.
        Errno::result(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, clear, 0, 0, 0) })?;
        for capability in (0..CAPABILITIES).filter(|c| self.ambient >> c & 1 == 1) {
            // SAFETY: integers only.
            Errno::result(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, raise, capability, 0, 0) })?;
        }
        Ok(())
    }
}

fn prctl_number(option: i32, value: libc::c_ulong) -> Result<()> {
    // SAFETY: integers only.
    Errno::result(unsafe { libc::prctl(option, value, 0, 0, 0) }).map(drop)
}

fn drop_from_bounding_set(capability: u32) -> Result<()> {
    // SAFETY: integers only.
    match Errno::result(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) }) {
        // A capability that this kernel does not have.
        Err(Errno::EINVAL) => Ok(()),
        done => done.map(drop),
    }
}

fn set_limit(resource: u32, limit: libc::rlimit) -> Result<()> {
    // SAFETY: the kernel reads one struct rlimit. (Its number has another type with each C library.)
    Errno::result(unsafe { libc::setrlimit(resource as _, &raw const limit) }).map(drop)
}

fn get_limit(resource: u32) -> Result<libc::rlimit> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the kernel writes one struct rlimit.
    Errno::result(unsafe { libc::getrlimit(resource as _, &raw mut limit) }).map(|_| limit)
}

/// `/proc/PID/limits`: below a heading one line for each resource in the order of their numbers, with a name of
/// [`LIMIT_NAME`] characters, the soft and the hard limit (fs/proc/base.c). prlimit(2) would take another right.
fn limits(text: &str) -> Option<Vec<libc::rlimit>> {
    let number = |word: &str| match word {
        "unlimited" => Some(libc::RLIM_INFINITY),
        number => number.parse().ok(),
    };
    let lines = text.lines().skip(1);
    let limits = lines.map(|line| {
        let mut words = line.get(LIMIT_NAME..)?.split_whitespace().map(number);
        Some(libc::rlimit {
            rlim_cur: words.next()??,
            rlim_max: words.next()??,
        })
    });
    let limits: Vec<_> = limits.collect::<Option<_>>()?;
    (!limits.is_empty()).then_some(limits)
}

fn map(text: &str) -> Vec<Mapped> {
    let line = |line: &str| {
        let mut numbers = line.split_whitespace().map(|n| n.parse().ok());
        Some(Mapped {
            inside: numbers.next()??,
            outside: numbers.next()??,
            count: numbers.next()??,
        })
    };
    text.lines().filter_map(line).collect()
}

fn inside(map: &[Mapped], outside: u32) -> Option<u32> {
    map.iter().find_map(|range| {
        let offset = outside.checked_sub(range.outside)?;
        (offset < range.count).then(|| range.inside.checked_add(offset))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_by_the_namespace_of_the_process() {
        let map = map("         0       1000          1\n         1     100000      65536\n");
        assert_eq!(inside(&map, 1000), Some(0));
        assert_eq!(inside(&map, 100_998), Some(999));
        assert_eq!(inside(&map, 0), None);
        assert_eq!(inside(&map, 165_536), None);
    }

    #[test]
    fn limits_are_those_that_the_kernel_has() {
        let text = std::fs::read_to_string("/proc/self/limits").unwrap();
        let read = limits(&text).unwrap();
        for (resource, limit) in (0u32..).zip(&read) {
            let own = get_limit(resource).unwrap();
            assert_eq!(
                (limit.rlim_cur, limit.rlim_max),
                (own.rlim_cur, own.rlim_max)
            );
        }
        assert_eq!(read.len(), 16);
        assert!(limits("Limit\nMax cpu time").is_none());
        assert!(limits("").is_none());
    }

    #[test]
    fn rights_as_the_kernel_shows_them() {
        let status = "Name:\tx\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t9 10 \nCapInh:\t0000000000000001\n\
            CapPrm:\t00000000a80425fb\nCapEff:\t0000000000000000\nCapBnd:\t00000000a80425fb\nCapAmb:\t0000000000000000\n\
            NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n";
        let mut rights = ProcessRights::parse(status).unwrap();
        assert_eq!((rights.uids, rights.gids), ([1, 2, 3], [5, 6, 7]));
        assert_eq!(rights.groups, [9, 10]);
        assert_eq!(rights.sets.permitted, 0xa804_25fb);
        assert_eq!((rights.no_new_privileges, rights.seccomp), (true, 2));
        let map = map("0 1 3\n10 5 3\n");
        rights.translate(&map, &map).unwrap();
        assert_eq!((rights.uids, rights.gids), ([0, 1, 2], [10, 11, 12]));
        assert!(rights.groups.is_empty());
        assert!(ProcessRights::parse("Uid:\t1\t2\t3\t4\n").is_none());
    }
}
