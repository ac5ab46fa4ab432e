//! Live packets through libpcap. Raw frames come out; what they mean is `decode`'s business.

mod netns;
pub mod pcap_writer;

use crate::flow::NAME_SERVICE_PORTS;
use crate::source::grant;
use crate::source::tracer::sys;
use crate::time::{Span, Timestamp};
pub use netns::Netns;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use pcap::{Active, Linktype, Precision};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// `LINKTYPE_LINUX_SLL2`: what "any" offers beside the older SLL; it names the interface of each packet.
pub const SLL2: i32 = 276;

/// The kernel hands packets over after so many milliseconds at the latest.
const TIMEOUT: i32 = 4;
/// How often, in milliseconds, a quiet capture looks whether it shall end.
const PAUSE: i32 = 10;
/// Ring buffer. Immediate mode drops most of a storm, and so does a small ring; this lost nothing.
const RING: i32 = 16 << 20;
/// Bytes of a packet that are kept: more than any, as tcpdump does.
const SNAPLEN: i32 = 262_144;
/// After the command's end packets still arrive: quiet for so long means that they are all there.
const QUIET: Duration = Duration::from_millis(3 * TIMEOUT as u64);
/// But a busy link is never quiet.
const LONGEST_DRAIN: Duration = Duration::from_secs(2);

/// What is captured. ICMP errors, fragments and neighbour discovery are there to explain what is missing.
/// `ip6 and tcp[…]` cannot work in libpcap, hence the offsets.
const FILTER: &str = "(tcp[tcpflags]&(tcp-syn|tcp-fin|tcp-rst)!=0) \
    or (ip6 and ip6[6]=6 and (ip6[53]&7)!=0) \
    or icmp[icmptype]=icmp-unreach or icmp[icmptype]=icmp-timxceed \
    or (ip6 and ip6[6]=58 and ip6[40]>=1 and ip6[40]<=4) \
    or (ip6 and ip6[6]=58 and (ip6[40]=135 or ip6[40]=136)) \
    or arp \
    or (ip[6:2]&0x3fff!=0) or (ip6 and (ip6[6]=44 or ip6[6]=0 or ip6[6]=43 or ip6[6]=60))";

/// The kernel shows a loopback packet twice, going out and coming in, and libpcap drops the first on `any`. Not to
/// copy it at all is cheaper. Loopback is interface 1 of every namespace (`LOOPBACK_IFINDEX`, include/net/flow.h).
const LOOPBACK_ONCE: &str = "not (outbound and ifindex 1)";

/// Where and what to capture.
#[derive(Clone, Debug)]
pub struct CaptureSettings {
    /// An interface, or `any`.
    pub interface: String,
    /// Bytes of each packet; `None`: all.
    pub snaplen: Option<i32>,
    /// A filter of the user's: a packet must pass it and presyn's own.
    pub filter: Option<String>,
    /// Ports that carry DNS.
    pub dns_ports: Vec<u16>,
    /// In another network namespace.
    pub netns: Option<Netns>,
}

impl Default for CaptureSettings {
    fn default() -> Self {
        Self {
            interface: "any".to_owned(),
            snaplen: None,
            filter: None,
            dns_ports: NAME_SERVICE_PORTS.to_vec(),
            netns: None,
        }
    }
}

impl CaptureSettings {
    /// The whole filter, as libpcap takes it.
    pub fn filter(&self) -> String {
        let ports = self
            .dns_ports
            .iter()
            .map(|port| match port {
                // Multicast services have no TCP side.
                5353 | 5355 => format!("udp port {port}"),
                _ => format!("port {port}"),
            })
            .collect::<Vec<_>>();
        let own = [ports, vec![FILTER.to_owned()]].concat().join(" or ");
        match &self.filter {
            Some(user) => format!("({own}) and ({user})"),
            None => own,
        }
    }
}

/// Why a capture could not be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The right to capture is missing.
    #[error(
        "not permitted to capture on '{interface}'; run presyn as root, or trace only with --no-capture, or let a group capture:\n    {advice}"
    )]
    NotPermitted {
        /// The interface.
        interface: String,
        /// How to get the right.
        advice: String,
    },
    /// The interface is not there, or cannot be captured on.
    #[error("cannot capture on '{interface}': {message}")]
    Open {
        /// The interface.
        interface: String,
        /// libpcap's words.
        message: String,
    },
    /// The filter is wrong.
    #[error("the filter '{filter}' is not understood: {message}")]
    Filter {
        /// As given.
        filter: String,
        /// libpcap's words.
        message: String,
    },
    /// The network namespace cannot be entered.
    #[error("cannot enter the network namespace {path}: {message}")]
    Netns {
        /// Its file.
        path: PathBuf,
        /// The kernel's words.
        message: String,
    },
    /// The kernel's tables of sockets, of which it is learned whose a packet is.
    #[error("cannot read the kernel's tables of sockets (sock_diag): {0}")]
    SocketTables(#[source] std::io::Error),
    /// Reading failed: the interface went away, for example.
    #[error("the capture on '{interface}' broke off: {message}")]
    Read {
        /// The interface.
        interface: String,
        /// libpcap's words.
        message: String,
    },
}

/// One captured frame.
#[derive(Clone, Copy, Debug)]
pub struct CapturedFrame<'a> {
    /// When the kernel saw it.
    pub at: Timestamp,
    /// Link type of its first header (`LINKTYPE_*`).
    pub link: i32,
    /// Index of its interface in the capture's namespace, where known.
    pub interface: Option<u32>,
    /// Its bytes, as far as captured.
    pub data: &'a [u8],
    /// Its length on the wire.
    pub original_length: u32,
}

/// What a finished capture says about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CaptureCounts {
    /// Frames delivered.
    pub delivered: u64,
    /// Frames that passed the filter, by the kernel's count.
    pub received: u32,
    /// Frames the kernel dropped because the ring was full.
    pub kernel_dropped: u32,
    /// Frames the interface dropped.
    pub interface_dropped: u32,
}

/// An open capture: packets are collected from now on.
pub struct Live {
    capture: pcap::Capture<Active>,
    /// Dropped after the capture.
    closer: Option<OwnedFd>,
    interface: String,
    link: i32,
    delivered: u64,
}

/// Before the kernel frees a ring it waits twice until every CPU has seen that its socket is gone (RCU): 16 to 36 ms. A
/// worker of the kernel's waits, where it can be had; elsewhere the thread does that drops the capture.
impl Drop for Live {
    fn drop(&mut self) {
        self.closer = sys::hold_in_ring(self.capture.as_fd()).ok();
    }
}

impl Live {
    /// Opens a capture. The kernel collects packets from here on, whether they are read or not.
    pub fn open(settings: &CaptureSettings) -> Result<Self, CaptureError> {
        let Some(netns) = &settings.netns else {
            return Self::open_here(settings);
        };
        let opened = netns.within(|| Self::open_here(settings));
        opened.map_err(|error| netns.error(&error))?
    }

    fn open_here(settings: &CaptureSettings) -> Result<Self, CaptureError> {
        let interface = settings.interface.clone();
        let failed = |error: pcap::Error| open_error(&interface, &error);
        let mut capture = pcap::Capture::from_device(interface.as_str())
            .map_err(failed)?
            .snaplen(settings.snaplen.unwrap_or(SNAPLEN))
            .buffer_size(RING)
            .timeout(TIMEOUT)
            .immediate_mode(false)
            .promisc(false)
            .precision(Precision::Nano)
            .open()
            .map_err(failed)?;
        let offered = capture.list_datalinks().unwrap_or_default();
        if offered.contains(&Linktype(SLL2)) {
            // Before the filter, which is compiled for a link type.
            capture.set_datalink(Linktype(SLL2)).map_err(failed)?;
        }
        if let Some(user) = &settings.filter {
            // Alone first: "a) or (b" must not turn presyn's own filter inside out.
            capture
                .compile(user, true)
                .map_err(|e| CaptureError::Filter {
                    filter: user.clone(),
                    message: e.to_string(),
                })?;
        }
        let link = capture.get_datalink().0;
        let filter = settings.filter();
        // libpcap before 1.10 does not know `ifindex`, and needs no help: it throws the copies away itself, later.
        let once = format!("({filter}) and {LOOPBACK_ONCE}");
        if link != SLL2 || capture.filter(&once, true).is_err() {
            capture
                .filter(&filter, true)
                .map_err(|e| CaptureError::Filter {
                    message: e.to_string(),
                    filter,
                })?;
        }
        let capture = capture.setnonblock().map_err(failed)?;
        Ok(Self {
            capture,
            closer: None,
            interface,
            link,
            delivered: 0,
        })
    }

    /// The link type of all frames.
    pub fn link(&self) -> i32 {
        self.link
    }

    /// The interface as given.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// Delivers frames until `stop` is set and the link has been quiet for a moment.
    pub fn run(
        mut self,
        stop: &AtomicBool,
        deliver: &mut dyn FnMut(Batch<'_>),
    ) -> Result<CaptureCounts, CaptureError> {
        let mut pace = Pace::default();
        loop {
            let got = self.read(u64::MAX, &mut |frame| deliver(Batch::Frame(frame)))? > 0;
            if got {
                deliver(Batch::End);
            }
            match pace.next(got, stop.load(Ordering::Acquire)) {
                Some(milliseconds) => {
                    let mut fds = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
                    let timeout = PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::ZERO);
                    // Whether there is anything is seen by reading.
                    let _ = poll(&mut fds, timeout);
                }
                None => break,
            }
        }
        Ok(self.counts())
    }

    /// Delivers the frames that are there now, at most so many, and returns how many. After exactly `most` there may be
    /// more that polling the descriptor does not show: libpcap has them already.
    pub fn read(
        &mut self,
        most: u64,
        deliver: &mut dyn FnMut(CapturedFrame<'_>),
    ) -> Result<u64, CaptureError> {
        let before = self.delivered;
        while self.delivered - before < most {
            match self.capture.next_packet() {
                Ok(packet) => {
                    self.delivered += 1;
                    deliver(frame(self.link, &packet));
                }
                Err(pcap::Error::TimeoutExpired) => break,
                Err(error) => {
                    return Err(CaptureError::Read {
                        interface: self.interface.clone(),
                        message: error.to_string(),
                    });
                }
            }
        }
        Ok(self.delivered - before)
    }

    /// What the kernel and the interface counted so far.
    pub fn counts(&mut self) -> CaptureCounts {
        let mut counts = CaptureCounts {
            delivered: self.delivered,
            ..CaptureCounts::default()
        };
        if let Ok(stats) = self.capture.stats() {
            counts.received = stats.received;
            counts.kernel_dropped = stats.dropped;
            counts.interface_dropped = stats.if_dropped;
        }
        counts
    }
}

impl AsFd for Live {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.capture.as_fd()
    }
}

/// How long to wait between two readings, and when a capture that is to stop has delivered everything.
#[derive(Debug, Default)]
pub struct Pace {
    stopping: Option<Instant>,
    last: Option<Instant>,
}

impl Pace {
    /// Takes note of a reading: whether it delivered anything, and whether the capture is to stop. Returns how many
    /// milliseconds to wait for the next one; `None`: that was the last.
    pub fn next(&mut self, got: bool, stop: bool) -> Option<i32> {
        let now = Instant::now();
        if got {
            self.last = Some(now);
        }
        if !stop {
            return Some(PAUSE);
        }
        let since = *self.stopping.get_or_insert(now);
        let quiet_since = self.last.map_or(since, |last| last.max(since));
        let over = now - quiet_since >= QUIET || now - since >= LONGEST_DRAIN;
        (!over).then_some(TIMEOUT)
    }
}
/// What [`Live::run`] delivers.
#[derive(Clone, Copy, Debug)]
pub enum Batch<'a> {
    /// A frame.
    Frame(CapturedFrame<'a>),
    /// Nothing more is there for the moment: time to flush.
    End,
}

fn frame<'p>(link: i32, packet: &'p pcap::Packet<'_>) -> CapturedFrame<'p> {
    let ts = packet.header.ts;
    // With nanosecond precision libpcap stores nanoseconds there.
    let at = Timestamp::new(ts.tv_sec, 0) + Span(ts.tv_usec);
    // The interface's index in an SLL2 header (bytes 4 to 7).
    let index = packet.data.get(4..8).filter(|_| link == SLL2);
    CapturedFrame {
        at,
        link,
        interface: index.map(|i| u32::from_be_bytes([i[0], i[1], i[2], i[3]])),
        data: packet.data,
        original_length: packet.header.len,
    }
}

fn open_error(interface: &str, error: &pcap::Error) -> CaptureError {
    let (interface, message) = (interface.to_owned(), error.to_string());
    if message.contains("ermission") || message.contains("not permitted") {
        CaptureError::NotPermitted {
            interface,
            advice: grant::advice(),
        }
    } else {
        CaptureError::Open { interface, message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_compiles_for_every_link_type_that_linux_has() {
        let mut settings = CaptureSettings::default();
        settings.dns_ports.push(1053);
        settings.filter = Some("not port 22 or host 10.0.0.1".to_owned());
        for link in [1, 12, 113, SLL2] {
            let dead = pcap::Capture::dead(Linktype(link)).unwrap();
            dead.compile(&settings.filter(), true)
                .unwrap_or_else(|e| panic!("{link}: {e}"));
        }
        assert!(
            settings
                .filter()
                .ends_with(" and (not port 22 or host 10.0.0.1)")
        );
    }

    #[test]
    fn a_capture_ends_after_quiet_and_not_before() {
        let pause = |milliseconds: i32| {
            std::thread::sleep(Duration::from_millis(milliseconds.unsigned_abs().into()));
        };
        let (mut pace, began) = (Pace::default(), Instant::now());
        assert_eq!(pace.next(false, false), Some(PAUSE));
        while let Some(milliseconds) = pace.next(false, true) {
            pause(milliseconds);
        }
        assert!(began.elapsed() >= QUIET);
        // Each packet begins the wait anew.
        let mut pace = Pace::default();
        let mut last = Instant::now();
        for _ in 0..10 {
            last = Instant::now();
            pause(pace.next(true, true).unwrap());
        }
        while let Some(milliseconds) = pace.next(false, true) {
            pause(milliseconds);
        }
        assert!(last.elapsed() >= QUIET);
    }

    #[test]
    fn what_is_missing_is_named() {
        let refused = pcap::Error::PcapError(
            "any: You don't have permission to perform this capture on that device".to_owned(),
        );
        let text = open_error("any", &refused).to_string();
        assert!(text.contains(&grant::advice()), "{text}");
        let absent = pcap::Error::PcapError("nope0: No such device exists".to_owned());
        assert!(matches!(
            open_error("nope0", &absent),
            CaptureError::Open { .. }
        ));
    }
}
