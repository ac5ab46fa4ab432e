//! Which tasks have a lookup or a connect open. Such a task is stopped at every system call until that is over, so
//! that its waits, reads and closes are seen; all other tasks run free.
//!
//! A send that names no address, or names it in memory, is not trapped: it is reported where its task is stopped anyway.
//! So a task is followed a little longer than its lookups last, for the sends alone ([`Attention::Sends`]): from the making
//! of a datagram socket to its first use, and from the last answer for some calls more.

use crate::decode::dns::framing;
use crate::event::dns;
use crate::flow::Endpoint;
use crate::time::{Span, Timestamp};

/// What a watched socket talks to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchedService {
    /// A DNS resolver over UDP.
    Datagrams,
    /// A DNS resolver over TCP: what was sent and received of messages that are not whole yet.
    Stream {
        /// Bytes of an unfinished query.
        sent: Vec<u8>,
        /// Bytes of an unfinished answer.
        received: Vec<u8>,
    },
    /// A name service behind a unix socket.
    Local,
    /// A server whose connect goes on in the background.
    Connect,
}

/// Which calls a socket makes worth reporting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attention {
    /// All calls of its task: an answer is due, or the connect goes on.
    Calls,
    /// No answer is due: sends on it and its close, for so many more calls of its task.
    Sends(u32),
}

/// One socket that makes its task worth watching.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Its descriptor.
    pub fd: i32,
    /// Its identity: the descriptor may mean another socket later.
    pub cookie: u64,
    /// What it talks to.
    pub service: WatchedService,
    /// Queries without an answer: to whom (for unconnected sockets), id.
    pub open: Vec<(Option<Endpoint>, u16)>,
    /// Whether anything was ever sent.
    pub used: bool,
    /// When it was last used.
    pub last: Timestamp,
    /// Which calls it makes worth reporting.
    pub attention: Attention,
}

/// A socket that was connected to a resolver and then not used is a program asking for its own
/// address: soon forgotten.
const UNUSED: Span = Span::seconds(5);
/// Nobody waits longer for one answer: glibc at most 2 × 30 s (resolv.conf(5), `timeout:`), and a
/// black-holed TCP resolver hung for 135 s.
const SILENT: Span = Span::seconds(140);
/// More queries than this on one socket are not told apart.
const OPEN: usize = 64;
/// More sockets than this in one task are not watched: a storm of lookups is no single wait.
const SOCKETS: usize = 256;
/// So many calls of a task are followed for sends alone: glibc makes six between two queries on one socket
/// (`single-request`), getent a dozen between two lookups.
const FOLLOWED: u32 = 24;
/// More connects than this at once are a scan or a crawler, which nobody waits for one by one: it runs free for a while.
const CONNECTS: usize = 8;
/// So does a loop: more connects than this within [`STORM`], whether or not they have ended.
const CONNECTS_BEGUN: u32 = 64;
const STORM: Span = Span::seconds(1);
/// A connect that came up and was not used by the thread that began it is another thread's.
const HANDED_OVER: Span = Span::seconds(1);
/// A query follows its connect at once, unless another thread sends it.
const QUERY_DUE: Span = Span::millis(50);
/// A DNS message over TCP with its length (RFC 1035 section 4.2.2).
const STREAM: usize = 2 + 65_535;

/// The watched sockets of one task.
#[derive(Debug, Default)]
pub struct Watch {
    sockets: Vec<Watched>,
    /// Until when connects are not watched.
    storm: Option<Timestamp>,
    /// How many connects were watched since then.
    begun: (Timestamp, u32),
}

impl Watch {
    /// Whether the task is worth stopping at every call.
    pub fn is_open(&self) -> bool {
        !self.sockets.is_empty()
    }

    /// The watched socket behind a descriptor.
    pub fn find(&mut self, fd: i32) -> Option<&mut Watched> {
        self.sockets.iter_mut().find(|s| s.fd == fd)
    }

    /// Begins to watch a socket, or goes on with it.
    pub fn begin(
        &mut self,
        fd: i32,
        cookie: u64,
        service: WatchedService,
        now: Timestamp,
    ) -> Option<&mut Watched> {
        self.sockets.retain(|s| s.fd != fd || s.cookie == cookie);
        let at = match self.sockets.iter().position(|s| s.fd == fd) {
            Some(at) => at,
            None if self.sockets.len() >= SOCKETS => return None,
            None => {
                self.sockets.push(Watched {
                    fd,
                    cookie,
                    service,
                    open: Vec::new(),
                    used: false,
                    last: now,
                    attention: Attention::Calls,
                });
                self.sockets.len() - 1
            }
        };
        let socket = self.sockets.get_mut(at)?;
        (socket.last, socket.attention) = (now, Attention::Calls);
        Some(socket)
    }

    /// Follows the task to the first use of a datagram socket that it has made.
    pub fn follow_new(&mut self, fd: i32, cookie: u64, now: Timestamp) {
        self.end(fd);
        self.begin(fd, cookie, WatchedService::Datagrams, now);
        self.follow_sends(fd);
    }

    /// No answer is due any more on a socket: the next query may be sent on it.
    pub fn follow_sends(&mut self, fd: i32) {
        if let Some(socket) = self.find(fd) {
            socket.attention = Attention::Sends(FOLLOWED);
        }
    }

    /// What a new thread or process has of its parent's sockets: it may send on them as well.
    pub fn inherited(&self) -> Self {
        let lookups = self.sockets.iter().filter(|s| match s.service {
            WatchedService::Datagrams | WatchedService::Stream { .. } => true,
            WatchedService::Local | WatchedService::Connect => false,
        });
        let sockets = lookups.map(|socket| Watched {
            open: Vec::new(),
            attention: Attention::Sends(FOLLOWED),
            ..socket.clone()
        });
        Self {
            sockets: sockets.collect(),
            ..Self::default()
        }
    }

    /// Whether an answer is due, or a connect goes on.
    pub fn waits(&self) -> bool {
        { self.sockets.iter() }.any(|s| s.attention == Attention::Calls)
    }

    /// The socket behind a descriptor, where only its sends matter.
    pub fn followed_for_sends(&mut self, fd: i32) -> Option<&mut Watched> {
        self.find(fd).filter(|s| s.attention != Attention::Calls)
    }

    /// The task makes another call. Returns the sockets for which it was followed long enough.
    pub fn count_call(&mut self) -> Vec<Watched> {
        for socket in &mut self.sockets {
            if let Attention::Sends(left) = &mut socket.attention {
                *left = left.saturating_sub(1);
            }
        }
        let over = |s: &mut Watched| s.attention == Attention::Sends(0);
        self.sockets.extract_if(.., over).collect()
    }

    /// Begins to watch a connect, unless there are too many of them.
    pub fn begin_connect(&mut self, fd: i32, cookie: u64, now: Timestamp) {
        if self.storm.is_some_and(|until| now < until) {
            return;
        }
        if (now - self.begun.0).abs() > STORM {
            self.begun = (now, 0);
        }
        self.begun.1 += 1;
        if self.begun.1 > CONNECTS_BEGUN {
            self.storm = Some(self.begun.0 + STORM);
        } else if self.connects().count() >= CONNECTS {
            self.sockets
                .retain(|s| s.service != WatchedService::Connect);
            self.storm = Some(now + STORM);
        } else if let Some(socket) = self.begin(fd, cookie, WatchedService::Connect, now) {
            socket.used = true;
        }
    }

    /// Descriptors and identities of the connects that are watched.
    fn connects(&self) -> impl Iterator<Item = (i32, u64)> {
        let connects = self.sockets.iter();
        connects
            .filter(|s| s.service == WatchedService::Connect)
            .map(|s| (s.fd, s.cookie))
    }

    /// Whether a descriptor is a connect that is watched.
    pub fn connects_on(&self, fd: i32) -> bool {
        self.connects().any(|(of, _)| of == fd)
    }

    /// Connects that another thread may have taken over: begun a while ago.
    pub fn old_connects(&self, now: Timestamp) -> Vec<(i32, u64)> {
        let old = |s: &&Watched| s.service == WatchedService::Connect && now - s.last > HANDED_OVER;
        let old = self.sockets.iter().filter(old);
        old.map(|s| (s.fd, s.cookie)).collect()
    }

    /// Sockets that lead to resolvers and that the task has connected and not used: another thread may use them.
    pub fn given_away(&self, now: Timestamp) -> impl Iterator<Item = &Watched> {
        self.sockets.iter().filter(move |s| {
            let asks = matches!(
                s.service,
                WatchedService::Datagrams | WatchedService::Stream { .. }
            );
            asks && !s.used && s.attention == Attention::Calls && now - s.last > QUERY_DUE
        })
    }

    /// The descriptor was closed, or is another socket now.
    pub fn end(&mut self, fd: i32) {
        self.sockets.retain(|s| s.fd != fd);
    }

    /// Takes out everything (an exec, the end).
    pub fn take_all(&mut self) -> Vec<Watched> {
        std::mem::take(&mut self.sockets)
    }

    /// Takes out the sockets that nobody waits for any more. What is followed for its sends costs a task nothing while it
    /// waits, and ends by its count of calls.
    pub fn expire(&mut self, now: Timestamp) -> Vec<Watched> {
        let over = |s: &mut Watched| {
            let patience = if s.used { SILENT } else { UNUSED };
            s.attention == Attention::Calls && now - s.last >= patience
        };
        self.sockets.extract_if(.., over).collect()
    }
}

impl Watched {
    /// Whether its close means something: it carried queries, or may still.
    pub fn used_or_due(&self) -> bool {
        self.used || self.attention == Attention::Calls
    }

    /// Something was sent: queries become open. `bytes` are those of one message, in its whole unless `cut`.
    pub fn sent(
        &mut self,
        to: Option<Endpoint>,
        bytes: &[u8],
        cut: bool,
        now: Timestamp,
    ) -> Vec<dns::Message> {
        (self.used, self.last, self.attention) = (true, now, Attention::Calls);
        let messages = match &mut self.service {
            WatchedService::Datagrams => crate::decode::dns::glimpse(bytes, cut)
                .into_iter()
                .collect(),
            WatchedService::Stream { sent, .. } => whole(sent, bytes, cut),
            WatchedService::Local | WatchedService::Connect => Vec::new(),
        };
        self.expect(to, &messages);
        messages
    }

    /// These queries have no answer yet.
    pub fn expect(&mut self, to: Option<Endpoint>, messages: &[dns::Message]) {
        for query in messages.iter().filter(|m| !m.response) {
            if self.open.len() < OPEN && !self.open.contains(&(to, query.id)) {
                self.open.push((to, query.id));
            }
        }
    }

    /// Something was read: answered queries are no longer open. Returns what it says, and whether it was the
    /// last that the socket was watched for.
    pub fn received(
        &mut self,
        from: Option<Endpoint>,
        bytes: &[u8],
        cut: bool,
        now: Timestamp,
    ) -> (Vec<dns::Message>, bool) {
        self.last = now;
        let messages = match &mut self.service {
            WatchedService::Datagrams => crate::decode::dns::glimpse(bytes, cut)
                .into_iter()
                .collect(),
            WatchedService::Stream { received, .. } => whole(received, bytes, cut),
            WatchedService::Local | WatchedService::Connect => Vec::new(),
        };
        let before = self.open.len();
        for answer in messages.iter().filter(|m| m.response) {
            self.open.retain(|(to, id)| {
                *id != answer.id || (to.is_some() && from.is_some() && *to != from)
            });
        }
        (messages, before > 0 && self.open.is_empty())
    }
}

/// Takes the whole messages out of a stream. Bytes that nobody saw end the reading: what follows them has
/// no known beginning.
fn whole(buffer: &mut Vec<u8>, bytes: &[u8], cut: bool) -> Vec<dns::Message> {
    buffer.extend_from_slice(bytes);
    let mut messages = Vec::new();
    let mut rest = &buffer[..];
    while let Some((message, more)) = framing::split(rest) {
        messages.extend(crate::decode::dns::glimpse(message, false));
        rest = more;
    }
    let read = buffer.len() - rest.len();
    buffer.drain(..read);
    if cut || buffer.len() > STREAM {
        buffer.clear();
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: u16, response: bool) -> Vec<u8> {
        let mut bytes = vec![0; 12];
        bytes[..2].copy_from_slice(&id.to_be_bytes());
        bytes[2] = u8::from(response) << 7;
        bytes[5] = 1;
        bytes.extend(b"\x01a\x00\x00\x01\x00\x01");
        bytes
    }

    #[test]
    fn the_last_answer_ends_the_wait() {
        let mut watch = Watch::default();
        let now = Timestamp(0);
        let socket = watch.begin(3, 77, WatchedService::Datagrams, now).unwrap();
        for id in [1, 2] {
            assert_eq!(socket.sent(None, &message(id, false), false, now).len(), 1);
        }
        assert!(!socket.received(None, &message(9, true), false, now).1);
        assert!(!socket.received(None, &message(1, true), false, now).1);
        assert!(socket.received(None, &message(2, true), false, now).1);
    }

    #[test]
    fn one_resolvers_answer_is_not_anothers() {
        let end = |n: u8| Some(Endpoint::new([10, 0, 0, n].into(), 53));
        let mut watch = Watch::default();
        let socket = watch
            .begin(3, 7, WatchedService::Datagrams, Timestamp(0))
            .unwrap();
        for n in 1..3 {
            socket.sent(end(n), &message(5, false), false, Timestamp(0));
        }
        let answer = message(5, true);
        assert!(!socket.received(end(1), &answer, false, Timestamp(0)).1);
        assert!(socket.received(end(2), &answer, false, Timestamp(0)).1);
    }

    #[test]
    fn a_stream_gives_whole_messages_only() {
        let mut buffer = Vec::new();
        let one = message(4, true);
        let mut bytes = Vec::from(u16::try_from(one.len()).unwrap().to_be_bytes());
        bytes.extend(&one);
        assert!(whole(&mut buffer, &bytes[..2], false).is_empty());
        assert!(whole(&mut buffer, &bytes[2..9], false).is_empty());
        assert_eq!(whole(&mut buffer, &bytes[9..], false)[0].id, 4);
        assert!(buffer.is_empty());
        assert!(whole(&mut buffer, &bytes[..5], true).is_empty());
        assert!(buffer.is_empty(), "unseen bytes end the reading");
    }

    #[test]
    fn a_storm_of_connects_runs_free() {
        let mut watch = Watch::default();
        watch.begin(900, 900, WatchedService::Datagrams, Timestamp(0));
        for fd in 0..8 {
            watch.begin_connect(fd, 7, Timestamp(0));
        }
        assert!(watch.connects_on(7) && !watch.connects_on(900));
        watch.begin_connect(8, 8, Timestamp(0));
        watch.begin_connect(9, 9, Timestamp(0));
        assert!((0..10).all(|fd| !watch.connects_on(fd)));
        assert!(watch.find(900).is_some(), "the lookup is watched on");
        watch.begin_connect(9, 9, Timestamp(0) + Span::seconds(2));
        assert!(watch.connects_on(9));
    }

    #[test]
    fn sends_are_followed_for_a_number_of_calls() {
        let mut watch = Watch::default();
        watch.follow_new(3, 7, Timestamp(0));
        assert!(watch.is_open() && !watch.waits());
        for _ in 1..FOLLOWED {
            assert!(watch.count_call().is_empty());
        }
        let child = watch.inherited();
        assert_eq!(watch.count_call()[0].cookie, 7);
        assert!(!watch.is_open() && child.is_open());
        // A query on it makes it a lookup again, and that ends by its answer alone.
        watch.follow_new(3, 7, Timestamp(0));
        let query = message(1, false);
        watch
            .find(3)
            .unwrap()
            .sent(None, &query, false, Timestamp(0));
        assert!(watch.waits());
        assert!((0..2 * FOLLOWED).all(|_| watch.count_call().is_empty()));
        watch.follow_sends(3);
        assert!(watch.followed_for_sends(3).is_some() && !watch.waits());
        // The task may wait long for its next occasion to ask.
        assert!(watch.expire(Timestamp(0) + Span::seconds(1000)).is_empty());
    }

    #[test]
    fn a_loop_of_connects_runs_free() {
        let mut watch = Watch::default();
        let at = |millis: i64| Timestamp(0) + Span::seconds(5) + Span::millis(millis);
        let mut watched = |millis: i64| {
            watch.begin_connect(3, 7, at(millis));
            let watched = watch.connects_on(3);
            watch.end(3);
            watched
        };
        let loop_of_a_second: Vec<bool> = (0..1000).map(&mut watched).collect();
        assert_eq!(loop_of_a_second.iter().filter(|w| **w).count(), 64);
        assert!(!watched(1000) && watched(1001));
        // Slower ones are watched all.
        assert!((2..102).all(|n| watched(n * 1000)));
    }

    #[test]
    fn nobody_is_watched_for_ever() {
        let mut watch = Watch::default();
        watch.begin(3, 7, WatchedService::Datagrams, Timestamp(0));
        watch
            .begin(4, 8, WatchedService::Local, Timestamp(0))
            .unwrap()
            .used = true;
        assert_eq!(watch.expire(Timestamp(0) + Span::seconds(6)).len(), 1);
        assert!(watch.find(3).is_none() && watch.find(4).is_some());
        assert_eq!(watch.expire(Timestamp(0) + Span::seconds(141)).len(), 1);
        assert!(!watch.is_open());
        // A descriptor that means another socket now is watched anew.
        watch
            .begin(3, 7, WatchedService::Datagrams, Timestamp(0))
            .unwrap()
            .used = true;
        assert!(
            !watch
                .begin(3, 9, WatchedService::Local, Timestamp(0))
                .unwrap()
                .used
        );
    }
}
