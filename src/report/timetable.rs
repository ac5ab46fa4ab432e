//! What a report says of timetables and of the change that would help.

use super::Model;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The waits of a lookup beside those that a stub resolver's timetable has for the same resolvers, options
/// and replies.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Timetable {
    /// Whose.
    pub model: Model,
    /// How many resolvers it counts with.
    pub name_servers: usize,
    /// Its timeout in seconds.
    pub timeout: i64,
    /// Its rounds.
    pub attempts: usize,
    /// Wait by wait, answered ones included.
    pub waits: Vec<TimetableWait>,
    /// All of them agree.
    pub fits: bool,
    /// The lookup went on as long as the timetable does; else the client ended it before.
    pub whole: bool,
    /// The comparison in words.
    pub told: String,
}

/// One wait, for one resolver or (musl) for all at once.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TimetableWait {
    /// For whom.
    pub resolvers: Vec<String>,
    /// As seen.
    pub seen_s: f64,
    /// As the timetable has it, at least.
    pub least_s: f64,
    /// At most; more than `least_s` only where the timetable is a range (c-ares).
    pub most_s: f64,
}

/// A change and what it would have made of a delay.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct BestChange {
    /// In words: `Without resolver 10.0.1.93`.
    pub change: String,
    /// Resolvers to leave out.
    pub without: Vec<String>,
    /// Options to set.
    pub options: Vec<String>,
    /// Leave out the lookup of the address that is connected to.
    pub without_reverse_lookup: bool,
    /// The delay then, at least.
    pub least_s: f64,
    /// At most.
    pub most_s: f64,
    /// The delay as it was.
    pub instead_of_s: f64,
    /// Models that say so.
    pub models: Vec<Model>,
    /// All of it in a sentence.
    pub told: String,
}
