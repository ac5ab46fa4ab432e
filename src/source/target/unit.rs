//! systemd units, by their control groups.

use super::TargetError;
use super::cgroup::{self, ControlGroup, UnitGroup};
use super::error::list;
use super::host_root::HostRoot;
use std::fmt::Write;

/// The kinds of units (systemd.unit(5)).
const KINDS: [&str; 11] = [
    "service",
    "scope",
    "slice",
    "socket",
    "mount",
    "swap",
    "timer",
    "target",
    "path",
    "device",
    "automount",
];

/// Where unit files are (systemd.unit(5)), for units that do not run.
const UNIT_FILES: [&str; 9] = [
    "etc/systemd/system",
    "run/systemd/system",
    "run/systemd/transient",
    "run/systemd/generator",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
    "etc/systemd/user",
    "usr/lib/systemd/user",
];

/// So many units with a similar name are named.
const MAX_SIMILAR: usize = 8;

/// The kind that a unit's name ends with.
pub fn kind(name: &str) -> Option<&'static str> {
    let (before, suffix) = name.rsplit_once('.')?;
    KINDS
        .into_iter()
        .find(|kind| !before.is_empty() && *kind == suffix)
}

/// The unit that a user named, and its control group.
pub fn find(root: &HostRoot, asked: &str) -> Result<UnitGroupFound, TargetError> {
    let hierarchies = cgroup::hierarchies(root);
    if asked.contains('/') {
        return by_path(root, &hierarchies, asked);
    }
    let name = full_name(asked);
    let mut known = Vec::new();
    for hierarchy in &hierarchies {
        let units = cgroup::units(root, hierarchy);
        if let Some(unit) = choose(&units, &name)? {
            let group = ControlGroup::at(format!("{hierarchy}{}", unit.path));
            let name = shown(unit);
            return Ok(UnitGroupFound { name, group });
        }
        if known.is_empty() {
            known = units;
        }
    }
    if let Some(file) = unit_file(root, &name) {
        return Err(TargetError::UnitNotRunning { name, file });
    }
    Err(TargetError::NoUnit {
        similar: similar(&known, asked, &name),
        looked: hierarchies
            .iter()
            .map(|h| root.path(h).display().to_string())
            .collect(),
        name,
    })
}

/// A unit with a control group.
#[derive(Debug)]
pub struct UnitGroupFound {
    /// Its name, for people.
    pub name: String,
    /// Its control group.
    pub group: ControlGroup,
}

/// As systemctl completes a name: `.service` where no kind is given, and `\xNN` for what a name cannot hold
/// (systemd-escape(1)).
fn full_name(asked: &str) -> String {
    let mut name = String::new();
    for byte in asked.bytes() {
        if byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte) {
            name.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(name, "\\x{byte:02x}");
        }
    }
    if kind(&name).is_none() {
        name.push_str(".service");
    }
    name
}

/// The one unit of this name: the system's, or otherwise that of the only user who has one.
fn choose<'a>(units: &'a [UnitGroup], name: &str) -> Result<Option<&'a UnitGroup>, TargetError> {
    let named: Vec<&UnitGroup> = units.iter().filter(|unit| unit.name == name).collect();
    let (system, users): (Vec<&UnitGroup>, Vec<&UnitGroup>) =
        named.into_iter().partition(|unit| unit.user.is_none());
    let candidates = if system.is_empty() { users } else { system };
    if let [] | [_] = candidates[..] {
        if candidates.is_empty() && is_template(name) {
            return instances(units, name);
        }
        return Ok(candidates.first().copied());
    }
    Err(TargetError::Ambiguous {
        what: "unit",
        name: name.to_owned(),
        candidates: candidates.iter().map(|unit| unit.path.clone()).collect(),
    })
}

fn is_template(name: &str) -> bool {
    name.rsplit_once('.')
        .is_some_and(|(stem, _)| stem.ends_with('@'))
}

/// A template is no unit: its instances are.
fn instances<'a>(units: &'a [UnitGroup], name: &str) -> Result<Option<&'a UnitGroup>, TargetError> {
    let (stem, suffix) = name.rsplit_once('.').unwrap_or((name, ""));
    let candidates: Vec<String> = units
        .iter()
        .filter(|unit| unit.name.starts_with(stem) && kind(&unit.name) == Some(suffix))
        .map(shown)
        .collect();
    if candidates.is_empty() {
        return Ok(None);
    }
    Err(TargetError::Template {
        name: name.to_owned(),
        candidates,
    })
}

/// A control group by its path, as `systemd-cgls` and the message about ambiguous names show it.
fn by_path(
    root: &HostRoot,
    hierarchies: &[&str],
    asked: &str,
) -> Result<UnitGroupFound, TargetError> {
    let path = asked.trim_matches('/');
    let plain = !path.is_empty() && path.split('/').all(|p| !matches!(p, "" | "." | ".."));
    let folder = hierarchies
        .iter()
        .map(|hierarchy| format!("{hierarchy}/{path}"))
        .find(|folder| plain && root.exists(&format!("{folder}/cgroup.procs")));
    match folder {
        Some(folder) => Ok(UnitGroupFound {
            name: path.to_owned(),
            group: ControlGroup::at(folder),
        }),
        None => Err(TargetError::NoUnit {
            name: asked.to_owned(),
            looked: hierarchies
                .iter()
                .map(|h| root.path(h).display().to_string())
                .collect(),
            similar: Vec::new(),
        }),
    }
}

fn shown(unit: &UnitGroup) -> String {
    match &unit.user {
        Some(user) => format!("{} (of user {user})", unit.name),
        None => unit.name.clone(),
    }
}

/// The file of a unit that has no control group.
fn unit_file(root: &HostRoot, name: &str) -> Option<String> {
    let (stem, suffix) = name.rsplit_once('.')?;
    let template = stem
        .split_once('@')
        .map(|(template, _)| format!("{template}@.{suffix}"));
    let names = [Some(name.to_owned()), template].into_iter().flatten();
    names
        .flat_map(|name| UNIT_FILES.map(|folder| format!("{folder}/{name}")))
        .find(|path| root.exists(path))
        .map(|path| root.path(&path).display().to_string())
}

/// Units whose name holds what was asked for.
fn similar(units: &[UnitGroup], asked: &str, name: &str) -> Vec<String> {
    let asked = asked.to_lowercase();
    let stem = asked
        .rsplit_once('.')
        .map_or(asked.as_str(), |(stem, _)| stem);
    let mut names: Vec<String> = units
        .iter()
        .filter(|unit| unit.name != name && !stem.is_empty())
        .filter(|unit| unit.name.to_lowercase().contains(stem))
        .map(shown)
        .collect();
    names.dedup();
    list::shorten(&mut names, MAX_SIMILAR);
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed_as_systemctl_does() {
        for (asked, name) in [
            ("nginx", "nginx.service"),
            ("nginx.service", "nginx.service"),
            ("postgresql@15-main", "postgresql@15-main.service"),
            ("org.example.Daemon", "org.example.Daemon.service"),
            ("user-1000.slice", "user-1000.slice"),
            ("dev-disk\\x2dby.mount", "dev-disk\\x2dby.mount"),
            ("a b", "a\\x20b.service"),
            (".service", ".service.service"),
        ] {
            assert_eq!(full_name(asked), name);
        }
    }
}
