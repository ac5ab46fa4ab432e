//! A resolv.conf among the files of a run: as it was copied, or as a mail quotes it.

use crate::decode::resolv_conf::ResolvConf;
use std::borrow::Cow;
use std::path::Path;

/// Keywords of resolv.conf(5).
const KEYWORDS: [&str; 5] = ["nameserver", "search", "domain", "options", "sortlist"];

/// Whether a file is a resolv.conf: by its name, or because a line of it gives the address of a resolver. Asked last, for
/// a log of a program that printed its resolv.conf is a log.
pub(super) fn recognised(path: &Path, head: &[u8]) -> bool {
    if head.contains(&0) {
        return false;
    }
    if path.file_name().is_some_and(|name| name == "resolv.conf") {
        return true;
    }
    let text = String::from_utf8_lossy(head);
    !ResolvConf::parse(&unquoted(&text)).nameservers.is_empty()
}

/// The text without the `>` of quoted lines, each on the line where it stood. Only of what the user names as a file: in a
/// case, a line with `>` is one that no stub resolver understood.
pub(super) fn unquoted(text: &str) -> Cow<'_, str> {
    let is_quoted = |line: &str| line.trim_start().starts_with('>');
    if !text.lines().any(is_quoted) {
        return Cow::Borrowed(text);
    }
    let line = |line: &str| {
        let bare = line.trim_start_matches(|c: char| c == '>' || c.is_whitespace());
        let first = bare.split_whitespace().next();
        let mut line = if is_quoted(line) && first.is_some_and(|word| KEYWORDS.contains(&word)) {
            bare.to_owned()
        } else {
            line.to_owned()
        };
        line.push('\n');
        line
    };
    Cow::Owned(text.lines().map(line).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognised_by_its_name_or_a_nameserver_line() {
        for (name, text, is) in [
            ("resolv.conf", "", true),
            ("resolv.conf", "# nothing\n", true),
            ("copy.txt", "nameserver 10.0.1.93\n", true),
            (
                "copy.txt",
                "search example.com\n\tnameserver fe80::1%eth0\n",
                true,
            ),
            ("mail.txt", "Hello,\n> nameserver 10.0.1.93\n", true),
            (
                "mail.txt",
                "> > nameserver 10.0.1.93\n>> options timeout:1\n",
                true,
            ),
            ("notes.txt", "the nameserver 10.0.1.93 is slow\n", false),
            ("notes.txt", "nameserver is slow\n", false),
            ("notes.txt", "", false),
            ("resolv.conf", "\0\0", false),
        ] {
            assert_eq!(
                recognised(Path::new(name), text.as_bytes()),
                is,
                "{name}: {text}"
            );
        }
    }

    #[test]
    fn quotes_are_removed_and_lines_stay_where_they_are() {
        let conf = ResolvConf::parse(&unquoted(
            "Here it is:\n> nameserver 10.0.1.93\n>> nameserver 10.0.1.95\r\n>options timeout:1\n> and so on\n",
        ));
        let servers: Vec<(String, usize)> = conf
            .nameservers
            .iter()
            .map(|(ip, line)| (ip.to_string(), *line))
            .collect();
        assert_eq!(
            servers,
            [("10.0.1.93".to_owned(), 2), ("10.0.1.95".to_owned(), 3)]
        );
        assert_eq!(conf.options, ["timeout:1"]);
        let plain = "nameserver 10.0.1.93\n";
        assert!(matches!(unquoted(plain), Cow::Borrowed(text) if text == plain));
    }
}
