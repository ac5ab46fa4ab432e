//! What presyn had to forbid or could not see in a run: warnings of its report, and of the case that it saves.

use crate::event::Task;
use crate::render::safe::escape;
use crate::source::tracer::{Gains, Refusal};
use nix::errno::Errno;

/// A program did not get the rights that its file grants.
pub fn withheld(task: &Task, gains: Gains) -> String {
    let name = task.comm.as_deref().map_or("a program".into(), escape);
    let pid = task.pid.map_or_else(String::new, |pid| format!(" ({pid})"));
    format!(
        "{name}{pid} did not get the rights of {gains}: programs gain no rights while presyn traces an ordinary user's \
         command; `sudo presyn run --allow-setuid` permits it, --no-trace does not prevent it"
    )
}

/// What a full descriptor table of presyn's cost, if anything.
pub fn out_of_descriptors(failed: u64, limit: Result<u64, Errno>) -> Option<String> {
    let limit = match limit {
        Ok(limit) => format!("its hard limit is {limit}"),
        Err(error) => format!("its limit could not be raised: {}", error.desc()),
    };
    let times = if failed == 1 { "time" } else { "times" };
    (failed > 0).then(|| {
        format!(
            "presyn had no file descriptor left and failed to look at a socket or thread {failed} {times} ({limit}): \
             calls lack their socket, and threads may be listed as processes; raise the limit with `ulimit -Hn` or \
             LimitNOFILE="
        )
    })
}

/// A process joined the target while it was traced, and could not be traced itself.
pub fn joined_untraced(refusal: &Refusal) -> String {
    let refusal = refusal.to_string();
    format!(
        "calls are missing of a process that joined the target while it was traced: {}",
        escape(&refusal)
    )
}

/// Threads that did not stop at the end, if there are any.
pub fn not_detached(threads: &[u32]) -> Option<String> {
    let first = threads.first()?;
    let more = match threads.len() {
        1 => String::new(),
        n => format!(" and {} more", n - 1),
    };
    Some(format!(
        "thread {first}{more} did not stop within 5 s, being in a call that cannot be interrupted, and stayed traced until \
         presyn ended"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remarks_name_what_is_missing() {
        let gains = Gains {
            user: Some(0),
            ..Gains::default()
        };
        let task = Task {
            pid: Some(7),
            tid: Some(7),
            comm: Some("su\u{1b}[2J".into()),
        };
        let remark = withheld(&task, gains);
        assert!(!remark.contains('\u{1b}'), "{remark}");
        assert!(remark.contains("(7) did not get the rights of root (its set-user-ID bit)"));
        assert_eq!(out_of_descriptors(0, Ok(1024)), None);
        let full = out_of_descriptors(2, Ok(64)).unwrap();
        assert!(full.contains("2 times (its hard limit is 64)"), "{full}");
    }
}
