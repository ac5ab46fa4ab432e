//! Which resolv.conf and hosts a report is about: those that the first process to use the network saw, in its mount
//! namespace and at that time. What the command saw at its start is the second best.

use super::Gathered;
use crate::event::{EventKind, LifecycleChange, ResolverFiles, Task};
use crate::explain::words::task_name;

/// Takes the files out of the events, lets those of the first process count, and says where others saw other ones.
pub fn apply(gathered: &mut Gathered) {
    let mut seen: Vec<(Task, ResolverFiles)> = Vec::new();
    for (_, events) in &mut gathered.traces {
        events.retain_mut(|event| match &mut event.what {
            EventKind::Life(life) => match &mut life.change {
                LifecycleChange::Files(files) => {
                    seen.push((life.task.clone(), std::mem::take(files)));
                    false
                }
                _ => true,
            },
            _ => true,
        });
    }
    let Some(((first, files), others)) = seen.split_first() else {
        return;
    };
    let first = task_name(first);
    let missing = |file: &str| files.warnings.iter().any(|w| w.contains(file));
    let at_start = gathered.resolv_conf.as_ref().map(|(_, text)| text.as_str());
    if at_start != files.resolv_conf.as_deref() && !missing("/resolv.conf:") {
        let path = format!("/etc/resolv.conf of {first}");
        gathered.resolv_conf = files.resolv_conf.as_deref().map(|t| (path, t.to_owned()));
    }
    if !missing("/hosts:") {
        gathered.hosts = files.hosts.as_deref().map(str::to_owned);
    }
    let warned = |(who, files): (&str, &ResolverFiles)| {
        let of = |w: &String| format!("{w} (as {who} sees it)");
        files.warnings.iter().map(of).collect::<Vec<_>>()
    };
    gathered.remarks.extend(warned((&first, files)));
    for (task, other) in others {
        let different: Vec<&str> = [
            ("/etc/resolv.conf", files.resolv_conf != other.resolv_conf),
            (
                "/etc/nsswitch.conf",
                files.nsswitch_conf != other.nsswitch_conf,
            ),
            ("/etc/hosts", files.hosts != other.hosts),
            ("/etc/gai.conf", files.gai_conf != other.gai_conf),
        ]
        .iter()
        .filter(|(_, differs)| *differs)
        .map(|(file, _)| *file)
        .collect();
        if !different.is_empty() {
            gathered.remarks.push(format!(
                "{} saw another {} than {first}, whose files this report is about",
                task_name(task),
                different.join(", ")
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::jsonl;
    use crate::event::{Event, Lifecycle, Location};
    use crate::time::Timestamp;

    fn seen(pid: u32, resolv_conf: Option<&str>, warning: Option<&str>) -> Event {
        let files = ResolverFiles {
            resolv_conf: resolv_conf.map(Into::into),
            warnings: warning.into_iter().map(str::to_owned).collect(),
            ..ResolverFiles::default()
        };
        let task = Task {
            pid: Some(pid),
            tid: Some(pid),
            comm: Some("curl".into()),
        };
        let change = LifecycleChange::Files(Box::new(files));
        Event {
            at: Timestamp(0),
            place: Location::default(),
            what: EventKind::Life(Box::new(Lifecycle { task, change })),
        }
    }

    fn gathered(events: &[Event]) -> Gathered {
        let mut gathered = Gathered {
            resolv_conf: Some(("case/resolv.conf".into(), "nameserver 10.0.0.1\n".into())),
            ..Gathered::default()
        };
        // As they come back from a case.
        let read = |e: &Event| serde_json::from_slice(&jsonl::line(e).unwrap()).unwrap();
        let events = events.iter().map(read).collect();
        gathered.traces.push((jsonl::facts("t", 0), events));
        apply(&mut gathered);
        assert!(gathered.traces[0].1.is_empty());
        gathered
    }

    #[test]
    fn the_first_process_decides_and_others_are_named() {
        let other = gathered(&[
            seen(7, Some("nameserver 10.0.0.2\n"), None),
            seen(8, Some("nameserver 10.0.0.3\n"), None),
        ]);
        let path = "/etc/resolv.conf of curl (7)".to_owned();
        assert_eq!(
            other.resolv_conf,
            Some((path, "nameserver 10.0.0.2\n".into()))
        );
        assert_eq!(
            other.remarks,
            [
                "curl (8) saw another /etc/resolv.conf than curl (7), whose files this report is about"
            ]
        );
        let same = gathered(&[seen(7, Some("nameserver 10.0.0.1\n"), None)]);
        assert_eq!(same.resolv_conf.unwrap().0, "case/resolv.conf");
        assert!(gathered(&[seen(7, None, None)]).resolv_conf.is_none());
        let unread = gathered(&[seen(7, None, Some("/etc/resolv.conf: not a regular file"))]);
        assert!(unread.resolv_conf.is_some());
        assert_eq!(unread.remarks.len(), 1);
    }
}
