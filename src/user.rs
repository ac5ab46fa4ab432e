//! The user that a run belongs to: who that is, and what is opened and created with that user's rights.

pub mod capabilities;
pub mod files;

use nix::errno::Errno;
use nix::unistd::{self, Gid, Uid};
use std::ffi::{CString, OsStr, OsString};
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
}
