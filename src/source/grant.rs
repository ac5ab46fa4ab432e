//! The right to capture as a file capability: the commands that grant it to one group, and what a file's mode gives away.
//!
//! Whoever may execute a file with `cap_net_raw` may read every packet of the host, other users' DNS among them. Hence
//! the advice everywhere is a file of root's that only a group may execute, and `presyn check` looks at what is there.

use super::tracer::file_capabilities;
use crate::shell;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Where the advice installs presyn.
const INSTALLED: &str = "/usr/local/bin/presyn";
/// `CAP_NET_RAW` (linux/capability.h): all that a capture needs.
const NET_RAW: u64 = 1 << 13;
/// `S_ISUID` of a set-user-ID file (inode(7)).
const SET_USER_ID: u32 = 0o4000;
/// Execution by others than owner and group.
const BY_OTHERS: u32 = 0o001;

/// What decides who gets a program's rights, and which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileRights {
    /// Owner.
    pub owner: u32,
    /// Permission bits, set-user-ID among them.
    pub mode: u32,
    /// Permitted file capabilities; `None` without any.
    pub capabilities: Option<u64>,
}

/// What is wrong with a program's rights, and the commands that put it right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excess {
    /// What the file gives to whom.
    pub detail: String,
    /// The commands, as one line.
    pub remedy: String,
}

impl FileRights {
    /// Those of a file.
    pub fn of(path: &Path) -> std::io::Result<Self> {
        let facts = fs::metadata(path)?;
        Ok(Self {
            owner: facts.uid(),
            mode: facts.mode(),
            capabilities: file_capabilities(path)?,
        })
    }

    /// What these rights of the program at `path` give to more users than they should.
    pub fn excess(self, path: &Path) -> Option<Excess> {
        let root_by_mode = self.mode & SET_USER_ID != 0 && self.owner == 0;
        let capabilities = self.capabilities.unwrap_or(0);
        let mut wrong = Vec::new();
        if root_by_mode {
            wrong.push("it is set-user-ID root: whoever runs it is root".to_owned());
        }
        if capabilities & !NET_RAW != 0 {
            wrong.push(
                "it has more capabilities than cap_net_raw, the only one that presyn needs".into(),
            );
        }
        if (root_by_mode || capabilities != 0) && self.mode & BY_OTHERS != 0 {
            wrong.push(
                "every local user may execute it, and so read the DNS of all users of this host"
                    .into(),
            );
        }
        if capabilities != 0 && self.owner != 0 {
            wrong.push(format!(
                "user {} owns it and may let others execute it",
                self.owner
            ));
        }
        (!wrong.is_empty()).then(|| Excess {
            detail: wrong.join("; "),
            remedy: restrict(path),
        })
    }
}

/// The commands that let a group capture with this program: a copy of root's that only the group may execute.
pub fn commands(program: &Path) -> String {
    if program == Path::new(INSTALLED) {
        return format!("{} && {}", GROUP, restrict(program));
    }
    format!(
        "{GROUP} && sudo install -o root -g presyn -m 0750 {} {INSTALLED} && sudo setcap cap_net_raw+ep {INSTALLED}",
        shell::path(&program.to_string_lossy())
    )
}

/// Makes the group, if it is not there, and its first member.
const GROUP: &str = "sudo groupadd -f -r presyn && sudo usermod -a -G presyn \"$USER\"";

/// The commands that leave a program at its place and take it from all but root and the group. chown(1) removes
/// capabilities and set-user-ID bits, hence the order.
fn restrict(path: &Path) -> String {
    let path = path.to_string_lossy();
    let path = shell::path(&path);
    format!(
        "sudo chown root:presyn {path} && sudo chmod 0750 {path} && sudo setcap cap_net_raw+ep {path}"
    )
}

/// How to get the right to capture here, for the program that runs.
pub fn advice() -> String {
    if may_never_capture() {
        return "start the container with --cap-add NET_RAW".into();
    }
    match std::env::current_exe() {
        Ok(program) => format!("{}, then log in again", commands(&program)),
        Err(_) => "sudo presyn run -- CMD".into(),
    }
}

/// No program can get `CAP_NET_RAW` where the bounding set lacks it (capabilities(7)), as in most containers.
fn may_never_capture() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bounding = status.lines().find_map(|l| l.strip_prefix("CapBnd:"));
    bounding
        .and_then(|b| u64::from_str_radix(b.trim(), 16).ok())
        .is_some_and(|b| b & NET_RAW == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights(owner: u32, mode: u32, capabilities: Option<u64>) -> Option<Excess> {
        let rights = FileRights {
            owner,
            mode,
            capabilities,
        };
        rights.excess(Path::new("/opt/it's/presyn"))
    }

    #[test]
    fn only_a_groups_file_of_root_is_right() {
        assert_eq!(rights(0, 0o100_750, Some(NET_RAW)), None);
        assert_eq!(rights(1000, 0o100_755, None), None);
        let said = |owner, mode, capabilities| rights(owner, mode, capabilities).unwrap().detail;
        assert!(said(0, 0o100_755, Some(NET_RAW)).contains("every local user"));
        assert!(said(0, 0o104_755, None).contains("set-user-ID root"));
        assert!(said(0, 0o100_750, Some(NET_RAW | 1 << 19)).contains("more capabilities"));
        assert!(said(1000, 0o100_750, Some(NET_RAW)).contains("user 1000 owns it"));
    }

    #[test]
    fn commands_survive_any_path() {
        let restrict = rights(0, 0o100_755, Some(NET_RAW)).unwrap().remedy;
        assert!(
            restrict.ends_with("setcap cap_net_raw+ep '/opt/it'\\''s/presyn'"),
            "{restrict}"
        );
        let copy = commands(Path::new("/home/a b/presyn"));
        assert!(
            copy.contains(
                "install -o root -g presyn -m 0750 '/home/a b/presyn' /usr/local/bin/presyn"
            ),
            "{copy}"
        );
        // install(1) refuses to copy a file onto itself.
        assert!(!commands(Path::new(INSTALLED)).contains("install"));
    }
}
