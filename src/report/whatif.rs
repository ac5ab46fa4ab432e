//! What `presyn whatif` says: plain types, the public JSON contract `presyn.whatif/2`.
//!
//! Seconds are durations. `least_s` and `most_s` are equal but where a model is a range (c-ares' jitter, `rotate`)
//! or the facts allow several stub resolvers.

use super::Model;
use super::open_enum::open_enum;
use schemars::JsonSchema;
use serde::Serialize;

/// Version of the contract; a change that breaks a reader raises the number.
pub const SCHEMA: &str = "presyn.whatif/2";

/// The answers to what was asked; without a question, one for each change that may help.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(extend("$id" = "urn:presyn:whatif:2"))]
pub struct WhatIf {
    /// [`SCHEMA`].
    pub schema: String,
    /// The resolvers of the case, in order.
    pub nameservers: Vec<String>,
    /// The options of the case, those of `RES_OPTIONS` last.
    pub options: Vec<String>,
    /// One per change.
    pub answers: Vec<ChangeAnswer>,
}

/// What one change would make of the case.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ChangeAnswer {
    /// The change in words.
    pub change: String,
    /// Resolvers then, in order.
    pub nameservers: Vec<String>,
    /// Options then.
    pub options: Vec<String>,
    /// The delays, in the report's order.
    pub delays: Vec<PredictedDelay>,
    /// The lookups of these delays.
    pub lookups: Vec<PredictedLookup>,
    /// Resolvers that would be asked and of which the case says nothing: taken to answer at once.
    pub guessed: Vec<String>,
    /// What this rests on.
    pub assumptions: Vec<String>,
}

/// The delay before a server connect, or of a lookup that no connect followed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PredictedDelay {
    /// The connection's id in the report.
    pub connection: Option<String>,
    /// The lookup's id in the report.
    pub lookup: Option<String>,
    /// Where to: the server, or the name that was looked up.
    pub to: String,
    /// As seen.
    pub seen_s: f64,
    /// With the change, at least.
    pub least_s: f64,
    /// With the change, at most.
    pub most_s: f64,
    /// A lookup would fail that did not: a connect may not follow at all.
    pub fails: bool,
}

/// A lookup under the change.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PredictedLookup {
    /// Its id in the report.
    pub id: String,
    /// The name asked for; `null`: the inputs do not show it.
    pub name: Option<String>,
    /// Models that the estimate rests on. Empty: none applies, and the lookup is taken to last as long as it did.
    pub models: Vec<Model>,
    /// As seen.
    pub seen_s: f64,
    /// With the change, at least.
    pub least_s: f64,
    /// With the change, at most.
    pub most_s: f64,
    /// How it would end.
    pub outcome: EstimatedOutcome,
    /// The models explain the waits that were seen.
    pub explained: bool,
    /// Its waits then, in order (of a range the shortest course).
    pub waits: Vec<PredictedWait>,
}

open_enum! {
    /// How a lookup would end.
    EstimatedOutcome {
        /// With an answer.
        Answered = "answered",
        /// There is no such name, or no record of the type.
        Negative = "negative",
        /// Without an answer that could be used.
        Failed = "failed",
        /// The change leaves it out.
        NotMade = "not-made",
    }
}

/// A wait for one resolver, or (musl) for all at once.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PredictedWait {
    /// For whom.
    pub resolvers: Vec<String>,
    /// How long.
    pub seconds: f64,
}
