//! Places of evidence (`FILE:N`), grouped by file, and the commands that show them.

use super::safe::escape;
use crate::report::Entry;
use crate::shell;
use std::collections::BTreeSet;

/// The numbers cited in one file, in the order of citing.
#[derive(Debug, PartialEq, Eq)]
pub struct Cited<'a> {
    /// The file.
    pub path: &'a str,
    /// Packet or line numbers.
    pub numbers: Vec<&'a str>,
}

/// More numbers in one command than this make it unreadable; the first ones prove the point.
const MAX_NUMBERS: usize = 24;

/// Groups places by file, files in the order in which they are first cited.
pub fn by_file(places: &[String]) -> Vec<Cited<'_>> {
    let mut files: Vec<Cited> = Vec::new();
    for place in places {
        let Some((path, number)) = place.rsplit_once(':') else {
            continue;
        };
        // A saved report may come from anybody, and numbers stand unquoted in commands.
        if !number.bytes().all(|b| b.is_ascii_digit()) {
            continue;
        }
        match files.iter_mut().find(|f| f.path == path) {
            Some(file) => file.numbers.push(number),
            None => files.push(Cited {
                path,
                numbers: vec![number],
            }),
        }
    }
    files
}

/// Places in short: `FILE:3,6,9 and 21 more`.
pub fn short(places: &[String], shown: usize) -> String {
    if let Some(times) = times(places, shown) {
        return times;
    }
    list(&by_file(places), shown)
}

/// The times of events that are in no file, of a run that was not saved: `at 11:40:09.123456Z, 11:40:14.128001Z and 2 more`.
pub fn times(places: &[String], shown: usize) -> Option<String> {
    // `2026-12-01T11:40:09.123456Z`
    let time = |place: &String| {
        let (_, time) = place.split_once('T')?;
        let digits = time.strip_suffix('Z')?.bytes();
        let all = { digits }.all(|b| b.is_ascii_digit() || b == b':' || b == b'.');
        all.then(|| time.to_owned())
    };
    let mut times: Vec<String> = places.iter().map(time).collect::<Option<_>>()?;
    times.sort();
    times.dedup();
    let more = match times.len().saturating_sub(shown) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    times.truncate(shown);
    (!times.is_empty()).then(|| format!("at {}{more}", times.join(", ")))
}

/// The same with the names of the files alone, where they tell the files apart.
pub fn in_brief(places: &[String], shown: usize) -> String {
    if let Some(times) = times(places, shown) {
        return times;
    }
    let mut files = by_file(places);
    let names: BTreeSet<&str> = files.iter().map(|f| base(f.path)).collect();
    if names.len() == files.len() {
        for file in &mut files {
            file.path = base(file.path);
        }
    }
    list(&files, shown)
}

fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn list(files: &[Cited], shown: usize) -> String {
    let list: Vec<String> = files
        .iter()
        .map(|file| {
            let first = file.numbers[..file.numbers.len().min(shown)].join(",");
            match file.numbers.len().saturating_sub(shown) {
                0 => format!("{}:{first}", file.path),
                more => format!("{}:{first} and {more} more", file.path),
            }
        })
        .collect();
    list.join("; ")
}

/// The commands that show the evidence of a line of the account, safe to print.
pub fn commands(entry: &Entry) -> Vec<String> {
    let packets = by_file(&entry.packets);
    let calls = by_file(&entry.calls);
    let commands = packets.iter().map(tshark).chain(calls.iter().map(sed));
    commands.map(|c| escape(&c).into_owned()).collect()
}

/// The command that shows packets of a capture in tshark.
pub fn tshark(cited: &Cited) -> String {
    let numbers: Vec<String> = cited
        .numbers
        .iter()
        .take(MAX_NUMBERS)
        .map(|n| format!("frame.number=={n}"))
        .collect();
    format!(
        "tshark -n -r {} -Y '{}'",
        shell::path(cited.path),
        numbers.join(" || ")
    )
}

/// The command that shows lines of a trace.
pub fn sed(cited: &Cited) -> String {
    let numbers: Vec<String> = cited
        .numbers
        .iter()
        .take(MAX_NUMBERS)
        .map(|n| format!("{n}p"))
        .collect();
    format!("sed -n '{}' {}", numbers.join(";"), shell::path(cited.path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Vec<String> {
        ["a.pcap:3", "a.pcap:6", "it's.log:9", "a.pcap:7"]
            .map(str::to_owned)
            .to_vec()
    }

    #[test]
    fn groups_by_file() {
        assert_eq!(short(&places(), 2), "a.pcap:3,6 and 1 more; it's.log:9");
    }

    #[test]
    fn commands_quote_what_a_shell_would_read() {
        let places = places();
        let files = by_file(&places);
        assert_eq!(
            tshark(&files[0]),
            "tshark -n -r a.pcap -Y 'frame.number==3 || frame.number==6 || frame.number==7'"
        );
        assert_eq!(sed(&files[1]), "sed -n '9p' 'it'\\''s.log'");
    }

    #[test]
    fn events_in_no_file_are_cited_by_their_time() {
        let places = ["2026-12-01T11:40:14.5Z", "2026-12-01T11:40:09.123456Z"].map(str::to_owned);
        assert_eq!(short(&places, 4), "at 11:40:09.123456Z, 11:40:14.5Z");
        assert_eq!(in_brief(&places, 1), "at 11:40:09.123456Z and 1 more");
        assert_eq!(times(&["a.pcap:3".to_owned()], 4), None);
        assert_eq!(times(&["T\u{1b}[0mZ".to_owned()], 4), None);
        assert_eq!(times(&[], 4), None);
    }
}
