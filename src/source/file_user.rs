//! Reading files with the rights of another user, so that a link placed by that user leads nowhere that the user could not
//! go.

use nix::unistd::{Gid, Uid, getegid, geteuid, setfsgid, setfsuid};
use std::io;

/// The rights of a process or a user on files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileUser {
    /// The user.
    pub uid: Uid,
    /// The group.
    pub gid: Gid,
    /// Further groups.
    pub groups: Vec<u32>,
}

impl FileUser {
    /// Those of a process, from its `/proc/PID/status` (proc(5)). The fourth numbers are those for files.
    pub fn parse(status: &str) -> Option<Self> {
        let numbers = |field: &str| {
            let line = status.lines().find_map(|l| l.strip_prefix(field))?;
            line.split_whitespace()
                .map(|n| n.parse().ok())
                .collect::<Option<Vec<u32>>>()
        };
        Some(Self {
            uid: Uid::from_raw(*numbers("Uid:")?.get(3)?),
            gid: Gid::from_raw(*numbers("Gid:")?.get(3)?),
            groups: numbers("Groups:")?,
        })
    }

    /// Whether the permission bits of a file let this user read it.
    pub fn may_read(&self, owner: u32, group: u32, mode: u32) -> bool {
        let bit = if self.uid.as_raw() == owner {
            0o400
        } else if self.gid.as_raw() == group || self.groups.contains(&group) {
            0o040
        } else {
            0o004
        };
        // Root has CAP_DAC_OVERRIDE in its user namespace or owns what it sees there.
        mode & bit != 0 || self.uid.is_root()
    }

    /// Does something with these rights on the way to a file (directories that only root may search), where presyn is
    /// root and this user is not. Only this thread changes (setfsuid(2)).
    pub fn act<T>(&self, what: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let (uid, gid) = (geteuid(), getegid());
        if !uid.is_root() || self.uid.is_root() {
            return what();
        }
        // Neither says whether it worked; a second call does.
        setfsgid(self.gid);
        setfsuid(self.uid);
        let done = if setfsuid(self.uid) == self.uid {
            what()
        } else {
            Err(io::Error::other("cannot look with its user's rights"))
        };
        setfsuid(uid);
        setfsgid(gid);
        done
    }
}
