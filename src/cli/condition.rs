//! The conditions of `--fail-on`.

use super::values::{QUANTITIES, nearest_finding};
use crate::report::{FindingId, Report};
use anyhow::{Context, Result, bail};

/// A condition of `--fail-on`.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// This finding is among the findings.
    Finding(FindingId),
    /// Some delay before a SYN (or of a failed lookup) is longer than this many seconds.
    DelayOver(f64),
    /// More queries than this stayed unanswered, all resolvers together.
    UnansweredOver(u64),
}

/// What may be written.
const FORMS: &str = "give a finding (presyn explain lists them), delay>SECONDS or unanswered>N";

impl Condition {
    /// Reads `FINDING`, `delay>SECONDS` or `unanswered>N`.
    pub fn parse(text: &str) -> Result<Self> {
        if let Some((what, than)) = text.split_once('>') {
            let than = than.trim();
            return match what.trim() {
                "delay" => match than.parse::<f64>() {
                    Ok(seconds) if seconds.is_finite() && seconds >= 0.0 => {
                        Ok(Self::DelayOver(seconds))
                    }
                    _ => bail!("--fail-on {text}: '{than}' is not a number of seconds"),
                },
                "unanswered" => than.parse().map(Self::UnansweredOver).with_context(|| {
                    format!("--fail-on {text}: '{than}' is not a number of queries")
                }),
                other => bail!("--fail-on {text}: '{other}' cannot be measured; {FORMS}"),
            };
        }
        if let Some(id) = FindingId::from_name(text) {
            return Ok(Self::Finding(id));
        }
        if QUANTITIES.contains(&text.trim()) {
            bail!(
                "--fail-on {text}: more than how many? Quote the condition: --fail-on '{text}>3'"
            );
        }
        match nearest_finding(text) {
            Some(name) => bail!("--fail-on {text}: there is no such finding; did you mean {name}?"),
            None => bail!("--fail-on {text}: there is no such finding; {FORMS}"),
        }
    }

    /// Reads all that were typed.
    pub fn parse_all(texts: &[String]) -> Result<Vec<Self>> {
        texts.iter().map(|text| Self::parse(text)).collect()
    }

    /// Whether it holds of a report.
    pub fn holds(&self, report: &Report) -> bool {
        match self {
            Self::Finding(id) => report.findings.iter().any(|f| f.id == *id),
            Self::DelayOver(seconds) => {
                let known = report.delays.iter().filter_map(|d| d.since_start_s);
                known.into_iter().any(|delay| delay > *seconds)
            }
            Self::UnansweredOver(n) => {
                let known = report.resolvers.iter().filter_map(|r| r.unanswered);
                known.sum::<u64>() > *n
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read_or_refused_with_the_forms() {
        for (text, condition) in [
            (
                "resolver-silent",
                Condition::Finding(FindingId::ResolverSilent),
            ),
            ("delay>0", Condition::DelayOver(0.0)),
            ("delay > 2.5", Condition::DelayOver(2.5)),
            ("unanswered>0", Condition::UnansweredOver(0)),
            ("unanswered > 12", Condition::UnansweredOver(12)),
        ] {
            assert_eq!(Condition::parse(text).ok(), Some(condition), "{text}");
        }
        for (text, word) in [
            ("", "no such finding"),
            ("resolver-silence", "did you mean resolver-silent?"),
            ("no-such-thing", "presyn explain"),
            // As a completion leaves it, and as a shell does that took `>3` for a redirection.
            ("unanswered", "--fail-on 'unanswered>3'"),
            ("delay", "--fail-on 'delay>3'"),
            ("delay=3", "delay>SECONDS"),
            ("delay<3", "delay>SECONDS"),
            ("delay>=3", "number of seconds"),
            ("delay>nan", "number of seconds"),
            ("delay>inf", "number of seconds"),
            ("delay>-1", "number of seconds"),
            ("delay>", "number of seconds"),
            ("unanswered>-1", "number of queries"),
            ("unanswered>1.5", "number of queries"),
            ("unanswered>", "number of queries"),
            ("queries>3", "'queries' cannot be measured"),
            (">3", "cannot be measured"),
        ] {
            let said = Condition::parse(text).map_or_else(|e| e.to_string(), |c| format!("{c:?}"));
            assert!(said.contains(word), "{text}: {said}");
        }
    }
}
