//! What each input could have shown.
//!
//! Absence of evidence is not evidence of absence. Every negative claim asks [`Coverage::would_show`]: *had this packet
//! been there, would an input hold it?* Only a yes gives an [`Absence`], the witness without which the claim cannot be
//! written down; a no is [`Blind`], with its reason in words.
//!
//! Pure. Nothing outside this module makes an [`Absence`]:
//!
//! ```compile_fail
//! let forged = presyn::coverage::Absence { witness: presyn::coverage::Witness::Trace };
//! ```
//! ```compile_fail
//! let forged = presyn::coverage::Absence::default();
//! ```
//! ```compile_fail
//! fn twice(witness: &presyn::coverage::Absence) -> presyn::coverage::Absence { witness.clone() }
//! ```

mod unfollowed;
mod view;

use crate::event::Event;
use crate::input::drops::DropTimes;
use crate::input::{CaptureFacts, TraceFacts};
use crate::time::{Span, Timestamp};
use crate::totals::forgotten::Forgotten;
use std::net::IpAddr;
use unfollowed::UnfollowedSends;
use view::CaptureView;

/// A packet that somebody looks for in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// What kind of packet.
    pub kind: ClaimKind,
    /// Who would have sent it, where that is known.
    pub from: Option<IpAddr>,
    /// To whom.
    pub to: Option<IpAddr>,
    /// Cookie of the network namespace of its socket, where a trace tells.
    pub netns: Option<u64>,
}

impl Wanted {
    /// The client's address: whose query or SYN it is, or whom the answer was due to.
    fn client(&self) -> Option<IpAddr> {
        match self.kind {
            ClaimKind::Query | ClaimKind::Syn => self.from,
            ClaimKind::Response | ClaimKind::SynAnswer | ClaimKind::Reply => self.to,
        }
    }
}

/// Kinds of packet that negative claims are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimKind {
    /// A DNS query.
    Query,
    /// A DNS response, or the ICMP error instead of it.
    Response,
    /// A SYN.
    Syn,
    /// What answers a SYN: SYN-ACK, RST or an ICMP error.
    SynAnswer,
    /// What answers a request by ARP, ND, a multicast name service or QUIC.
    Reply,
}

impl ClaimKind {
    fn is_dns(self) -> bool {
        matches!(self, Self::Query | Self::Response)
    }
}

/// The witness of a negative claim: an input that would have shown what is not in it.
///
/// Made by [`Coverage`] alone; neither copied nor invented nor read from a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Absence {
    witness: Witness,
}

impl Absence {
    /// Which input vouches for it.
    pub fn witness(&self) -> Witness {
        self.witness
    }
}

/// The input that vouches for an absence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Witness {
    /// A capture, by its position among the inputs.
    Capture(u16),
    /// The calls of a trace: the client waited, and nothing came.
    Trace,
}

/// Why an absence proves nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blind {
    /// There is no capture.
    NoCapture,
    /// The capture holds no DNS packet at all.
    NoDns,
    /// The capture holds no SYN at all.
    NoSyns,
    /// Nothing that was sent to this host is in the capture, although something must have come.
    OneDirection(IpAddr),
    /// The user's filter may have hidden it.
    Filter(String),
    /// Packets were dropped while capturing, nobody knows when.
    Dropped(u64),
    /// Packets were dropped at that time.
    DroppedThen(u64),
    /// Packets were captured and not kept, for want of space.
    NotKept(u64),
    /// Connection attempts were evicted, for want of space, and are forgotten.
    Forgotten(u64),
    /// Queries were evicted, for want of space, and are forgotten.
    ForgottenQueries,
    /// So many queries and connection attempts of that time are unattributed: they may be the client's.
    Unattributed(u64),
    /// The capture began later, or had ended before.
    OtherTime,
    /// The capture is damaged or cut off, and nothing after this is in it.
    CutOff,
    /// The socket is in another network namespace than the capture.
    OtherNamespace,
    /// Calls show what the capture lacks: answers that they received, connections that came up.
    ProvenWrong,
    /// Nobody can tell whether the capture and the trace are of one run.
    TwoRuns,
    /// Packets on the loopback interface are not in the capture.
    Loopback,
    /// Packets that may hold it could not be read: kind and number.
    Unread(String, u64),
    /// The trace shows no call that waits or receives, and the client did nothing that shows an end of its waiting.
    NoWaits,
    /// The client did not wait for as long as any stub resolver does.
    TooShort,
    /// The client did not ask again: what answered it may be missing.
    NotRepeated,
    /// So much time passed that no input explains.
    Unexplained(Span),
    /// The inputs may have begun when the client had waited already.
    Before,
    /// The trace may end before what the client did next.
    After,
    /// The trace has no times.
    NoTimes,
    /// Lines of the log with a `connect` in them could not be read.
    UnreadCalls(u64),
    /// Addresses in the log were made unreadable.
    UnreadableAddresses(u64),
    /// Sends on so many sockets that led to resolvers were not reported at that time: the trace shows those of threads
    /// alone that were followed for them, and packets show those alone that left.
    UnfollowedSends(usize),
    /// Nothing may be concluded from any absence (see [`Trust::Nothing`]).
    Untrusted,
}

impl Blind {
    /// Whether the reason is that packets may be missing from a capture, rather than that nothing was due yet.
    pub fn hides_packets(&self) -> bool {
        !matches!(
            self,
            Self::NoCapture
                | Self::OtherTime
                | Self::CutOff
                | Self::NoWaits
                | Self::TooShort
                | Self::NoTimes
        )
    }
}

/// How far absences are believed. Anything but [`Trust::Judged`] is for proofs that every negative claim asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// As the inputs allow.
    #[default]
    Judged,
    /// Nothing is ever absent.
    Nothing,
    /// Whatever is not there was not there.
    Everything,
}

/// What all inputs of a case could have shown.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    trust: Trust,
    views: Vec<CaptureView>,
    traced: bool,
    waits: bool,
    /// Nobody can tell whether captures and traces are of one run.
    assumed: bool,
    /// What the traces hide, whatever it is.
    unread: Option<Blind>,
    /// What was evicted, and more of it may come.
    forgotten: Forgotten,
    /// Sockets whose sends no call shows.
    unfollowed: UnfollowedSends,
    /// When queries and SYNs left that may be a watched process's or another's.
    unattributed: DropTimes,
}

/// How the time that a client spent on a query shows in its calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitEvidence {
    /// How long it waited.
    pub waited: Span,
    /// Whether it gave up: asked again, asked another, or its last wait timed out. A wait that ended for something that
    /// came is none; `None` where its waits are not seen.
    pub gave_up: Option<bool>,
}

/// Half a second is less than the shortest timeout of a stub resolver (1 s).
const SHORTEST_WAIT: Span = Span::millis(500);

/// By so much clocks and timers may differ from a stub resolver's timetable.
const TIMER_SLACK: Span = Span::millis(200);

/// How a client's wait for an answer ended, as far as the inputs show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitEnd {
    /// Something else ended it: another resolver's answer, or something that was read and that no call shows.
    Elsewhere,
    /// The client is not seen to end it: the inputs end, or hold nothing more of it.
    Unseen,
    /// The same, and the client did not ask again, as every stub resolver does that has no answer.
    NotRepeated,
    /// By what the client did.
    Seen,
}

/// What is known of an account beside its entries.
#[derive(Clone, Copy, Debug)]
pub struct AccountFacts {
    /// Its time that nothing explains.
    pub unexplained: Span,
    /// The inputs began before it did, long enough to hold all of it.
    pub whole: bool,
    /// The inputs hold what the client did after it.
    pub goes_on: bool,
}

/// What a client asked so long before may be what it waited for: four rounds over three resolvers, and then some.
const LONGEST_LOOKUP: Span = Span::seconds(60);

/// Delays below this are nobody's complaint.
pub const QUICK: Span = Span::millis(500);

impl Coverage {
    /// Looks through the inputs. `own` captures are presyn's own, of all that the command's network namespace sends.
    pub fn of(
        captures: &[CaptureFacts],
        traces: &[TraceFacts],
        events: &[Event],
        (own, dns_ports): (bool, &[u16]),
    ) -> Self {
        let views = captures.iter().map(|facts| CaptureView::new(facts, own));
        let mut views: Vec<CaptureView> = views.collect();
        view::look(&mut views, events, dns_ports);
        if !traces.is_empty() && !views.is_empty() {
            view::hold_against_calls(&mut views, events, dns_ports);
        }
        Self {
            trust: Trust::Judged,
            views,
            assumed: false,
            traced: !traces.is_empty(),
            unread: traces.iter().find_map(unread),
            forgotten: Forgotten::default(),
            unfollowed: UnfollowedSends::of(traces, events),
            unattributed: DropTimes::default(),
            waits: traces.iter().any(TraceFacts::sees_waits),
        }
    }

    /// The same, believed to another degree.
    #[must_use]
    pub fn trusted(self, trust: Trust) -> Self {
        Self { trust, ..self }
    }

    /// The same, where nobody can tell whether captures and traces are of one run: no capture vouches for what calls sent.
    #[must_use]
    pub fn assumed(self, assumed: bool) -> Self {
        Self { assumed, ..self }
    }

    /// The same, where of some connection attempts and queries nothing is remembered any more.
    #[must_use]
    pub fn forgetting(self, forgotten: &Forgotten) -> Self {
        let forgotten = forgotten.clone();
        Self { forgotten, ..self }
    }

    /// The same, where of queries and SYNs of these times nobody can say whose they are.
    #[must_use]
    pub fn unattributed(self, unattributed: DropTimes) -> Self {
        Self {
            unattributed,
            ..self
        }
    }

    /// Whether all queries and connection attempts between two moments are known to be somebody's.
    ///
    /// # Errors
    /// Some are not: the client may have sent them.
    pub fn attributes_all(&self, from: Timestamp, until: Timestamp) -> Result<(), Blind> {
        match self.unattributed.within(from, until) {
            Some(_) if self.trust == Trust::Everything => Ok(()),
            Some(packets) => Err(Blind::Unattributed(packets)),
            None => Ok(()),
        }
    }

    /// Whether a SYN of this time that no call explains begins an attempt of its own.
    ///
    /// # Errors
    /// It may be a part of an attempt that is forgotten.
    pub fn shows_attempt(&self, at: Timestamp) -> Result<(), Blind> {
        match self.forgotten.attempts_at(at) {
            Some(_) if self.trust == Trust::Everything => Ok(()),
            Some(attempts) => Err(Blind::Forgotten(attempts)),
            None => Ok(()),
        }
    }

    /// Whether a response of this time that answers no query has none.
    ///
    /// # Errors
    /// It may answer a query that is forgotten.
    pub fn shows_query_of(&self, at: Timestamp) -> Result<(), Blind> {
        if self.forgotten.may_answer(at) && self.trust != Trust::Everything {
            Err(Blind::ForgottenQueries)
        } else {
            Ok(())
        }
    }

    /// Whether a client sent no query between two moments but those that its calls and packets show.
    ///
    /// # Errors
    /// Sends on its sockets were not reported then: one that left no packet is nowhere.
    pub fn shows_sends(
        &self,
        pid: Option<u32>,
        from: Timestamp,
        until: Timestamp,
    ) -> Result<(), Blind> {
        match self.trust {
            Trust::Nothing => Err(Blind::Untrusted),
            Trust::Everything => Ok(()),
            Trust::Judged => match self.unfollowed.sockets(pid, from, until) {
                0 => Ok(()),
                sockets => Err(Blind::UnfollowedSends(sockets)),
            },
        }
    }

    /// Whether a query of this time that no traced socket sent is another process's.
    ///
    /// # Errors
    /// A traced socket was closed soon after it, and whether that had the query's port is not known.
    pub fn shows_owner(&self, at: Timestamp) -> Result<(), Blind> {
        if self.trust != Trust::Everything && self.unfollowed.may_own(at) {
            Err(Blind::UnfollowedSends(1))
        } else {
            Ok(())
        }
    }

    /// Whether a connect to a resolver that no send followed was made for a query, which never left: whoever connects
    /// asks, and the trace shows no payloads at all.
    ///
    /// # Errors
    /// The trace shows payloads, where it follows the thread that sends them: another may have sent something, or nobody.
    pub fn shows_unsent(&self) -> Result<(), Blind> {
        match self.trust {
            Trust::Nothing => Err(Blind::Untrusted),
            Trust::Judged if self.unfollowed.lacks_sends() => Err(Blind::UnfollowedSends(1)),
            Trust::Judged | Trust::Everything => Ok(()),
        }
    }

    /// Whether nobody can tell that captures and traces are of one run.
    pub fn is_assumed(&self) -> bool {
        self.assumed
    }

    /// Whether a packet that no capture holds was not there.
    ///
    /// # Errors
    /// Why nobody can tell: the reason of the capture that comes nearest.
    pub fn would_show(
        &self,
        wanted: Wanted,
        from: Timestamp,
        until: Timestamp,
    ) -> Result<Absence, Blind> {
        match self.trust {
            Trust::Nothing => return Err(Blind::Untrusted),
            Trust::Everything => return Ok(self.vouched()),
            Trust::Judged => {}
        }
        if self.assumed && matches!(wanted.kind, ClaimKind::Query | ClaimKind::Syn) {
            return Err(Blind::TwoRuns);
        }
        if self.unread == Some(Blind::NoTimes)
            && matches!(wanted.kind, ClaimKind::Query | ClaimKind::Syn)
        {
            return Err(Blind::NoTimes);
        }
        let forgotten = self.forgotten.attempts_of(from, until);
        if let (ClaimKind::Syn, Some(attempts)) = (wanted.kind, forgotten) {
            return Err(Blind::Forgotten(attempts));
        }
        if matches!(wanted.kind, ClaimKind::Query | ClaimKind::Syn) {
            self.attributes_all(from, until)?;
        }
        let mut reason = Blind::NoCapture;
        for view in &self.views {
            match view.blind(wanted, from, until) {
                None => {
                    let witness = Witness::Capture(view.input);
                    return Ok(Absence { witness });
                }
                Some(blind) => reason = blind,
            }
        }
        Err(reason)
    }

    /// Whether a client's own calls show that no answer reached it.
    ///
    /// # Errors
    /// Why they do not.
    pub fn waited_in_vain(&self, patience: WaitEvidence) -> Result<Absence, Blind> {
        let witness = Witness::Trace;
        match self.trust {
            Trust::Nothing => Err(Blind::Untrusted),
            Trust::Everything => Ok(Absence { witness }),
            Trust::Judged if patience.waited < SHORTEST_WAIT => Err(Blind::TooShort),
            Trust::Judged if patience.gave_up.unwrap_or(self.waits) => Ok(Absence { witness }),
            Trust::Judged => Err(Blind::NoWaits),
        }
    }

    /// Whether an answer was due when the client's wait ended: whoever waited for as long as a stub resolver does has been
    /// left unanswered.
    ///
    /// # Errors
    /// Nobody can say what became of the query.
    pub fn was_due(&self, waited: Span, end: WaitEnd, patience: Span) -> Result<(), Blind> {
        let least = match (self.trust, end) {
            (Trust::Nothing, _) => return Err(Blind::Untrusted),
            (Trust::Everything, _) => return Ok(()),
            (Trust::Judged, WaitEnd::Elsewhere) => return Err(Blind::TooShort),
            (Trust::Judged, WaitEnd::Unseen) => patience - TIMER_SLACK,
            (Trust::Judged, WaitEnd::NotRepeated) => return Err(Blind::NotRepeated),
            (Trust::Judged, WaitEnd::Seen) => SHORTEST_WAIT,
        };
        if waited < least {
            Err(Blind::TooShort)
        } else {
            Ok(())
        }
    }

    /// Whether a client that did nothing more had given up by the end of the inputs. `due` is when it would have done
    /// something, had it not.
    pub fn shows_giving_up(&self, due: Timestamp, end: Timestamp) -> bool {
        self.believes(end > due)
    }

    /// Whether a client's own end of something counts: `seen` says that the inputs go on after it.
    pub fn shows_end(&self, seen: bool) -> bool {
        self.believes(seen)
    }

    /// Whether all that the inputs show of a host is one program's, and no other ran on it: `traced` says that a trace shows
    /// whose it is.
    pub fn shows_one_program(&self, traced: bool) -> bool {
        self.believes(traced)
    }

    /// Whether nothing came back for a SYN: `bare` says that no segment did that answers it without completing the
    /// connection.
    pub fn shows_no_reply(&self, bare: bool) -> bool {
        self.believes(bare)
    }

    /// Whether a response without records denies them: `authoritative` says that it names no other servers to ask.
    pub fn shows_denial(&self, authoritative: bool) -> bool {
        self.believes(authoritative)
    }

    /// Whether nothing follows what is there of a name: `whole` says that it was not cut.
    pub fn shows_whole_name(&self, whole: bool) -> bool {
        self.believes(whole)
    }

    /// Whether a lookup was for a connection, so that one was due after it: `by_client` says that no server asked for
    /// the name of its client.
    pub fn shows_connection_due(&self, by_client: bool) -> bool {
        self.believes(by_client)
    }

    /// Whether the condition of a negative claim counts as met.
    fn believes(&self, judged: bool) -> bool {
        match self.trust {
            Trust::Nothing => false,
            Trust::Everything => true,
            Trust::Judged => judged,
        }
    }

    /// Whether the inputs show when a client began: a trace does, and a capture begins when it begins.
    pub fn shows_start(&self, traced: bool) -> bool {
        traced || self.trust == Trust::Everything
    }

    /// Whether nothing at all that could have delayed the client is hidden from the inputs between two moments.
    ///
    /// # Errors
    /// What may be hidden.
    pub fn shows_everything(
        &self,
        story: AccountFacts,
        from: Timestamp,
        until: Timestamp,
    ) -> Result<Absence, Blind> {
        match self.trust {
            Trust::Nothing => return Err(Blind::Untrusted),
            Trust::Everything => return Ok(self.vouched()),
            Trust::Judged => {}
        }
        if story.unexplained >= QUICK {
            return Err(Blind::Unexplained(story.unexplained));
        }
        if !story.whole {
            return Err(Blind::Before);
        }
        if !story.goes_on {
            return Err(Blind::After);
        }
        if let Some(unread) = &self.unread {
            return Err(unread.clone());
        }
        self.shows_sends(None, from, until)?;
        self.attributes_all(from - LONGEST_LOOKUP, until)?;
        let alone = !self.traced;
        // A traced program takes its time to start before its first packet: less than a delay can hide there.
        let first = if alone { from } else { until.min(from + QUICK) };
        let holes = self.views.iter().find_map(|v| {
            let no_dns = || v.lacks_dns().filter(|_| alone);
            v.hole(first, until).or_else(no_dns)
        });
        match (holes, self.views.first()) {
            (Some(blind), _) => Err(blind),
            (None, Some(view)) => Ok(Absence {
                witness: Witness::Capture(view.input),
            }),
            (None, None) if self.waits => Ok(Absence {
                witness: Witness::Trace,
            }),
            (None, None) => Err(Blind::NoWaits),
        }
    }

    fn vouched(&self) -> Absence {
        let witness = match self.views.first() {
            Some(view) => Witness::Capture(view.input),
            None => Witness::Trace,
        };
        Absence { witness }
    }
}

/// What a trace hides, whatever one looks for.
fn unread(trace: &TraceFacts) -> Option<Blind> {
    if !trace.clock.has_times() {
        Some(Blind::NoTimes)
    } else if trace.unread_connects > 0 {
        Some(Blind::UnreadCalls(trace.unread_connects))
    } else if trace.unreadable_addresses > 0 {
        Some(Blind::UnreadableAddresses(trace.unreadable_addresses))
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
