//! Files of other programs, told by their first bytes, with the command that makes something readable of them.

use memchr::memmem::find;

/// A file that is neither capture nor strace log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// What it is, after its name: "is a snoop capture".
    pub seems: &'static str,
    /// What to do, an imperative.
    pub remedy: &'static str,
}

const CONVERT: &str = "convert it with 'editcap -F pcapng IN OUT'";
const CAPTURE: &str = "record packets with 'tcpdump -w FILE' and give that file";
const DECOMPRESS: &str = "decompress it first; gzip and zstd are read as they are";
const STRACE: &str =
    "record the calls with 'strace -f -ttt -T -yy -o FILE COMMAND' and give that file";
const NEITHER: &str =
    "record packets with 'tcpdump -w FILE' and calls with 'strace -f -ttt -T -yy -o FILE COMMAND'";

/// Magic bytes at the beginning.
const MAGIC: [(&[u8], &str, &str); 22] = [
    (b"BZh", "is compressed by bzip2", DECOMPRESS),
    (b"\xfd7zXZ", "is compressed by xz", DECOMPRESS),
    (b"\x04\x22\x4d\x18", "is compressed by lz4", DECOMPRESS),
    (
        b"7z\xbc\xaf\x27\x1c",
        "is a 7-Zip archive",
        "unpack it first",
    ),
    (b"PK\x03\x04", "is a zip archive", "unpack it first"),
    (b"Rar!\x1a\x07", "is a RAR archive", "unpack it first"),
    (b"snoop\0", "is a snoop capture", CONVERT),
    (
        b"btsnoop\0",
        "is a Bluetooth capture, which holds no IP packets",
        CAPTURE,
    ),
    (b"GMBU", "is a Network Monitor capture", CONVERT),
    (b"RTSS", "is a Network Monitor capture", CONVERT),
    (b"iptrace 1.0", "is an AIX iptrace capture", CONVERT),
    (b"iptrace 2.0", "is an AIX iptrace capture", CONVERT),
    (b"TRSNIFF data", "is a Sniffer capture", CONVERT),
    (b"XCP\0", "is a NetXray capture", CONVERT),
    (
        b"\x54\x52\x00\x64\x00",
        "is an HP-UX nettl capture",
        CONVERT,
    ),
    (
        b"LPKSHHRH",
        "is a binary systemd journal",
        "export the strace lines with 'journalctl -o cat'",
    ),
    (b"\x7fELF", "is a program", NEITHER),
    (b"PERFILE2", "is a recording of perf", STRACE),
    (b"SQLite format 3\0", "is a database", NEITHER),
    (b"\x89PNG", "is a picture", NEITHER),
    (b"\xff\xd8\xff", "is a picture", NEITHER),
    (b"%PDF", "is a PDF document", NEITHER),
];

/// Texts that begin like this, after blanks.
const BEGINNINGS: [(&[u8], &str, &str); 13] = [
    (b"; <<>> DiG", "is what dig prints", CAPTURE),
    (b";; ", "is what dig prints", CAPTURE),
    (b"Netid", "is what ss prints", NEITHER),
    (b"State ", "is what ss prints", NEITHER),
    (
        b"Active Internet connections",
        "is what netstat prints",
        NEITHER,
    ),
    (b"Proto Recv-Q", "is what netstat prints", NEITHER),
    (b"COMMAND ", "is what lsof prints", NEITHER),
    (b"* Trying ", "is what curl -v prints", NEITHER),
    (b"*   Trying ", "is what curl -v prints", NEITHER),
    (b"* Host ", "is what curl -v prints", NEITHER),
    (b"* Connected to ", "is what curl -v prints", NEITHER),
    (
        b"* Could not resolve host",
        "is what curl -v prints",
        NEITHER,
    ),
    (b"PING ", "is what ping prints", NEITHER),
];

/// Whether a line is of a certain kind.
type LineTest = fn(&[u8]) -> bool;

/// Texts of which most lines are of one kind.
const KINDS: [(LineTest, &str, &str); 6] = [
    (is_kdump, "is what kdump prints", CAPTURE),
    (is_perf_trace, "is what perf trace prints", STRACE),
    (is_sysdig, "is what sysdig prints", STRACE),
    (is_dump, "is a hexadecimal dump", CAPTURE),
    (
        is_tcpdump,
        "is what tcpdump prints, not what it captures",
        CAPTURE,
    ),
    (
        is_tshark,
        "is what tshark prints, not what it captures",
        CAPTURE,
    ),
];

/// What a file with this beginning (unpacked) is, if it is of another program's making.
pub fn foreign(head: &[u8]) -> Option<Foreign> {
    let of = |(seems, remedy)| Foreign { seems, remedy };
    if let Some((_, seems, remedy)) = MAGIC.iter().find(|(magic, ..)| head.starts_with(magic)) {
        return Some(of((seems, remedy)));
    }
    if is_scap(head) {
        return Some(of((
            "is a sysdig recording of system calls (.scap)",
            NEITHER,
        )));
    }
    if head.get(257..262) == Some(b"ustar") {
        return Some(of(("is a tar archive", "unpack it first")));
    }
    if head.contains(&0) {
        return is_erf(head).then(|| of(("is an ERF capture", CONVERT)));
    }
    text(head).map(of)
}

/// pcapng framing whose first block behind the section header is sysdig's (0x201 and above) instead of an interface's.
fn is_scap(head: &[u8]) -> bool {
    let long = |at: usize| -> Option<[u8; 4]> { head.get(at..)?.first_chunk().copied() };
    let order = |big: bool, bytes: [u8; 4]| {
        if big {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        }
    };
    let kind = || {
        let big = match (long(0)?, long(8)?) {
            ([0x0a, 0x0d, 0x0d, 0x0a], [0x1a, 0x2b, 0x3c, 0x4d]) => true,
            ([0x0a, 0x0d, 0x0d, 0x0a], [0x4d, 0x3c, 0x2b, 0x1a]) => false,
            _ => return None,
        };
        let length = usize::try_from(order(big, long(4)?)).ok()?;
        Some(order(big, long(length)?))
    };
    kind().is_some_and(|kind| (0x201..=0x2ff).contains(&kind))
}

/// Endace's format has no magic: two records in a row must make sense (type, length, times that grow).
fn is_erf(head: &[u8]) -> bool {
    let record = |at: usize| {
        let header = head.get(at..at + 16)?;
        let seconds = u32::from_le_bytes(*header.get(4..)?.first_chunk()?);
        let length = usize::from(u16::from_be_bytes([header[10], header[11]]));
        let known = matches!(header[8] & 0x7f, 1..=25) && header[9] & 0x04 != 0;
        // 2001 to 2100; no record is shorter than its header.
        let sane = (1_000_000_000..4_102_444_800).contains(&seconds) && length >= 20;
        (known && sane).then_some((seconds, at + length))
    };
    record(0).is_some_and(|(first, next)| {
        record(next).is_some_and(|(second, _)| second.abs_diff(first) < 86_400)
    })
}

fn text(head: &[u8]) -> Option<(&'static str, &'static str)> {
    let bare = head.trim_ascii_start();
    if let Some((_, seems, remedy)) = BEGINNINGS
        .iter()
        .find(|(words, ..)| bare.starts_with(words))
    {
        return Some((seems, remedy));
    }
    let has = |needle: &[u8]| find(&head[..head.len().min(8192)], needle).is_some();
    if bare.starts_with(b"<?xml") && (has(b"<pdml") || has(b"<psml")) {
        return Some(("is tshark's XML", CAPTURE));
    }
    if (bare.starts_with(b"[") || bare.starts_with(b"{")) && has(b"\"layers\"") {
        return Some(("is tshark's JSON", CAPTURE));
    }
    if bare.starts_with(b"SYSCALL(args)") {
        return Some((
            "is what dtruss prints, which does not decode addresses",
            CAPTURE,
        ));
    }
    let lines = || {
        head.split(|b| *b == b'\n')
            .take(64)
            .filter(|l| !l.trim_ascii().is_empty())
    };
    let count = lines().count();
    let most = |test: fn(&[u8]) -> bool| lines().filter(|l| test(l)).count() * 2 > count;
    if most(is_truss) || lines().any(is_truss) && !lines().any(has_strace_error) {
        return Some((
            "is a log of truss or dtruss, which does not decode addresses as strace does",
            CAPTURE,
        ));
    }
    KINDS
        .into_iter()
        .find(|(test, ..)| most(*test))
        .map(|(_, seems, remedy)| (seems, remedy))
}

fn has(line: &[u8], needle: &[u8]) -> bool {
    find(line, needle).is_some()
}

/// `connect(0x5, 0x7FFF5047D0E0, 0x10)\t\t = -1 Err#36`, `… ERR#36 'Operation now in progress'`, and the names that only
/// Solaris has: `so_socket(PF_INET, SOCK_DGRAM, …, SOV_DEFAULT) = 3`.
fn is_truss(line: &[u8]) -> bool {
    let marks: [&[u8]; 5] = [b" Err#", b" ERR#", b")\t\t = ", b"so_socket(", b", SOV_"];
    marks.iter().any(|mark| has(line, mark))
}

/// `= -1 ENOENT (No such file or directory)`.
fn has_strace_error(line: &[u8]) -> bool {
    has(line, b" = -1 E") && !is_truss(line)
}

/// `  1234 curl     CALL  connect(0x3,0x7fffffffe2e0,0x10)`.
fn is_kdump(line: &[u8]) -> bool {
    [
        &b" CALL  "[..],
        b" RET   ",
        b" NAMI  ",
        b" STRU  ",
        b" GIO   ",
    ]
    .iter()
    .any(|word| has(line, word))
}

/// `     0.000 ( 0.011 ms): curl/1234 connect(fd: 3, …) = 0`.
fn is_perf_trace(line: &[u8]) -> bool {
    line.trim_ascii_start()
        .first()
        .is_some_and(u8::is_ascii_digit)
        && has(line, b" ms): ")
}

/// `12 10:00:00.123456789 0 curl (1234) > connect fd=3(<4>)`.
fn is_sysdig(line: &[u8]) -> bool {
    has(line, b") > ") && has(line, b"(") || has(line, b") < ") && has(line, b" res=")
}

/// `\t0x0000:  4500 003c`, `00000000  45 00 00 3c`, `0000   45 00`.
fn is_dump(line: &[u8]) -> bool {
    let line = line.trim_ascii_start();
    let line = line.strip_prefix(b"0x").unwrap_or(line);
    let hex = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    let behind = line[hex..]
        .strip_prefix(b":")
        .unwrap_or(&line[hex..])
        .trim_ascii_start();
    let bytes = behind.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    (4..=8).contains(&hex) && matches!(bytes, 2 | 4) && behind.get(bytes) == Some(&b' ')
}

/// `10:00:00.123456 IP 10.0.0.1.5353 > 10.0.0.2.53: 5042+ A? www.example.com. (33)`, with an interface perhaps.
fn is_tcpdump(line: &[u8]) -> bool {
    let network = [&b" IP "[..], b" IP6 ", b" ARP, "]
        .iter()
        .any(|word| has(line, word));
    // A call that prints such a line is no such line.
    !has(line, b") = ") && network && (has(line, b" > ") || has(line, b" ARP, "))
        || line.starts_with(b"    ") && has(line, b" > ") && has(line, b": ")
}

/// `    1   0.000000     10.0.0.1 → 10.0.0.2     DNS 75 Standard query 0x1234 A www.example.com`.
fn is_tshark(line: &[u8]) -> bool {
    let begins = line
        .trim_ascii_start()
        .first()
        .is_some_and(u8::is_ascii_digit);
    begins && (has(line, " \u{2192} ".as_bytes()) || has(line, b" -> ")) && !has(line, b"(")
        || begins && has(line, " \u{2192} ".as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_named_and_strace_is_not_among_them() {
        for (text, word) in [
            (&b"BZh9xxx"[..], "bzip2"),
            (b"snoop\0\0\0", "snoop"),
            (b"03:34:39.199625 IP pod.60696 > 100.64.0.10.53: 5042+ A? a.b. (46)\n", "tcpdump"),
            (b"03:34:39.199625 eth0  Out IP 10.0.0.1.6 > 10.0.0.2.53: 1+ A? a. (46)\n", "tcpdump"),
            ("    1   0.000000 10.0.0.1 \u{2192} 10.0.0.2 DNS 75 Standard query\n".as_bytes(), "tshark"),
            (b"\t0x0000:  4500 003c 1c46 4000\n\t0x0010:  4500 003c\n", "dump"),
            (b"connect(0x5, 0x7FFF, 0x10)\t\t = -1 Err#36\n", "truss"),
            (b"12345: so_socket(PF_INET, SOCK_DGRAM, IPPROTO_IP, 0x00000000, SOV_DEFAULT) = 3\n", "truss"),
            (b"connect(3,{ AF_INET 10.0.0.1:53 },16)\t ERR#36 'Operation now in progress'\n", "truss"),
            (b"  1234 curl     CALL  connect(0x3,0x7fff,0x10)\n  1234 curl     RET   connect 0\n", "kdump"),
            (b"     0.000 ( 0.011 ms): curl/12 connect(fd: 3, uservaddr: { }, addrlen: 16) = 0\n", "perf"),
            (b"12 10:00:00.1 0 curl (12) > connect fd=3(<4>)\n", "sysdig"),
            (b"\n; <<>> DiG 9.18 <<>> a\n", "dig"),
            (b"Netid State Recv-Q\n", "ss "),
            (b"*   Trying 10.0.0.1:80...\n", "curl"),
            (b"<?xml version=\"1.0\"?>\n<pdml version=\"0\">", "XML"),
            (b"[\n {\"_source\": {\n  \"layers\": {", "JSON"),
        ] {
            let seems = foreign(text).map(|f| f.seems);
            assert!(seems.is_some_and(|s| s.contains(word)), "{word}: {seems:?}");
        }
        for text in [
            &b""[..],
            b"1234 10:00:00.1 connect(3, {sa_family=AF_INET}, 16) = 0\n",
            b"connect(3, NULL, 0) = -1 EINVAL (Invalid argument)\n",
            b"write(1, \"a ERR#5 b\", 9) = 9\nopen(\"x\", 0) = -1 ENOENT (No such file)\n",
            b"write(1, \"10:00 IP a > b: c\", 9) = 9\n",
            b"* connect(3, NULL, 0) = -1 EINVAL (Invalid argument)\n",
            b"\xd4\xc3\xb2\xa1\x02\0\x04\0",
            b"\x0a\x0d\x0d\x0a\x1c\0\0\0\x4d\x3c\x2b\x1a\x01\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\x1c\0\0\0\x01\0\0\0",
        ] {
            assert_eq!(foreign(text), None, "{}", String::from_utf8_lossy(text));
        }
    }
}
