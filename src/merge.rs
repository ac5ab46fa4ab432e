//! One ordered stream out of several inputs.

use crate::event::{Event, What};
use crate::time::Span;

/// Moves the events of a trace into the capture's time.
pub fn shift(events: &mut [Event], offset: Span) {
    for event in events {
        event.at = event.at + offset;
        if let What::Call(call) = &mut event.what {
            call.exited = call.exited.map(|at| at + offset);
        }
    }
}

/// Orders events by time; at the same time a call comes before a packet, then the order of the inputs
/// holds. The result does not depend on how the inputs were interleaved, because every event has a
/// place of its own and equal places (several messages of one TCP segment) keep their order.
pub fn order(events: &mut [Event]) {
    events.sort_by_key(|event| {
        let packet = matches!(event.what, What::Packet(_));
        (event.at, packet, event.place.input, event.place.number)
    });
}
