//! What the ids in a report stand for.

use super::{Connection, Delay, Lookup, Report};
use std::collections::HashMap;

/// Connections and lookups of a report by their id.
pub struct Subjects<'a> {
    connections: HashMap<&'a str, &'a Connection>,
    lookups: HashMap<&'a str, &'a Lookup>,
}

impl<'a> Subjects<'a> {
    /// Of a report.
    pub fn new(report: &'a Report) -> Self {
        let connections = report.connections.iter();
        let lookups = report.lookups.iter();
        Self {
            connections: connections.map(|c| (&*c.id, c)).collect(),
            lookups: lookups.map(|l| (&*l.id, l)).collect(),
        }
    }

    /// The connection with this id, unless the report left it out.
    pub fn connection(&self, id: Option<&str>) -> Option<&'a Connection> {
        self.connections.get(id?).copied()
    }

    /// The lookup with this id, unless the report left it out.
    pub fn lookup(&self, id: Option<&str>) -> Option<&'a Lookup> {
        self.lookups.get(id?).copied()
    }

    /// What a delay is about, as one line of a list says it: the server, else the name, where it is known.
    pub fn name(&self, delay: &Delay) -> Option<&'a str> {
        match &delay.connection {
            Some(id) => self.connection(Some(id)).map(|c| &*c.to),
            None => self.lookup(delay.lookup.as_deref())?.name.as_deref(),
        }
    }
}
