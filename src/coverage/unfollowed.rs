//! Sends that no call shows: presyn lets them run on, and reports those of threads alone that it follows.

use crate::event::{Event, EventKind, FollowState, LifecycleChange, Op};
use crate::input::TraceFacts;
use crate::time::{Span, Timestamp};

/// More sockets than this at once are not told apart: then some socket is always among them.
const MOST: usize = 10_000;

/// A socket that led to a resolver, while its sends were not reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Unfollowed {
    identity: u64,
    pid: Option<u32>,
    from: Timestamp,
    until: Option<Timestamp>,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(super) struct UnfollowedSends {
    /// Some trace shows sends of those threads alone that were followed for them.
    lacks_sends: bool,
    list: Vec<Unfollowed>,
    /// When sockets vanished of which no port is known.
    vanished: Vec<Timestamp>,
}

/// A socket that vanished without a port was looked at so long ago (ten times a second, later on a busy machine).
const LOOKED_AT: Span = Span::millis(250);

impl UnfollowedSends {
    pub fn of(traces: &[TraceFacts], events: &[Event]) -> Self {
        let mut this = Self {
            lacks_sends: traces.iter().any(|t| t.sees.followed_sends_only),
            list: Vec::new(),
            vanished: Vec::new(),
        };
        if this.lacks_sends {
            for event in events {
                this.note(event);
            }
        }
        this
    }

    fn note(&mut self, event: &Event) {
        match &event.what {
            EventKind::Life(life) => match &life.change {
                LifecycleChange::Socket(look) => {
                    if look.state == FollowState::Vanished && self.vanished.len() < MOST {
                        self.vanished.push(event.at);
                    }
                    let Some(identity) = look.fd.note.as_ref().and_then(|n| n.identity) else {
                        return;
                    };
                    match look.state {
                        FollowState::Unfollowed if self.list.len() < MOST => {
                            self.list.push(Unfollowed {
                                identity,
                                pid: life.task.pid,
                                from: event.at,
                                until: None,
                            });
                        }
                        FollowState::Gone | FollowState::Vanished => self.end(event.at, |s| {
                            s.identity == identity && s.pid == life.task.pid
                        }),
                        FollowState::Unfollowed | FollowState::Bound | FollowState::WaitedFor => {}
                    }
                }
                LifecycleChange::Exited(_) | LifecycleChange::Killed(_)
                    if life.task.pid == life.task.tid =>
                {
                    self.end(event.at, |s| s.pid == life.task.pid);
                }
                _ => {}
            },
            EventKind::Call(call) => {
                if let Op::Close { fd } = &call.op
                    && let Some(identity) = fd.note.as_ref().and_then(|n| n.identity)
                {
                    let pid = call.task.pid;
                    self.end(event.at, |s| s.identity == identity && s.pid == pid);
                }
            }
            EventKind::Packet(_) | EventKind::Stack(_) | EventKind::Owner(_) => {}
        }
    }

    fn end(&mut self, at: Timestamp, test: impl Fn(&Unfollowed) -> bool) {
        for socket in &mut self.list {
            if socket.until.is_none() && test(socket) {
                socket.until = Some(at);
            }
        }
    }

    /// How many there were between two moments, of a process or of all.
    pub fn sockets(&self, pid: Option<u32>, from: Timestamp, until: Timestamp) -> usize {
        let then = self.list.iter().filter(|s| {
            let own = pid.is_none() || s.pid == pid;
            own && s.from < until && s.until.is_none_or(|at| at > from)
        });
        then.count()
    }

    /// Whether a datagram may be that of a traced socket whose port nobody knows.
    pub fn may_own(&self, at: Timestamp) -> bool {
        let next = self.vanished.partition_point(|gone| *gone < at);
        self.vanished
            .get(next)
            .is_some_and(|gone| *gone - at <= LOOKED_AT)
    }

    /// Whether some trace lacks sends.
    pub fn lacks_sends(&self) -> bool {
        self.lacks_sends
    }
}
