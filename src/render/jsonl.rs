//! A case as lines of JSON, one record each, for programs that load many cases at once.
//!
//! A line says its `kind` and its `input`, and holds the fields of the report's own type, so that one document
//! describes both. What belongs together within a case has the same id (`C1`, `L1`).

use super::json;
use crate::report::subjects::Subjects;
use crate::report::{
    Client, Connection, Delay, Finding, Omitted, Query, Report, Stack, Unattributed,
};
use schemars::JsonSchema;
use serde::Serialize;
use std::io::{self, Write};

/// Version of the contract; a change that breaks a reader raises the number.
pub const SCHEMA: &str = "presyn.lines/2";

/// One line.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(extend("$id" = "urn:presyn:lines:2"))]
pub struct Line<'a> {
    /// The case: its path or paths, as given.
    pub input: &'a str,
    /// RFC 3339; the zero of all `*_s`. `null` when no input has a date.
    pub started: Option<&'a str>,
    /// What it is about.
    #[serde(flatten)]
    pub record: JsonLine<'a>,
}

/// What a line is about.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum JsonLine<'a> {
    /// The case itself: the first line of each.
    Case {
        /// `presyn.lines/2`.
        schema: &'a str,
        /// The answer in a few sentences.
        summary: &'a [String],
        /// What the reader should know about the inputs.
        warnings: &'a [String],
        /// What was left out; nothing, unless a report was cut before.
        omitted: Omitted,
        /// As in the report. Left out where there are none.
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        unattributed: &'a [Unattributed],
    },
    /// A query.
    Query {
        /// The id of its lookup.
        lookup: &'a str,
        /// The name that the lookup was for.
        name: Option<&'a str>,
        /// The address that asked.
        from: Option<&'a str>,
        /// As in the report.
        #[serde(flatten)]
        query: &'a Query,
    },
    /// A connection attempt.
    Connection(&'a Connection),
    /// A host that asked and connected, where there are several.
    Client(&'a Client),
    /// An account.
    Delay {
        /// Where to, if it is a connection's.
        server: Option<&'a str>,
        /// The name that its lookup was for.
        name: Option<&'a str>,
        /// As in the report.
        #[serde(flatten)]
        delay: &'a Delay,
    },
    /// A conclusion.
    Finding(&'a Finding),
    /// The functions that a thread was in when it made a call; causes and callers name it by its id.
    Stack(&'a Stack),
}

/// Writes all lines of a case.
pub fn write(input: &str, report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let mut put = |record| {
        let line = Line {
            input,
            started: report.started.as_deref(),
            record,
        };
        json::line(&line, out)
    };
    put(JsonLine::Case {
        schema: SCHEMA,
        summary: &report.summary,
        warnings: &report.warnings,
        omitted: report.omitted,
        unattributed: &report.unattributed,
    })?;
    for lookup in &report.lookups {
        for query in &lookup.queries {
            put(JsonLine::Query {
                lookup: &lookup.id,
                name: lookup.name.as_deref(),
                from: lookup.from.as_deref(),
                query,
            })?;
        }
    }
    for connection in &report.connections {
        put(JsonLine::Connection(connection))?;
    }
    for client in &report.clients {
        put(JsonLine::Client(client))?;
    }
    let subjects = Subjects::new(report);
    for delay in &report.delays {
        put(JsonLine::Delay {
            server: subjects
                .connection(delay.connection.as_deref())
                .map(|c| &*c.to),
            name: subjects
                .lookup(delay.lookup.as_deref())
                .and_then(|l| l.name.as_deref()),
            delay,
        })?;
    }
    for finding in &report.findings {
        put(JsonLine::Finding(finding))?;
    }
    for stack in &report.stacks {
        put(JsonLine::Stack(stack))?;
    }
    Ok(())
}
