//! Users with containers of their own.

use super::super::host_root::HostRoot;
use crate::source::file_user::FileUser;
use nix::unistd::{Gid, Uid, geteuid};

/// A user who may have containers: one that is logged in, or whose service manager runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootlessUser {
    pub uid: u32,
    gid: u32,
    name: String,
    pub home: String,
}

impl RootlessUser {
    /// Those with a runtime directory (`/run/user/UID`), or presyn's own where it is not root.
    pub fn all(root: &HostRoot) -> Vec<Self> {
        let folders = root.folders("run/user").unwrap_or_default();
        let uids = folders.iter().filter_map(|name| name.parse().ok());
        let mut uids: Vec<u32> = uids.filter(|uid| *uid != 0).collect();
        let own = geteuid().as_raw();
        if own != 0 {
            // What other users have is theirs.
            uids = vec![own];
        }
        let passwd = root.text("etc/passwd").unwrap_or_default();
        uids.into_iter()
            .filter_map(|uid| passwd.lines().find_map(|line| Self::parse(line, uid)))
            .collect()
    }

    /// `name:password:uid:gid:comment:home:shell` (passwd(5)).
    fn parse(line: &str, uid: u32) -> Option<Self> {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, its_uid, gid, _, home, ..] = fields[..] else {
            return None;
        };
        (its_uid.parse() == Ok(uid) && home.starts_with('/')).then_some(Self {
            uid,
            gid: gid.parse().ok()?,
            name: name.to_owned(),
            home: home.trim_end_matches('/').to_owned(),
        })
    }

    /// To read files that this user may have put anywhere.
    pub fn rights(&self) -> FileUser {
        FileUser {
            uid: Uid::from_raw(self.uid),
            gid: Gid::from_raw(self.gid),
            groups: Vec::new(),
        }
    }

    /// Whether a process is this user's: it has the user's own id, or ids that are given to the user (subuid(5)), and no
    /// others.
    pub fn owns(&self, root: &HostRoot, pid: u32) -> bool {
        let status = root
            .kernel_text(&format!("proc/{pid}/status"))
            .unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
        let Some(uids) = line.and_then(|line| {
            let uids = line.split_whitespace().map(|uid| uid.parse().ok());
            uids.collect::<Option<Vec<u32>>>()
        }) else {
            return false;
        };
        let given = self.given_ids(root);
        let is_own = |uid: &u32| *uid == self.uid || given.iter().any(|range| range.contains(uid));
        !uids.is_empty() && uids.iter().all(is_own)
    }

    fn given_ids(&self, root: &HostRoot) -> Vec<std::ops::Range<u32>> {
        let text = root.text("etc/subuid").unwrap_or_default();
        let range = |line: &str| {
            let mut fields = line.trim().split(':');
            let (user, first, count) = (fields.next()?, fields.next()?, fields.next()?);
            let (first, count): (u32, u32) = (first.parse().ok()?, count.parse().ok()?);
            let own = user == self.name || user.parse() == Ok(self.uid);
            // Nobody is given root.
            (own && first > 0).then(|| first..first.saturating_add(count))
        };
        text.lines().filter_map(range).collect()
    }
}
