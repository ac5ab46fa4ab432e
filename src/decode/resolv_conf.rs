//! `resolv.conf` and the variables that override it, read as glibc reads them (resolv.conf(5), and glibc's
//! `resolv/res_init.c`, from which the limits are).

use std::net::{IpAddr, Ipv4Addr};

/// What the stub resolver will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvConf {
    /// The servers that are asked, in order: at most [`MAX_SERVERS`].
    pub servers: Vec<Server>,
    /// Servers beyond those: never asked.
    pub ignored: Vec<Server>,
    /// The search list. `None`: none is given, so the host's own domain is searched.
    pub search: Option<Search>,
    /// How it asks.
    pub options: Options,
    /// Lines that mean nothing or not what they seem to: line number, why.
    pub oddities: Vec<(u32, String)>,
}

/// `MAXNS` (`arpa/nameser_compat.h`, `resolv.h`): more servers are not asked.
pub const MAX_SERVERS: usize = 3;
/// More lines than this are not remarked upon.
const MAX_ODDITIES: usize = 32;
/// More than this is no resolver configuration: longer lists are cut.
const MAX_LIST: usize = 256;

/// A name server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its address.
    pub address: IpAddr,
    /// Its zone, for link-local IPv6 addresses.
    pub zone: Option<Box<str>>,
    /// The line that names it; 0 when none does (the default).
    pub line: u32,
}

/// A search list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// The domains, in order.
    pub domains: Vec<Box<str>>,
    /// Where they are from.
    pub origin: Origin,
}

/// Where a setting is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A line of the file.
    Line(u32),
    /// `LOCALDOMAIN` or `RES_OPTIONS`.
    Environment,
}

/// The options of resolv.conf(5) that change what is asked when.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // they are flags in the file too
pub struct Options {
    /// Dots in a name from which on it is first asked as it is.
    pub ndots: u8,
    /// Seconds until the next server is asked.
    pub timeout: u8,
    /// Rounds over all servers.
    pub attempts: u8,
    /// Every lookup begins with another server.
    pub rotate: bool,
    /// A and AAAA one after the other on one socket.
    pub single_request: bool,
    /// A and AAAA on sockets of their own.
    pub single_request_reopen: bool,
    /// TCP only.
    pub use_vc: bool,
    /// EDNS0.
    pub edns0: bool,
    /// Never asks for AAAA (glibc 2.36).
    pub no_aaaa: bool,
    /// The file is not read again when it changes.
    pub no_reload: bool,
    /// The AD bit is passed on.
    pub trust_ad: bool,
    /// Names without a dot are not asked as they are.
    pub no_tld_query: bool,
    /// Options that glibc does not know: it says nothing about them.
    pub unknown: Vec<Box<str>>,
}

impl Default for Options {
    fn default() -> Self {
        // RES_TIMEOUT 5, RES_DFLRETRY 2 (resolv.h); ndots 1.
        Self {
            ndots: 1,
            timeout: 5,
            attempts: 2,
            rotate: false,
            single_request: false,
            single_request_reopen: false,
            use_vc: false,
            edns0: false,
            no_aaaa: false,
            no_reload: false,
            trust_ad: false,
            no_tld_query: false,
            unknown: Vec::new(),
        }
    }
}

/// `RES_MAXNDOTS`, `RES_MAXRETRANS`, `RES_MAXRETRY` (resolv.h).
const MOST: [(&str, u8); 3] = [("ndots:", 15), ("timeout:", 30), ("attempts:", 5)];

/// The two variables that override the file.
#[derive(Clone, Copy, Debug, Default)]
pub struct Environment<'a> {
    /// `RES_OPTIONS`: options, after those of the file.
    pub res_options: Option<&'a str>,
    /// `LOCALDOMAIN`: the search list, instead of the file's.
    pub localdomain: Option<&'a str>,
}

/// Reads a `resolv.conf`.
pub fn parse(text: &str, environment: Environment<'_>) -> ResolvConf {
    let mut conf = ResolvConf {
        servers: Vec::new(),
        ignored: Vec::new(),
        search: None,
        options: Options::default(),
        oddities: Vec::new(),
    };
    for (number, line) in (1u32..).zip(text.lines()) {
        conf.line(number, line);
    }
    if conf.servers.is_empty() {
        // res_init.c: without a server, the local host is asked.
        conf.servers.push(Server {
            address: Ipv4Addr::LOCALHOST.into(),
            zone: None,
            line: 0,
        });
    }
    if let Some(domains) = environment.localdomain {
        conf.search = Some(Search {
            domains: words(domains),
            origin: Origin::Environment,
        });
    }
    if let Some(options) = environment.res_options {
        conf.options.read(options);
    }
    conf
}

fn words(text: &str) -> Vec<Box<str>> {
    let words = text.split([' ', '\t']).filter(|w| !w.is_empty());
    words.take(MAX_LIST).map(Into::into).collect()
}

impl ResolvConf {
    fn odd(&mut self, line: u32, why: impl Into<String>) {
        if self.oddities.len() < MAX_ODDITIES {
            self.oddities.push((line, why.into()));
        }
    }

    fn line(&mut self, number: u32, line: &str) {
        // Comments begin at the very beginning of a line; a comment after a value is part of the value.
        if line.starts_with([';', '#']) || line.trim().is_empty() {
            return;
        }
        let Some((keyword, value)) = line.split_once([' ', '\t']) else {
            return self.odd(number, "a keyword without a value is ignored");
        };
        let value = value.trim();
        match keyword {
            "nameserver" => self.server(number, value),
            "domain" | "search" => {
                let mut domains = words(value);
                if keyword == "domain" {
                    domains.truncate(1);
                }
                if self.search.is_some() {
                    self.odd(number, "replaces the earlier domain or search line");
                }
                if domains.is_empty() {
                    return;
                }
                self.search = Some(Search {
                    domains,
                    origin: Origin::Line(number),
                });
            }
            "options" => self.options.read(value),
            "sortlist" => {}
            "" => self.odd(number, "begins with a blank: glibc ignores it"),
            _ => self.odd(number, "unknown keyword: ignored"),
        }
    }

    fn server(&mut self, line: u32, value: &str) {
        let word = value.split([' ', '\t']).next().unwrap_or_default();
        let (address, zone) = match word.split_once('%') {
            Some((address, zone)) => (address, Some(zone.into())),
            None => (word, None),
        };
        let Some(address) = address.parse().ok().or_else(|| short_form(address)) else {
            return self.odd(line, "no address: ignored (names are not possible here)");
        };
        let server = Server {
            address,
            zone,
            line,
        };
        if self.servers.len() < MAX_SERVERS {
            self.servers.push(server);
        } else {
            self.odd(line, "a fourth name server is never asked");
            if self.ignored.len() < MAX_LIST {
                self.ignored.push(server);
            }
        }
    }
}

/// IPv4 addresses of fewer than four decimal parts, as `inet_aton(3)` takes them: the last part fills the rest.
fn short_form(text: &str) -> Option<IpAddr> {
    let parts: Vec<u32> = text
        .splitn(5, '.')
        .map(str::parse)
        .collect::<Result<_, _>>()
        .ok()?;
    let (last, first) = parts.split_last()?;
    if first.len() > 3 || first.iter().any(|part| *part > 255) {
        return None;
    }
    let room = 32 - 8 * u32::try_from(first.len()).ok()?;
    if u64::from(*last) >= 1u64 << room {
        return None;
    }
    let high = first
        .iter()
        .enumerate()
        .fold(0u32, |all, (i, part)| all | part << (24 - 8 * i));
    Some(Ipv4Addr::from(high | last).into())
}

impl Options {
    fn read(&mut self, text: &str) {
        for word in text.split([' ', '\t']).filter(|w| !w.is_empty()) {
            if let Some((name, most)) = MOST.iter().find(|(name, _)| word.starts_with(name)) {
                let value = atoi(&word[name.len()..]).min((*most).into());
                let value = u8::try_from(value).unwrap_or(*most);
                match *name {
                    "ndots:" => self.ndots = value,
                    "timeout:" => self.timeout = value,
                    _ => self.attempts = value,
                }
                continue;
            }
            match word {
                "rotate" => self.rotate = true,
                "single-request" => self.single_request = true,
                "single-request-reopen" => self.single_request_reopen = true,
                "use-vc" => self.use_vc = true,
                "edns0" => self.edns0 = true,
                "no-aaaa" => self.no_aaaa = true,
                "no-reload" => self.no_reload = true,
                "trust-ad" => self.trust_ad = true,
                "no-tld-query" | "no_tld_query" => self.no_tld_query = true,
                _ if self.unknown.len() < MAX_LIST => self.unknown.push(word.into()),
                _ => {}
            }
        }
    }
}

/// The number at the beginning, else 0, as atoi(3).
fn atoi(text: &str) -> u32 {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let digits = &text[..end];
    if digits.is_empty() {
        0
    } else {
        digits.parse().unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> ResolvConf {
        parse(text, Environment::default())
    }

    #[test]
    fn servers_options_and_search() {
        let conf = plain(
            "# made by hand\nnameserver 10.0.1.93\nnameserver\tfe80::1%eth0\nsearch a.test b.test\n\
             options timeout:2 attempts:9 rotate ndots:3 single-request-reopen wild\nnameserver 10.1\nnameserver ::1\n",
        );
        let addresses: Vec<_> = conf.servers.iter().map(|s| s.address.to_string()).collect();
        assert_eq!(addresses, ["10.0.1.93", "fe80::1", "10.0.0.1"]);
        assert_eq!(conf.servers[1].zone.as_deref(), Some("eth0"));
        assert_eq!((conf.ignored.len(), conf.ignored[0].line), (1, 7));
        let search = conf.search.unwrap();
        assert_eq!(search.domains, ["a.test".into(), "b.test".into()]);
        let o = conf.options;
        assert_eq!((o.timeout, o.attempts, o.ndots), (2, 5, 3));
        assert!(o.rotate && o.single_request_reopen && !o.single_request);
        assert_eq!(o.unknown, ["wild".into()]);
        assert_eq!(conf.oddities.len(), 1);
    }

    #[test]
    fn nothing_means_the_local_host() {
        let conf = plain("");
        assert_eq!(conf.servers[0].address.to_string(), "127.0.0.1");
        assert_eq!(conf.servers[0].line, 0);
        assert_eq!((conf.search, conf.options), (None, Options::default()));
    }

    #[test]
    fn the_environment_comes_last() {
        let environment = Environment {
            res_options: Some("timeout:1 use-vc"),
            localdomain: Some("c.test"),
        };
        let conf = parse("search a.test\noptions timeout:3 ndots:2\n", environment);
        assert_eq!((conf.options.timeout, conf.options.ndots), (1, 2));
        assert!(conf.options.use_vc);
        let search = conf.search.unwrap();
        assert_eq!(search.origin, Origin::Environment);
        assert_eq!(search.domains, ["c.test".into()]);
    }

    #[test]
    fn what_glibc_ignores_is_told() {
        let conf = plain("  nameserver 10.0.0.1\nnameserver dns.test\nnonsense 1\nsearch\n");
        let lines: Vec<u32> = conf.oddities.iter().map(|o| o.0).collect();
        assert_eq!(lines, [1, 2, 3, 4]);
        assert_eq!(conf.servers[0].line, 0);
    }

    #[test]
    fn the_last_search_wins_and_domain_is_one() {
        let conf = plain("search a.test b.test\ndomain c.test d.test\n");
        let search = conf.search.unwrap();
        assert_eq!(search.domains, ["c.test".into()]);
        assert_eq!(search.origin, Origin::Line(2));
    }

    #[test]
    fn odd_addresses_are_taken_as_inet_aton_does() {
        for (text, address) in [
            ("127.1", "127.0.0.1"),
            ("10.1.2", "10.1.0.2"),
            ("1", "0.0.0.1"),
        ] {
            assert_eq!(short_form(text).unwrap().to_string(), address);
        }
        for text in ["256.1", "1.2.3.4.5", "", "1.16777216", "a.b"] {
            assert_eq!(short_form(text), None, "{text}");
        }
    }
}
