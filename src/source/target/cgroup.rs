//! Control groups: which one a process is in, and which processes are in one.

use super::host_root::HostRoot;
use std::collections::BTreeSet;

/// So deep a control group is looked for, and followed.
const MAX_DEPTH: usize = 16;
/// So many control groups are looked at.
const MAX_GROUPS: usize = 1 << 14;
/// So many processes of one control group are told apart.
const MAX_PROCESSES: usize = 1 << 17;

/// Where systemd's hierarchy may be mounted: version 2 alone, version 2 beside version 1 (hybrid), version 1.
const HIERARCHIES: [&str; 3] = [
    "sys/fs/cgroup",
    "sys/fs/cgroup/unified",
    "sys/fs/cgroup/systemd",
];

/// The hierarchies that are mounted.
pub fn hierarchies(root: &HostRoot) -> Vec<&'static str> {
    // The folder around the version 1 hierarchies holds no processes.
    let mounted = |path: &&str| root.exists(&format!("{path}/cgroup.procs"));
    HIERARCHIES.into_iter().filter(mounted).collect()
}

/// One control group, by its folder on the host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ControlGroup {
    folder: String,
}

impl ControlGroup {
    pub fn at(folder: String) -> Self {
        Self { folder }
    }

    pub fn folder(&self) -> &str {
        &self.folder
    }

    /// The processes in it and in the groups below it, as they are now.
    pub fn processes(&self, root: &HostRoot) -> Vec<u32> {
        let mut found = BTreeSet::new();
        let mut open = vec![(self.folder.clone(), 0)];
        let mut looked = 0;
        while let Some((folder, depth)) = open.pop() {
            looked += 1;
            if looked > MAX_GROUPS || found.len() > MAX_PROCESSES {
                break;
            }
            // A group that is gone has none; in a threaded group the list cannot be read, and the group above it has
            // the same processes (cgroup-v2, "Threads").
            let list = root
                .kernel_text(&format!("{folder}/cgroup.procs"))
                .unwrap_or_default();
            // 0 stands for a process that has no number in presyn's own pid namespace.
            found.extend(
                list.lines()
                    .filter_map(|l| l.parse().ok())
                    .filter(|pid: &u32| *pid != 0),
            );
            if depth < MAX_DEPTH {
                let below = root.folders(&folder).unwrap_or_default();
                open.extend(
                    below
                        .iter()
                        .map(|name| (format!("{folder}/{name}"), depth + 1)),
                );
            }
        }
        found.into_iter().collect()
    }
}

/// A line of `/proc/PID/cgroup`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// Where its hierarchy is mounted; more than one place may be.
    mounts: Vec<String>,
    /// The group's path.
    path: String,
}

/// The control groups of a process: version 2 first, then systemd's, then those of the controllers.
pub fn memberships(root: &HostRoot, pid: u32) -> Vec<Membership> {
    let text = root
        .kernel_text(&format!("proc/{pid}/cgroup"))
        .unwrap_or_default();
    let mut found: Vec<(u8, Membership)> = text.lines().filter_map(membership).collect();
    found.sort_by_key(|(order, _)| *order);
    found
        .into_iter()
        .map(|(_, membership)| membership)
        .collect()
}

fn membership(line: &str) -> Option<(u8, Membership)> {
    let mut parts = line.splitn(3, ':');
    let (_number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    let (order, mounts) = match controllers {
        "" => (
            0,
            HIERARCHIES[..2].iter().map(ToString::to_string).collect(),
        ),
        "name=systemd" => (1, vec![HIERARCHIES[2].to_owned()]),
        name => (2, vec![format!("sys/fs/cgroup/{name}")]),
    };
    // Outside of presyn's own cgroup namespace a path begins with `/..` (cgroup_namespaces(7)).
    let inside = path.starts_with('/') && !path.split('/').any(|part| part == "..");
    let path = path.to_owned();
    (inside && !controllers.contains("..")).then_some((order, Membership { mounts, path }))
}

impl Membership {
    /// The container that the group is of: the outermost one, because what is below is made by that container.
    pub fn container(&self) -> Option<ContainerGroup<'_>> {
        let mut end = 0;
        for part in self.path.split_inclusive('/') {
            end += part.len();
            let name = part.trim_end_matches('/');
            if let Some((engine, id)) = container_name(name) {
                let path = self.path[..end].trim_end_matches('/');
                return Some(ContainerGroup { engine, id, path });
            }
        }
        None
    }

    /// The group of a container with this id, where the process is in one.
    pub fn of_container(&self, id: &str) -> Option<&str> {
        let mut end = 0;
        for part in self.path.split_inclusive('/') {
            end += part.len();
            let name = part.trim_end_matches('/');
            let own = name == id;
            if own || container_name(name).is_some_and(|(_, found)| found == id) {
                return Some(self.path[..end].trim_end_matches('/'));
            }
            if container_name(name).is_some() {
                return None;
            }
        }
        None
    }

    /// Whether a user's own service manager decides what is in it.
    pub fn is_users(&self) -> bool {
        self.path.split('/').any(|part| part.starts_with("user@"))
    }

    /// The folder of a group in this hierarchy that holds a process.
    pub fn folder(&self, root: &HostRoot, path: &str, pid: u32) -> Option<ControlGroup> {
        let groups = self.mounts.iter().map(|mount| ControlGroup {
            folder: format!("{mount}{path}"),
        });
        groups
            .into_iter()
            .find(|group| group.processes(root).contains(&pid))
    }
}

/// A container's control group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerGroup<'a> {
    /// As the prefix of its name says, where it has one.
    pub engine: Option<&'static str>,
    /// The container's id.
    pub id: &'a str,
    /// Its path, without what is below it.
    pub path: &'a str,
}

/// The names that engines give: the id alone, `docker-ID.scope`, `libpod-ID.scope`, `slice:cri-containerd:ID`.
fn container_name(name: &str) -> Option<(Option<&'static str>, &str)> {
    let name = name.strip_suffix(".scope").unwrap_or(name);
    let (prefix, id) = match name.rfind(['-', ':']) {
        Some(at) => (&name[..at], &name[at + 1..]),
        None => ("", name),
    };
    if id.len() != 64 || !id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    // The process beside a container that watches it.
    if prefix.ends_with("conmon") {
        return None;
    }
    let engine = match prefix.rsplit(':').next().unwrap_or(prefix) {
        "docker" => Some("docker"),
        "libpod" | "libpod-payload" => Some("podman"),
        "crio" => Some("CRI-O"),
        "cri-containerd" | "nerdctl" => Some("containerd"),
        _ => None,
    };
    Some((engine, id))
}

/// A control group that systemd made for a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitGroup {
    /// The unit's name.
    pub name: String,
    /// Its path in the hierarchy.
    pub path: String,
    /// The user whose service manager made it.
    pub user: Option<String>,
}

/// The units of a hierarchy that have a control group. Slices are entered, and users' service managers; services and
/// scopes are not: what is below them is made by them, containers included.
pub fn units(root: &HostRoot, hierarchy: &str) -> Vec<UnitGroup> {
    let mut found = Vec::new();
    let mut open: Vec<(String, Option<String>, usize)> = vec![(String::new(), None, 0)];
    let mut looked = 0;
    while let Some((path, user, depth)) = open.pop() {
        looked += 1;
        if looked > MAX_GROUPS {
            break;
        }
        let folders = root.folders(&format!("{hierarchy}{path}"));
        for folder in folders.unwrap_or_default() {
            // systemd puts `_` before names that the kernel reserves (cg_escape).
            let name = folder.strip_prefix('_').unwrap_or(&folder);
            if super::unit::kind(name).is_none() {
                continue;
            }
            let path = format!("{path}/{folder}");
            let manager = name
                .strip_prefix("user@")
                .and_then(|rest| rest.strip_suffix(".service"));
            if depth < MAX_DEPTH {
                if let (Some(uid), None) = (manager, &user) {
                    open.push((path.clone(), Some(uid.to_owned()), depth + 1));
                } else if super::unit::kind(name) == Some("slice") {
                    open.push((path.clone(), user.clone(), depth + 1));
                }
            }
            found.push(UnitGroup {
                name: name.to_owned(),
                path,
                user: user.clone(),
            });
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outermost_container_counts() {
        let (outer, inner) = ("a".repeat(64), "b".repeat(64));
        let rows = [
            (
                format!("0::/system.slice/docker-{outer}.scope"),
                Some("docker"),
            ),
            (
                format!("0::/system.slice/docker-{outer}.scope/docker/{inner}"),
                Some("docker"),
            ),
            (format!("5:memory:/docker/{outer}"), None),
            (
                format!("0::/kubepods.slice/pod1.slice/cri-containerd-{outer}.scope/init.scope"),
                Some("containerd"),
            ),
            (
                format!(
                    "0::/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:{outer}"
                ),
                Some("containerd"),
            ),
            (
                format!("0::/web.service/libpod-payload-{outer}"),
                Some("podman"),
            ),
        ];
        for (line, engine) in rows {
            let (_, membership) = membership(&line).unwrap();
            let found = membership.container().unwrap();
            assert_eq!((found.id, found.engine), (outer.as_str(), engine), "{line}");
            assert!(membership.of_container(&outer).is_some(), "{line}");
            assert_eq!(membership.of_container(&inner), None, "{line}");
        }
        for line in [
            format!("0::/machine.slice/libpod-conmon-{outer}.scope"),
            format!("0::/crio-conmon-{outer}.scope"),
            "0::/system.slice/nginx.service".to_owned(),
            format!("0::/docker-{}.scope", "A".repeat(64)),
        ] {
            let (_, membership) = membership(&line).unwrap();
            assert_eq!(membership.container(), None, "{line}");
        }
        assert_eq!(membership("0::/../other"), None);
        assert_eq!(membership("1:../../x:/a"), None);
        assert_eq!(membership("nonsense"), None);
    }
}
