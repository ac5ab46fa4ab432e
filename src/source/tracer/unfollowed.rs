//! Sockets whose sends are reported no longer: each is looked at from time to time, so that a packet of it is known to be
//! its own as long as its descriptor refers to it, and no longer.
//!
//! They are few: a socket comes here when its task was not stopped for it any more, or gave it away before its first use.

use super::socket::{SeenSockets, SocketState};
use super::task::Traced;
use super::waiter::Waiters;
use super::watch::{Attention, Watched, WatchedService};
use crate::event::{Fd, FdNote, FollowState, SocketLook, Task};
use crate::time::Timestamp;
use std::collections::HashMap;
use std::sync::Arc;

/// More sockets than this are not looked at: it takes a millisecond, ten times a second.
const MOST: usize = 512;

/// Whose socket it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// It led to a resolver.
    Resolver,
    /// It has not been used.
    Unused,
    /// It was used by a send that was not reported, perhaps for a query.
    Unseen,
    /// It has its port, and is not known to have led to a resolver.
    Elsewhere,
}

/// One of them.
#[derive(Clone, Debug)]
struct UnfollowedSocket {
    pid: u32,
    fd: i32,
    cookie: u64,
    purpose: Purpose,
    note: Arc<FdNote>,
    /// The thread that was seen to wait for it.
    waiter: Option<u32>,
}

impl UnfollowedSocket {
    fn look(&self, state: FollowState) -> SocketLook {
        SocketLook {
            fd: Fd {
                number: self.fd,
                note: Some(self.note.clone()),
            },
            state,
        }
    }
}

/// What was seen, and of whose socket.
pub type Sighting = (Task, SocketLook);

/// All of them.
#[derive(Debug, Default)]
pub struct UnfollowedSockets {
    list: Vec<UnfollowedSocket>,
}

impl UnfollowedSockets {
    /// Whether a socket is one of them.
    pub fn has(&self, pid: u32, watched: &Watched) -> bool {
        let same =
            |s: &UnfollowedSocket| (s.pid, s.fd, s.cookie) == (pid, watched.fd, watched.cookie);
        self.list.iter().any(same)
    }

    /// A task is followed no longer for a socket, or is not the only one that uses it.
    pub fn leave(
        &mut self,
        task: &mut Traced,
        sockets: &mut SeenSockets,
        watched: &Watched,
        ports: &[u16],
    ) -> Vec<Sighting> {
        if matches!(
            watched.service,
            WatchedService::Local | WatchedService::Connect
        ) {
            return Vec::new();
        }
        let failed = sockets.failed_looks();
        let seen = task.look(sockets, watched.fd, true);
        if sockets.failed_looks() > failed {
            return Vec::new();
        }
        let known = seen.filter(|socket| socket.cookie == watched.cookie);
        let to_resolver =
            |socket: SocketState| socket.peer.is_some_and(|p| ports.contains(&p.port));
        let purpose = if watched.used || known.is_some_and(to_resolver) {
            Purpose::Resolver
        } else if known.is_some_and(|socket| socket.local.is_some()) {
            Purpose::Elsewhere
        } else {
            Purpose::Unused
        };
        let note = known.map_or_else(
            || FdNote {
                identity: Some(watched.cookie),
                exact: true,
                ..FdNote::default()
            },
            |socket| socket.note(),
        );
        let unfollowed = UnfollowedSocket {
            pid: task.pid,
            fd: watched.fd,
            cookie: watched.cookie,
            purpose,
            note: Arc::new(note),
            waiter: None,
        };
        let state = match (known, purpose) {
            (None, Purpose::Unused) if watched.attention != Attention::Calls => {
                Some(FollowState::Vanished)
            }
            (None, _) => Some(FollowState::Gone),
            (Some(_), Purpose::Resolver) => Some(FollowState::Unfollowed),
            (Some(_), Purpose::Elsewhere) => Some(FollowState::Bound),
            (Some(_), Purpose::Unused | Purpose::Unseen) => None,
        };
        let mut sightings = Vec::new();
        if let Some(state) = state {
            sightings.push((task.last_task(), unfollowed.look(state)));
        }
        if known.is_some() {
            sightings.extend(self.add(unfollowed));
        }
        sightings
    }

    /// The first use of a socket went to no resolver. It may still be used for one.
    pub fn elsewhere(&mut self, pid: u32, fd: &Fd) -> Option<Sighting> {
        let note = fd.note.clone()?;
        self.add(UnfollowedSocket {
            pid,
            fd: fd.number,
            cookie: note.identity?,
            purpose: Purpose::Elsewhere,
            note,
            waiter: None,
        })
    }

    /// The oldest gives its place to the newest.
    fn add(&mut self, socket: UnfollowedSocket) -> Option<Sighting> {
        let same = |s: &UnfollowedSocket| (s.pid, s.fd) == (socket.pid, socket.fd);
        self.list.retain(|s| !same(s));
        let oldest = (self.list.len() >= MOST).then(|| self.list.remove(0));
        self.list.push(socket);
        oldest.map(|oldest| (process(oldest.pid), oldest.look(FollowState::Gone)))
    }

    /// Looks at all of them.
    pub fn look(
        &mut self,
        tasks: &mut HashMap<u32, Traced>,
        sockets: &mut SeenSockets,
        at: Timestamp,
    ) -> Vec<Sighting> {
        let mut sightings = Vec::new();
        let mut threads = Threads::default();
        self.list.retain_mut(|this| {
            // A process that has ended closed them all.
            let Some(tid) = threads.of(tasks, this.pid).first().copied() else {
                return false;
            };
            let Some(task) = tasks.get_mut(&tid) else {
                return false;
            };
            let failed = sockets.failed_looks();
            let seen = task.look(sockets, this.fd, true);
            match seen.filter(|socket| socket.cookie == this.cookie) {
                None if sockets.failed_looks() > failed => {}
                None => {
                    let state = match this.purpose {
                        Purpose::Unused => FollowState::Vanished,
                        Purpose::Resolver | Purpose::Unseen | Purpose::Elsewhere => {
                            FollowState::Gone
                        }
                    };
                    sightings.push((process(this.pid), this.look(state)));
                    return false;
                }
                Some(socket) if this.purpose == Purpose::Unused && socket.local.is_some() => {
                    this.purpose = Purpose::Unseen;
                    this.note = Arc::new(socket.note());
                    sightings.push((process(this.pid), this.look(FollowState::Bound)));
                }
                Some(_) => {}
            }
            if matches!(this.purpose, Purpose::Resolver | Purpose::Unseen) {
                let waiter = threads.waiters(tasks, this.pid).waiter(this.fd);
                if waiter != this.waiter {
                    this.waiter = waiter;
                    if let Some(thread) = waiter.and_then(|tid| tasks.get_mut(&tid)) {
                        sightings.push((thread.task(at), this.look(FollowState::WaitedFor)));
                    }
                }
            }
            true
        });
        sightings
    }
}

/// A process, of which no thread is meant.
fn process(pid: u32) -> Task {
    Task {
        pid: Some(pid),
        tid: Some(pid),
        comm: None,
    }
}

/// The traced threads of processes, listed once, and what they wait for, asked once.
#[derive(Default)]
struct Threads {
    by_process: HashMap<u32, Vec<u32>>,
    waiters: HashMap<u32, Waiters>,
}

impl Threads {
    fn of(&mut self, tasks: &HashMap<u32, Traced>, pid: u32) -> &[u32] {
        self.by_process.entry(pid).or_insert_with(|| {
            let own = tasks.values().filter(|task| task.pid == pid);
            let mut list: Vec<u32> = own.map(|task| task.tid).collect();
            list.sort_unstable();
            list
        })
    }

    fn waiters(&mut self, tasks: &HashMap<u32, Traced>, pid: u32) -> &Waiters {
        let threads = self.of(tasks, pid).to_vec();
        let asked = self.waiters.entry(pid);
        asked.or_insert_with(|| Waiters::of(pid, &threads))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd;

    struct Table {
        tasks: HashMap<u32, Traced>,
        sockets: SeenSockets,
        unfollowed: UnfollowedSockets,
    }

    impl Table {
        fn new() -> Self {
            let mut sockets = SeenSockets::default();
            let me = std::process::id();
            Self {
                tasks: HashMap::from([(me, Traced::new(me, &mut sockets))]),
                sockets,
                unfollowed: UnfollowedSockets::default(),
            }
        }

        fn leave(&mut self, fd: i32, used: bool) -> Vec<FollowState> {
            let task = self.tasks.get_mut(&std::process::id()).unwrap();
            let cookie = task.look(&mut self.sockets, fd, false).unwrap().cookie;
            task.watch.follow_new(fd, cookie, Timestamp(0));
            let mut watched = task.watch.find(fd).unwrap().clone();
            watched.used = used;
            let left = self
                .unfollowed
                .leave(task, &mut self.sockets, &watched, &[53]);
            left.into_iter().map(|(_, look)| look.state).collect()
        }

        fn look(&mut self) -> Vec<FollowState> {
            let seen = self
                .unfollowed
                .look(&mut self.tasks, &mut self.sockets, Timestamp(0));
            seen.into_iter().map(|(_, look)| look.state).collect()
        }
    }

    /// A datagram socket without a port, as socket(2) makes it.
    fn unbound() -> std::os::fd::OwnedFd {
        use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
        socket(
            AddressFamily::Inet,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC,
            None,
        )
        .unwrap()
    }

    #[test]
    fn a_socket_is_seen_to_be_used_and_to_go() {
        let mut table = Table::new();
        let fd = unbound();
        assert_eq!(table.leave(fd.as_raw_fd(), false), []);
        assert_eq!(table.look(), []);
        let socket = UdpSocket::from(fd);
        socket.send_to(b"x", "127.0.0.1:9").unwrap();
        assert_eq!(table.look(), [FollowState::Bound]);
        assert_eq!(table.look(), []);
        drop(socket);
        assert_eq!(table.look(), [FollowState::Gone]);
        assert_eq!(table.look(), []);
    }

    #[test]
    fn one_that_led_to_a_resolver_is_reported_at_once() {
        let mut table = Table::new();
        let connected = UdpSocket::bind("127.0.0.1:0").unwrap();
        connected.connect("127.0.0.1:53").unwrap();
        let fd = connected.as_raw_fd();
        assert_eq!(table.leave(fd, false), [FollowState::Unfollowed]);
        let (spoken, other) = (UdpSocket::from(unbound()), UdpSocket::from(unbound()));
        assert_eq!(
            table.leave(spoken.as_raw_fd(), true),
            [FollowState::Unfollowed]
        );
        assert_eq!(table.leave(other.as_raw_fd(), false), []);
        // Another socket under the same number is another socket.
        let mut connected = std::os::fd::OwnedFd::from(connected);
        nix::unistd::dup2(&spoken, &mut connected).unwrap();
        assert_eq!(table.look(), [FollowState::Gone]);
        // Of one that nobody saw with a port it is not known whether it was used.
        drop(other);
        assert_eq!(table.look(), [FollowState::Vanished]);
    }

    #[test]
    fn there_is_room_for_so_many() {
        let mut table = Table::new();
        let me = std::process::id();
        let fd = |number: i32| Fd {
            number,
            note: Some(Arc::new(FdNote {
                identity: Some(1),
                ..FdNote::default()
            })),
        };
        let most = i32::try_from(MOST).unwrap();
        assert!((0..most).all(|n| table.unfollowed.elsewhere(me, &fd(1000 + n)).is_none()));
        assert!(
            table.unfollowed.elsewhere(me, &fd(1000)).is_none(),
            "it is there already"
        );
        let pushed_out = table.unfollowed.elsewhere(me, &fd(9)).unwrap().1;
        assert_eq!(
            (pushed_out.fd.number, pushed_out.state),
            (1001, FollowState::Gone)
        );
    }
}
