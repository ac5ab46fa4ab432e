//! podman, buildah and CRI-O: their common storage lists the containers, the runtime's state has the process.

use super::super::host_root::{HostRoot, Survey};
use super::{ContainerRecord, PodContainer, RecordedProcess, RootlessUser, runtime_state};
use serde::Deserialize;

/// Where one user's containers are.
struct Storage {
    /// What stays.
    graph: String,
    /// What a restart of the host clears.
    run: String,
    /// Where crun and runc keep their state.
    runtimes: String,
    user: Option<RootlessUser>,
}

/// The storage's list has these names: containers of `--rm` are volatile.
const LISTS: [&str; 2] = ["containers.json", "volatile-containers.json"];
/// A container's list is in a folder named after the storage driver (`overlay-containers`).
const LIST_FOLDER: &str = "-containers";

#[derive(Deserialize)]
struct Listed {
    id: String,
    #[serde(default)]
    names: Option<Vec<String>>,
}

/// The containers of the system and of every user.
pub fn records(root: &HostRoot, survey: &mut Survey) -> Vec<ContainerRecord> {
    let (graph, run) = configured(root);
    let mut storages = vec![Storage {
        graph,
        run,
        runtimes: "/run".to_owned(),
        user: None,
    }];
    for user in RootlessUser::all(root) {
        storages.push(Storage {
            graph: format!("{}/.local/share/containers/storage", user.home),
            run: format!("/run/user/{}/containers", user.uid),
            runtimes: format!("/run/user/{}", user.uid),
            user: Some(user),
        });
    }
    let mut found = Vec::new();
    for storage in storages {
        found.extend(storage.records(root, survey));
    }
    found
}

/// `graphroot` and `runroot` of storage.conf (containers-storage.conf(5)).
fn configured(root: &HostRoot) -> (String, String) {
    let text = root.text("etc/containers/storage.conf").unwrap_or_default();
    let setting = |key: &str, default: &str| {
        let value = text.lines().find_map(|line| {
            let (name, value) = line.split_once('=')?;
            let value = value.trim().strip_prefix('"')?.split('"').next()?;
            (name.trim() == key && value.starts_with('/')).then(|| value.to_owned())
        });
        value.unwrap_or_else(|| default.to_owned())
    };
    (
        setting("graphroot", "/var/lib/containers/storage"),
        setting("runroot", "/run/containers/storage"),
    )
}

impl Storage {
    fn records(&self, root: &HostRoot, survey: &mut Survey) -> Vec<ContainerRecord> {
        let rights = self.user.as_ref().map(RootlessUser::rights);
        let mut found = Vec::new();
        for place in [&self.graph, &self.run] {
            for folder in survey.folders(root, place, rights.as_ref()) {
                if !folder.ends_with(LIST_FOLDER) {
                    continue;
                }
                for list in LISTS {
                    let path = format!("{place}/{folder}/{list}");
                    let listed: Option<Vec<Listed>> = survey.json(root, &path, rights.as_ref());
                    for container in listed.unwrap_or_default() {
                        found.push(self.record(root, survey, &folder, container));
                    }
                }
            }
        }
        found
    }

    fn record(
        &self,
        root: &HostRoot,
        survey: &mut Survey,
        folder: &str,
        listed: Listed,
    ) -> ContainerRecord {
        let Listed { id, names } = listed;
        let name = names.and_then(|names| names.into_iter().next());
        let pod = name.as_deref().and_then(PodContainer::parse);
        let rights = self.user.as_ref().map(RootlessUser::rights);
        let mut process = RecordedProcess::Unknown;
        if super::is_plain_id(&id) {
            process = runtime_state::of(root, survey, &self.runtimes, &id, rights.as_ref());
            if process == RecordedProcess::Unknown {
                let pidfile = format!("{}/{folder}/{id}/userdata/pidfile", self.run);
                let text = survey.text(root, &pidfile, rights.as_ref());
                if let Some(pid) = text.and_then(|text| text.trim().parse().ok()) {
                    process = RecordedProcess::Is { pid, started: None };
                }
            }
        }
        ContainerRecord {
            id,
            runtime: if pod.is_some() { "CRI-O" } else { "podman" },
            name,
            pod,
            user: self.user.clone(),
            process,
        }
    }
}
