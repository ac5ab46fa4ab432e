//! docker: `config.v2.json` of each container.

use super::super::host_root::{HostRoot, Survey};
use super::{ContainerRecord, PodContainer, RecordedProcess, RootlessUser};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    name: Option<String>,
    state: Option<State>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    pid: Option<u32>,
}

/// The daemon's own settings.
#[derive(Deserialize)]
struct Daemon {
    #[serde(rename = "data-root")]
    data_root: Option<String>,
}

/// The containers of the system's daemon and of every user's.
pub fn records(root: &HostRoot, survey: &mut Survey) -> Vec<ContainerRecord> {
    let daemon: Option<Daemon> = survey.json(root, "/etc/docker/daemon.json", None);
    let data_root = daemon.and_then(|daemon| daemon.data_root);
    let data_root = data_root
        .filter(|path| path.starts_with('/'))
        .unwrap_or_else(|| "/var/lib/docker".to_owned());
    let mut places = vec![(data_root, None)];
    for user in RootlessUser::all(root) {
        places.push((format!("{}/.local/share/docker", user.home), Some(user)));
    }
    let mut found = Vec::new();
    for (place, user) in places {
        let rights = user.as_ref().map(RootlessUser::rights);
        let containers = format!("{place}/containers");
        for id in survey.folders(root, &containers, rights.as_ref()) {
            let path = format!("{containers}/{id}/config.v2.json");
            if let Some(config) = survey.json::<Config>(root, &path, rights.as_ref()) {
                found.push(record(id, config, user.clone()));
            }
        }
    }
    found
}

fn record(id: String, config: Config, user: Option<RootlessUser>) -> ContainerRecord {
    let name = config
        .name
        .map(|name| name.trim_start_matches('/').to_owned());
    ContainerRecord {
        id,
        pod: name.as_deref().and_then(PodContainer::parse),
        name,
        runtime: "docker",
        user,
        process: match config.state.and_then(|state| state.pid) {
            None => RecordedProcess::Unknown,
            Some(0) => RecordedProcess::Stopped,
            Some(pid) => RecordedProcess::Is { pid, started: None },
        },
    }
}
