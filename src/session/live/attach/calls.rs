//! `--calls`: what already runs is traced for a while, every call of it, and let go again. It is recorded and reported as a
//! command that presyn starts, but for the beginning, which is not seen.

use super::{AttachPlan, OpenedCase, WatchEnd};
use crate::case::jsonl::Footer;
use crate::event::{Event, Task};
use crate::input::watched::Watched;
use crate::session::live::analysis::Sight;
use crate::session::live::forward::{Forwarding, Outbox};
use crate::session::live::process::Analysis;
use crate::session::live::sender::EventSender;
use crate::session::live::{Listener, LiveError, finish, first_records, remark, rights_of};
use crate::source::privilege::{self, Needs};
use crate::source::target::{HostRoot, RunningTarget};
use crate::source::tracer::{
    Attachment, Detached, EndReason, Gains, Next, Observer, Tick, TracerError,
};
use nix::errno::Errno;
use std::sync::Arc;
use std::time::Instant;

/// The trace's place among the inputs: after the capture.
const INPUT: u16 = 1;

/// Traces what the plan names until the user, its time or the target ends that. It must be called while the process has one
/// thread. The listener works in both processes.
///
/// Nothing is stopped before it is known that everything may be, and that the capture and the case folder are there.
pub fn attach(plan: &AttachPlan, listener: &mut dyn Listener) -> Result<WatchEnd, LiveError> {
    let target = Arc::new(RunningTarget::find(&plan.asked, &HostRoot::host())?);
    let attachment = Attachment {
        target: target.clone(),
        dns_ports: plan.capture.dns_ports.clone(),
    };
    attachment.check().map_err(TracerError::from)?;
    let mut analysis = Analysis::start(&plan.job(Sight::Calls), listener)?;
    privilege::harden().map_err(LiveError::Privileges)?;
    let limit = privilege::raise_descriptor_limit();
    let opened = plan.open(&target, &mut analysis)?;
    let watched = Watched {
        target: target.description(),
        ..Watched::default()
    };
    let (begin, OpenedCase { capture, files }) = (plan.begin(&target, &opened, watched), opened);
    let kept = privilege::give_up(None, Needs::Trace).map_err(LiveError::Privileges)?;
    listener.rights(&kept, &rights_of(analysis.pid()));
    let outbox = Arc::new(Outbox::new().map_err(LiveError::Queue)?);
    outbox.control(|to| first_records(to, &files, &begin));
    let pipe = analysis.pipe();
    let forward = |pipe| Forwarding::start(outbox.clone(), Some(capture), pipe);
    let forwarding = pipe.map(forward).transpose().map_err(LiveError::Thread)?;
    listener.line(&format!(
        "tracing every call of {}; Ctrl-C ends the recording and detaches",
        begin.header.target()
    ));
    let mut recording = Recording {
        sender: EventSender::new(&outbox, &analysis, listener, INPUT),
        ends: plan.duration.map(|duration| Instant::now() + duration),
        end: None,
    };
    let detached = attachment.run(&mut recording);
    let lost = recording.sender.lost();
    let ended = detached.map(|detached| recording.end(&detached, limit));
    let thread = forwarding.map(|forwarding| match &ended {
        Ok((_, footer)) => forwarding.finish_at(footer.at, footer.clone()),
        Err(_) => forwarding.finish(None),
    });
    if let Some(line) = finish(analysis, thread, &outbox)
        && !lost
    {
        listener.trouble(&line);
    }
    let (end, _) = ended?;
    Ok(end)
}

/// A recording that goes on: it ends with its time, and when there is nobody to record for.
struct Recording<'a> {
    sender: EventSender<'a>,
    ends: Option<Instant>,
    end: Option<WatchEnd>,
}

impl Recording<'_> {
    /// Why it has ended, and the last record: with what the recording lacks.
    fn end(self, detached: &Detached, limit: Result<u64, Errno>) -> (WatchEnd, Footer) {
        let end = match detached.why {
            EndReason::Signal => WatchEnd::Told,
            EndReason::Observer => self.end.unwrap_or(WatchEnd::Lost),
            EndReason::TargetEnded => WatchEnd::TargetEnded,
        };
        let mut remarks = self.sender.into_remarks();
        remarks.extend(detached.refused.as_ref().map(remark::joined_untraced));
        remarks.extend(remark::not_detached(&detached.left));
        remarks.extend(remark::out_of_descriptors(detached.failed_looks, limit));
        let footer = Footer {
            remarks,
            exit: end.words().into(),
            at: detached.at,
            ..Footer::default()
        };
        (end, footer)
    }
}

impl Observer for Recording<'_> {
    fn event(&mut self, event: Event) {
        self.sender.event(event);
    }

    fn withheld(&mut self, task: &Task, gains: Gains) {
        self.sender.withheld(task, gains);
    }

    fn tick(&mut self, tick: &Tick) -> Next {
        let next = self.sender.tick(tick);
        if self.sender.lost() {
            self.end = Some(WatchEnd::Lost);
        } else if self.ends.is_some_and(|end| Instant::now() >= end) {
            self.end = Some(WatchEnd::Time);
        }
        if self.end.is_some() { Next::Stop } else { next }
    }
}
