//! What a call returned, by the value in its register.

use crate::event::CallOutcome;
use nix::errno::Errno;
use std::sync::Arc;

/// Errors that never reach a program (linux/errno.h): the kernel starts the call again.
const RESTARTS: [(i64, &str); 4] = [
    (-512, "ERESTARTSYS"),
    (-513, "ERESTARTNOINTR"),
    (-514, "ERESTARTNOHAND"),
    (-516, "ERESTART_RESTARTBLOCK"),
];

/// Whether the call was interrupted and goes on by `restart_syscall`.
pub fn goes_on(result: i64) -> bool {
    result == -516
}

/// What a call returned, by the value in its register.
pub fn outcome(result: i64) -> CallOutcome {
    if !(-4095..0).contains(&result) {
        return CallOutcome::Returned(result);
    }
    if let Some((_, name)) = RESTARTS.iter().find(|(value, _)| *value == result) {
        return CallOutcome::Failed(Arc::from(*name));
    }
    let number = i32::try_from(-result).unwrap_or(0);
    CallOutcome::Failed(match Errno::from_raw(number) {
        Errno::UnknownErrno => format!("E{number}").into(),
        known => format!("{known:?}").into(),
    })
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_have_names() {
        assert_eq!(outcome(7), CallOutcome::Returned(7));
        assert_eq!(outcome(-115), CallOutcome::Failed("EINPROGRESS".into()));
        assert_eq!(outcome(-11), CallOutcome::Failed("EAGAIN".into()));
        assert_eq!(outcome(-512), CallOutcome::Failed("ERESTARTSYS".into()));
        assert_eq!(outcome(-5000), CallOutcome::Returned(-5000));
    }
}
