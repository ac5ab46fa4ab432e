//! What a case says about processes that were watched while nothing was traced.

use serde::{Deserialize, Serialize};

/// What was watched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Watched {
    /// As it was asked for: `process 4711 (java)`, `unit nginx.service`, `container web`.
    pub target: String,
    /// The cookie of the network namespace that was captured in, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns: Option<u64>,
    /// Why the calls in which threads wait could not be read; `None`: they could.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_threads: Option<String>,
    /// Why the kernel did not report sockets that ended, so that attributions are not exact; `None`: it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inexact: Option<String>,
}
