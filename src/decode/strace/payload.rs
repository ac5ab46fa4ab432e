//! The buffers of send and receive calls, and the DNS messages in them.

use super::{address, lex};
use crate::decode::dns::{framing, glimpse};
use crate::decode::name_service;
use crate::event::{Address, Local, SocketType, Transfer, dns};
use crate::flow::{Endpoint, stand_in};

/// How much of one buffer is decoded: the longest DNS message is 64 KiB (RFC 1035 section 4.2.2).
const MAX_PAYLOAD: usize = 2 + 0xffff;

/// How many messages of one buffer or one call are kept; `UIO_MAXIOV` (Linux `include/uapi/linux/uio.h`).
const MAX_MESSAGES: usize = 1024;

/// A DNS header (RFC 1035 section 4.1.1).
const HEADER: usize = 12;

/// One buffer, perhaps gathered from several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload {
    bytes: Vec<u8>,
    /// strace showed only a beginning of it.
    cut: bool,
    /// Its length, as the call says.
    length: u64,
}

/// `"…"...` with its length argument.
pub fn single(value: &[u8], length: Option<&[u8]>) -> Payload {
    let length = length.and_then(unsigned);
    match lex::string(value, MAX_PAYLOAD) {
        Some((bytes, cut)) => Payload {
            length: length.unwrap_or(bytes.len() as u64),
            bytes,
            cut,
        },
        None => Payload {
            cut: true,
            length: length.unwrap_or(0),
            ..Payload::default()
        },
    }
}

/// `[{iov_base="…", iov_len=29}, …]`, or the older `[{"…", 29}, …]`: one run of bytes.
pub fn vector(value: &[u8]) -> Payload {
    let mut whole = Payload::default();
    for item in lex::inside(value) {
        let fields = lex::inside(item);
        if fields.is_empty() {
            // `...`: more than strace shows.
            whole.cut = true;
            continue;
        }
        let base = lex::field(&fields, b"iov_base").or(fields.first().copied());
        let length = lex::field(&fields, b"iov_len").or(fields.get(1).copied());
        let part = single(base.unwrap_or_default(), length);
        whole.length = whole.length.saturating_add(part.length);
        if !whole.cut && whole.bytes.len() < MAX_PAYLOAD {
            whole.bytes.extend_from_slice(&part.bytes);
            whole.cut = part.cut;
        }
    }
    whole
}

/// A `msghdr`: the address given with it, and its bytes.
pub fn header(value: &[u8]) -> (Option<Address>, Payload) {
    let fields = lex::inside(value);
    let name = lex::field(&fields, b"msg_name").and_then(address::read);
    let bytes = lex::field(&fields, b"msg_iov").map(vector);
    (name, bytes.unwrap_or_default())
}

/// An array of `mmsghdr`: each one's header and its `msg_len`.
pub fn headers(value: &[u8]) -> Vec<(Option<Address>, Payload, Option<u64>)> {
    // Old versions wrote `{{{msg_name…}, 29}, {{msg_name…}, 32}}` for the array.
    let items = lex::inside(value);
    let one = |item: &&[u8]| {
        let fields = lex::inside(item);
        let head = lex::field(&fields, b"msg_hdr").or(fields.first().copied())?;
        let length = lex::field(&fields, b"msg_len").or(fields.get(1).copied());
        let (name, bytes) = header(head);
        head.starts_with(b"{")
            .then_some((name, bytes, length.and_then(unsigned)))
    };
    items.iter().take(MAX_MESSAGES).filter_map(one).collect()
}

fn unsigned(text: &[u8]) -> Option<u64> {
    lex::number(text).and_then(|(number, _)| u64::try_from(number).ok())
}

impl Payload {
    /// A receive call names the size of its buffer; what came is its result.
    pub fn set_length(&mut self, length: Option<u64>) {
        if let Some(length) = length {
            self.length = length;
            if let Ok(most) = usize::try_from(length) {
                self.bytes.truncate(most);
            }
        }
    }

    /// The message that these bytes make. `style` is the socket's, where known; without `dns` nothing is
    /// looked for (netlink, unix sockets).
    pub fn message(
        &self,
        peer: Option<&Address>,
        taken: bool,
        style: SocketType,
        dns: bool,
    ) -> Transfer {
        let other_family = matches!(peer, Some(Address::Unix(_) | Address::Other(_)));
        Transfer {
            peer: match peer {
                Some(Address::Inet(end)) => Some(*end),
                Some(Address::Unreadable {
                    text,
                    port: Some(port),
                }) => Some(Endpoint::new(stand_in(text), *port)),
                _ => None,
            },
            length: u32::try_from(self.length).unwrap_or(u32::MAX),
            taken,
            dns: if dns && !other_family {
                self.dns(style)
            } else {
                Vec::new()
            },
            local: None,
        }
    }

    /// What these bytes say to a name service on this host, or what it says in them.
    pub fn local(&self, sent: bool) -> Option<Local> {
        name_service::read(&self.bytes, sent)
    }

    /// The DNS messages in it: one in a datagram; in a stream each behind its length (RFC 1035 section
    /// 4.2.2), or one without when the program moves the length by a call of its own.
    fn dns(&self, style: SocketType) -> Vec<dns::Message> {
        let cut = self.cut || (self.bytes.len() as u64) < self.length;
        if style != SocketType::Datagram {
            let framed = self.framed(cut);
            if !framed.is_empty() {
                return framed;
            }
        }
        glimpse(&self.bytes, cut).into_iter().collect()
    }

    fn framed(&self, cut: bool) -> Vec<dns::Message> {
        let mut found = Vec::new();
        let mut rest = &self.bytes[..];
        let mut remains = self.length;
        while let Some((length, body)) = framing::prefix(rest) {
            if length < HEADER || (length as u64).saturating_add(2) > remains {
                break;
            }
            let (message, more) = body.split_at(length.min(body.len()));
            let Some(message) = glimpse(message, cut && message.len() < length) else {
                break;
            };
            found.push(message);
            if found.len() == MAX_MESSAGES {
                break;
            }
            rest = more;
            remains -= length as u64 + 2;
        }
        found
    }
}

/// Whether a call's arguments may hold a DNS message, judged from the header of the first buffer without
/// decoding the rest: one question, and an opcode and counts as in life. Two bytes of length may precede.
pub fn may_be_dns(args: &[u8]) -> bool {
    let Some(quote) = args.iter().take(64).position(|b| *b == b'"') else {
        return false;
    };
    let mut text = &args[quote + 1..];
    let mut head = [0_u8; 7 + 2];
    let mut length = 0;
    while length < head.len()
        && let Some((byte, used)) = lex::unescape_one(text)
    {
        head[length] = byte;
        length += 1;
        text = &text[used..];
    }
    let plausible =
        |h: &[u8]| h.len() >= 7 && h[4] == 0 && h[5] == 1 && h[2] & 0x78 <= 0x28 && h[6] == 0;
    plausible(&head[..length]) || plausible(&head[2..length.max(2)])
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: &str = r"\22\64\1\0\0\1\0\0\0\0\0\0\3www\7example\3lab\0\0\1\0\1";

    fn names(buffer: &Payload, style: SocketType) -> Vec<String> {
        buffer
            .message(None, true, style, true)
            .dns
            .into_iter()
            .map(|m| m.question.unwrap().to_string())
            .collect()
    }

    #[test]
    fn datagrams_whole_and_cut() {
        let whole = single(format!("\"{QUERY}\"").as_bytes(), Some(b"33"));
        assert_eq!(names(&whole, SocketType::Datagram), ["A www.example.lab"]);
        let cut = single(br#""\22\64\1\0\0\1\0\0\0\0\0\0\7hotma"..."#, Some(b"29"));
        assert_eq!(names(&cut, SocketType::Unknown), ["? hotma…"]);
        assert!(names(&single(b"0x7ffe", Some(b"29")), SocketType::Unknown).is_empty());
    }

    #[test]
    fn vectors_are_glued() {
        let (head, tail) = QUERY.split_at(20);
        let value =
            format!(r#"[{{iov_base="{head}", iov_len=9}}, {{iov_base="{tail}", iov_len=24}}]"#);
        let glued = vector(value.as_bytes());
        assert_eq!(glued.length, 33);
        assert_eq!(names(&glued, SocketType::Datagram), ["A www.example.lab"]);
    }

    #[test]
    fn streams_hold_several() {
        let text = format!("\"\\0\\41{QUERY}\\0\\41{QUERY}\"");
        let two = single(text.as_bytes(), Some(b"70"));
        assert_eq!(names(&two, SocketType::Stream).len(), 2);
        assert_eq!(names(&two, SocketType::Unknown).len(), 2);
        let bare = single(format!("\"{QUERY}\"").as_bytes(), Some(b"33"));
        assert_eq!(names(&bare, SocketType::Stream).len(), 1);
    }

    #[test]
    fn arrays_of_messages() {
        let new = format!(
            r#"[{{msg_hdr={{msg_name=NULL, msg_namelen=0, msg_iov=[{{iov_base="{QUERY}", iov_len=33}}], msg_iovlen=1, msg_controllen=0, msg_flags=0}}, msg_len=33}}, {{msg_hdr={{msg_name=NULL, msg_iov=[]}}, msg_len=7}}]"#
        );
        let old = format!(
            r#"{{{{{{msg_name(0)=NULL, msg_iov(1)=[{{"{QUERY}", 33}}], msg_controllen=0, msg_flags=0}}, 33}}, {{{{msg_name(0)=NULL, msg_iov(0)=[]}}, 7}}}}"#
        );
        for text in [new, old] {
            let all = headers(text.as_bytes());
            assert_eq!(all.len(), 2, "{text}");
            assert_eq!((all[0].2, all[1].2), (Some(33), Some(7)));
            assert_eq!(names(&all[0].1, SocketType::Unknown), ["A www.example.lab"]);
        }
    }

    #[test]
    fn a_first_look_tells_most_payloads_apart() {
        assert!(may_be_dns(format!("3, \"{QUERY}\", 33) = 33").as_bytes()));
        assert!(may_be_dns(
            format!("3, \"\\0\\41{QUERY}\", 35) = 35").as_bytes()
        ));
        assert!(!may_be_dns(br#"3, "GET / HTTP/1.1\r\n", 33) = 33"#));
        assert!(!may_be_dns(
            br#"3, "\177ELF\2\1\1\0\0\0\0\0\0\0\0\0\3", 832) = 832"#
        ));
        assert!(!may_be_dns(b"3, 0x7ffe, 832) = 832"));
    }
}
