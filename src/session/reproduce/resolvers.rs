//! The played resolvers of one process, for all its threads.

use super::teller::Teller;
use crate::explain::scenario::choice::Choice;
use crate::explain::scenario::responder::{Act, Responder};
use crate::flow::Transport;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// What they do, and who is told of what they had to choose.
pub struct Resolvers {
    responder: Mutex<Responder>,
    teller: Teller,
    way_out: Option<PathBuf>,
}

impl Resolvers {
    /// Resolvers that were not asked anything yet, and the socket of whoever passes connections on to a real server.
    pub fn new(responder: Responder, teller: Teller, way_out: Option<PathBuf>) -> Self {
        Self {
            responder: Mutex::new(responder),
            teller,
            way_out,
        }
    }

    /// The socket behind which a real server is.
    pub fn way_out(&self) -> Option<&Path> {
        self.way_out.as_deref()
    }

    /// What one of them does with a message.
    pub fn act(&self, server: IpAddr, transport: Transport, query: &[u8]) -> Act {
        let mut responder = self
            .responder
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let act = responder.act(server, transport, query);
        for choice in responder.take_choices() {
            self.teller.choice(choice);
        }
        act
    }

    /// Tells of a choice that somebody else makes.
    pub fn chose(&self, choice: Choice) {
        self.teller.choice(choice);
    }
}
