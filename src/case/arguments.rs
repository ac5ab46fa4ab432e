//! The command line and the environment as a case stores them: what looks like a secret is replaced.
//!
//! A case is mailed and attached to tickets. Programs take passwords in their arguments in many ways, and no list of
//! them is complete; this knows the common ones, and errs towards masking too much. `--keep-arguments` stores all.

use std::borrow::Cow;

/// What stands for a secret.
const MASK: &str = "<masked>";

/// Words that make the name of an option, a variable, a field or a header the name of a secret, wherever they are in it.
const WITHIN: [&str; 9] = [
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "secret",
    "token",
    "credential",
    "apikey",
    "cookie",
];
/// Words that do so as a whole part of the name: `--api-key`, `X-Auth`, `sslKey`.
const AS_PART: [&str; 12] = [
    "key",
    "keys",
    "pass",
    "passin",
    "passout",
    "pw",
    "pwd",
    "pin",
    "auth",
    "authorization",
    "otp",
    "oauth2",
];
/// Last parts of names that say where the secret is, not what it is.
const PLACES: [&str; 5] = ["file", "path", "dir", "stdin", "prompt"];

/// Options of one letter that take a secret.
struct SecretOptions {
    programs: &'static [&'static str],
    /// The value is the next word or, with `attached_only`, follows at once.
    letter: char,
    attached_only: bool,
    /// The value is `USER:SECRET` or `USER%SECRET`: the user stays.
    after: Option<char>,
}

/// A letter whose value is the secret.
const fn secret(programs: &'static [&'static str], letter: char) -> SecretOptions {
    SecretOptions {
        programs,
        letter,
        attached_only: false,
        after: None,
    }
}

const KNOWN: &[SecretOptions] = &[
    // `-p NAME` asks for the password, and NAME is a database.
    SecretOptions {
        attached_only: true,
        ..secret(
            &[
                "mysql",
                "mysqldump",
                "mysqladmin",
                "mysqlimport",
                "mysqlshow",
                "mariadb",
                "mariadb-dump",
                "mariadb-admin",
            ],
            'p',
        )
    },
    secret(
        &[
            "sshpass",
            "mongo",
            "mongosh",
            "mongodump",
            "mongorestore",
            "docker",
            "podman",
            "rabbitmqadmin",
            "bcp",
        ],
        'p',
    ),
    secret(&["redis-cli", "valkey-cli"], 'a'),
    secret(
        &[
            "ldapsearch",
            "ldapmodify",
            "ldapadd",
            "ldapdelete",
            "ldapwhoami",
            "ldappasswd",
            "cqlsh",
            "bsqldb",
        ],
        'w',
    ),
    secret(
        &[
            "sqlcmd",
            "bcp",
            "mosquitto_pub",
            "mosquitto_sub",
            "tsql",
            "ipmitool",
        ],
        'P',
    ),
    secret(&["snmpget", "snmpwalk", "snmpset", "snmpbulkwalk"], 'A'),
    secret(&["snmpget", "snmpwalk", "snmpset", "snmpbulkwalk"], 'X'),
    secret(&["snmpget", "snmpwalk", "snmpset", "snmpbulkwalk"], 'c'),
    SecretOptions {
        after: Some(':'),
        ..secret(&["curl"], 'u')
    },
    SecretOptions {
        after: Some(':'),
        ..secret(&["curl"], 'U')
    },
    SecretOptions {
        after: Some('%'),
        ..secret(&["smbclient", "rpcclient", "net"], 'U')
    },
];

/// Options in full whose value is `USER:SECRET`.
const USERS: [&str; 4] = ["--user", "--proxy-user", "--http-user", "--auth"];

/// Options of curl in one letter that take no value, so that another may follow in the same word.
const CURL_FLAGS: &str = "#0124afgIikLlnNOqRsSvZ";

/// A script within a script within a script is enough.
const MAX_DEPTH: usize = 4;

/// What is still to be masked of the next word.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Masking {
    Nothing,
    All,
    After(char),
}

/// A command line without the secrets in it.
pub fn masked(arguments: &[String]) -> Vec<String> {
    let mut masker = Masker {
        program: String::new(),
        next: Masking::Nothing,
        depth: 0,
    };
    arguments.iter().map(|a| masker.argument(a)).collect()
}

/// The properties of `JAVA_TOOL_OPTIONS` that change how names are resolved. Everything else in it is masked.
const JAVA_PROPERTIES: [&str; 6] = [
    "-Djava.net.preferIPv",
    "-Dsun.net.inetaddr.",
    "-Dsun.net.spi.nameservice.",
    "-Dnetworkaddress.cache.",
    "-Djdk.net.hosts.file=",
    "-Djava.net.useSystemProxies=",
];

/// The value of an environment variable without the secrets in it.
pub fn masked_variable(name: &str, value: &str) -> String {
    if name != "JAVA_TOOL_OPTIONS" {
        return pairs(value).into_owned();
    }
    let words = value.split_whitespace().map(|word| {
        let known = JAVA_PROPERTIES.iter().any(|p| word.starts_with(p));
        if known { word } else { MASK }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Whether a name is that of a secret.
fn is_secret(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let parts = parts(name);
    let last = parts.last().map_or("", String::as_str);
    if PLACES.contains(&last) {
        return false;
    }
    WITHIN.iter().any(|w| lower.contains(w))
        || parts
            .iter()
            .any(|p| AS_PART.contains(&p.as_str()) || p.ends_with("pass") && p != "bypass")
}

/// The parts of a name, in lower case: `--api-key`, `api.key`, `apiKey`.
fn parts(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut was_lower = false;
    for c in name.chars() {
        let begins = !c.is_alphanumeric() || was_lower && c.is_uppercase();
        if begins && parts.last().is_some_and(|p| !p.is_empty()) {
            parts.push(String::new());
        }
        if c.is_alphanumeric()
            && let Some(part) = parts.last_mut()
        {
            part.extend(c.to_lowercase());
        }
        was_lower = c.is_lowercase();
    }
    parts.retain(|p| !p.is_empty());
    parts
}

struct Masker {
    /// The program whose options these are, if it is a known one: the last that was named.
    program: String,
    next: Masking,
    /// How many scripts this one is within.
    depth: usize,
}

impl Masker {
    fn argument(&mut self, argument: &str) -> String {
        match std::mem::replace(&mut self.next, Masking::Nothing) {
            // Options that may do without a value are followed by another option.
            Masking::All if !is_option(argument) => return MASK.into(),
            Masking::After(mark) => return after(argument, mark),
            Masking::All | Masking::Nothing => {}
        }
        if let Some(header) = header(argument) {
            return header;
        }
        // A script for a shell: words of its own.
        if argument.contains(char::is_whitespace) && self.depth < MAX_DEPTH {
            let mut inner = Masker {
                program: self.program.clone(),
                next: Masking::Nothing,
                depth: self.depth + 1,
            };
            let masked: String = tokens(argument)
                .map(|(word, space)| inner.argument_of_script(word) + space)
                .collect();
            return pairs(&masked).into_owned();
        }
        self.word(argument)
    }

    fn argument_of_script(&mut self, word: &str) -> String {
        let bare = word.trim_matches(['\'', '"']);
        if bare.is_empty() || bare.contains(char::is_whitespace) && bare == word {
            return word.to_owned();
        }
        let masked = self.argument(bare);
        if masked == bare {
            word.to_owned()
        } else {
            word.replacen(bare, &masked, 1)
        }
    }

    /// A word without blanks.
    fn word(&mut self, word: &str) -> String {
        if !word.starts_with('-') {
            let name = word.rsplit('/').next().unwrap_or(word);
            if KNOWN.iter().any(|k| k.programs.contains(&name)) {
                name.clone_into(&mut self.program);
            }
        }
        if let Some((name, value)) = word.split_once('=')
            && name
                .chars()
                .all(|c| c.is_alphanumeric() || "-_.:".contains(c))
        {
            if is_secret(name) {
                return format!("{name}={MASK}");
            }
            if USERS.contains(&name) {
                return format!("{name}={}", after(value, ':'));
            }
        } else if is_option(word) {
            if USERS.contains(&word) {
                self.next = Masking::After(':');
                return word.to_owned();
            }
            if let Some(masked) = self.letter(word) {
                return masked;
            }
            // `-key value` and `--key value`, but not `-k`: a single letter says nothing.
            if word.len() > 2 && is_secret(word) {
                self.next = Masking::All;
                return word.to_owned();
            }
        }
        // openssl(1): `-passin pass:SECRET`
        if let Some(("pass", _)) = word.split_once(':') {
            return format!("pass:{MASK}");
        }
        pairs(&addresses(word)).into_owned()
    }

    /// An option of one letter that a known program takes.
    fn letter(&mut self, word: &str) -> Option<String> {
        let letters = word.strip_prefix('-').filter(|l| !l.starts_with('-'))?;
        let known = |known: &&SecretOptions| known.programs.contains(&self.program.as_str());
        for known in KNOWN.iter().filter(known) {
            let Some(at) = letters.find(known.letter) else {
                continue;
            };
            let (before, from) = letters.split_at(at);
            let flags = if self.program == "curl" {
                CURL_FLAGS
            } else {
                ""
            };
            if !before.chars().all(|c| flags.contains(c)) {
                continue;
            }
            let value = &from[known.letter.len_utf8()..];
            if !value.is_empty() {
                let kept = &word[..word.len() - value.len()];
                let masked = match known.after {
                    Some(mark) => after(value, mark),
                    None => MASK.into(),
                };
                return Some(format!("{kept}{masked}"));
            }
            if !known.attached_only {
                self.next = known.after.map_or(Masking::All, Masking::After);
            }
            return Some(word.to_owned());
        }
        None
    }
}

/// `-x`, `--long`; a lone dash is standard input.
fn is_option(word: &str) -> bool {
    let name = word.strip_prefix('-').unwrap_or("");
    name.starts_with(|c: char| c == '-' || c.is_alphabetic() || c == '#')
}

/// `USER:SECRET` without the secret.
fn after(value: &str, mark: char) -> String {
    match value.split_once(mark) {
        Some((user, _)) => format!("{user}{mark}{MASK}"),
        None => value.to_owned(),
    }
}

/// `Authorization: Basic …` without what follows; curl's `-H` may stand before it.
fn header(argument: &str) -> Option<String> {
    let (name, value) = argument.split_once(':')?;
    let bare = name
        .trim_start_matches("-H")
        .trim_start_matches("--header=");
    let is_name = !bare.is_empty() && bare.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    // A name with a port or a time of day is no header.
    let is_header =
        is_name && (value.starts_with(' ') || bare.eq_ignore_ascii_case("authorization"));
    (is_header && is_secret(bare)).then(|| format!("{name}: {MASK}"))
}

/// Addresses with a password, or with a token for a user, as in `https://TOKEN@host`.
fn addresses(word: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = word.split_once("://") else {
        return Cow::Borrowed(word);
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    // A password may hold an at sign, and careless ones a slash.
    let Some(at) = rest[..end].rfind('@').or_else(|| {
        let at = rest.rfind('@')?;
        rest[..at].contains(':').then_some(at)
    }) else {
        return Cow::Borrowed(word);
    };
    let (user, host) = rest.split_at(at);
    let user = match user.split_once(':') {
        Some((user, _)) => format!("{user}:{MASK}"),
        None if scheme.ends_with("http") || scheme.ends_with("https") => MASK.to_owned(),
        None => return Cow::Borrowed(word),
    };
    Cow::Owned(format!("{scheme}://{user}{host}"))
}

/// Pairs within a text: `?token=…&`, `"password": "…"`, `user=x password=y`.
fn pairs(text: &str) -> Cow<'_, str> {
    let mut masked = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['=', ':']) {
        let (before, from) = rest.split_at(at);
        let bare = before.trim_end().trim_end_matches(['"', '\'']);
        let quoted_name = bare.len() < before.trim_end().len();
        let start = bare.rfind(|c: char| !(c.is_alphanumeric() || "_.-".contains(c)));
        let name = start.map_or(bare, |s| &bare[s..]);
        let value = &from[1..];
        let blank = value.len() - value.trim_start_matches(' ').len();
        // `name:` is a pair only in JSON and YAML.
        let is_pair = from.starts_with('=') && blank == 0
            || from.starts_with(':') && (quoted_name || blank > 0);
        let (skipped, value) = (&value[..blank], &value[blank..]);
        let length = length(value);
        if is_pair && length > 0 && is_secret(name) && !value.starts_with(MASK) {
            let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
            let quote = quote.map_or(String::new(), String::from);
            masked.push_str(before);
            masked.push_str(&from[..1]);
            masked.push_str(skipped);
            masked.extend([quote.as_str(), MASK, quote.as_str()]);
            rest = &value[length..];
        } else {
            masked.push_str(&rest[..=at]);
            rest = &rest[at + 1..];
        }
    }
    if masked.is_empty() {
        return Cow::Borrowed(text);
    }
    masked.push_str(rest);
    Cow::Owned(masked)
}

/// Bytes of a value: to its closing quote, or to what separates pairs.
fn length(value: &str) -> usize {
    let mut chars = value.char_indices();
    if let Some((_, quote @ ('"' | '\''))) = chars.next() {
        let mut escaped = false;
        for (at, c) in chars {
            if c == quote && !escaped {
                return at + 1;
            }
            escaped = c == '\\' && !escaped;
        }
        return value.len();
    }
    value
        .find(|c: char| c.is_whitespace() || matches!(c, '&' | '"' | '\'' | '}'))
        .unwrap_or(value.len())
}

/// The words of a script, each with the blanks behind it; blanks in quotes belong to a word.
fn tokens(script: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = script;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut quote = None;
        let end = rest
            .char_indices()
            .find(|(_, c)| {
                match (quote, c) {
                    (Some(q), c) if q == *c => quote = None,
                    (None, '\'' | '"') => quote = Some(*c),
                    _ => {}
                }
                quote.is_none() && c.is_whitespace()
            })
            .map_or(rest.len(), |(at, _)| at);
        let (word, after) = rest.split_at(end);
        let blanks = after.len() - after.trim_start().len();
        let (blanks, after) = after.split_at(blanks);
        rest = after;
        Some((word, blanks))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(arguments: &[&str]) -> String {
        let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
        masked(&arguments).join(" ")
    }

    /// A secret that must not be found afterwards.
    const S: &str = "S3CR3T";

    /// A command of each form, and what is stored of it.
    const FORMS: &[(&[&str], &str)] = &[
        (&["x", "--password", S, "h"], "x --password <masked> h"),
        (&["x", "--password=S3CR3T,a;b&c"], "x --password=<masked>"),
        (&["x", "-storepass", S], "x -storepass <masked>"),
        (
            &["x", "--api-key", S, "--token", S],
            "x --api-key <masked> --token <masked>",
        ),
        (&["x", "--password", "--host", "h"], "x --password --host h"),
        (
            &["x", "--password-file", "/run/f"],
            "x --password-file /run/f",
        ),
        (
            &[
                "java",
                "-Djavax.net.ssl.keyStorePassword=S3CR3T",
                "-jar",
                "a.jar",
            ],
            "java -Djavax.net.ssl.keyStorePassword=<masked> -jar a.jar",
        ),
        (
            &["mysql", "-pS3CR3T", "-hdb", "shop"],
            "mysql -p<masked> -hdb shop",
        ),
        (&["mysql", "-p", "shop"], "mysql -p shop"),
        (&["ssh", "-p", "2222", "h"], "ssh -p 2222 h"),
        (
            &["sudo", "/usr/bin/sshpass", "-p", S, "ssh", "h"],
            "sudo /usr/bin/sshpass -p <masked> ssh h",
        ),
        (
            &["redis-cli", "-h", "r", "-a", S],
            "redis-cli -h r -a <masked>",
        ),
        (
            &["curl", "-u", "me:S3CR3T", "http://h/"],
            "curl -u me:<masked> http://h/",
        ),
        (&["curl", "-sSume:S3CR3T"], "curl -sSume:<masked>"),
        (&["curl", "--user=me:S3CR3T"], "curl --user=me:<masked>"),
        (
            &["curl", "-H", "Authorization: Bearer S3CR3T"],
            "curl -H Authorization: <masked>",
        ),
        (
            &["curl", "-HAuthorization:Basic S3CR3T"],
            "curl -HAuthorization: <masked>",
        ),
        (
            &["curl", "-H", "X-Api-Key: S3CR3T"],
            "curl -H X-Api-Key: <masked>",
        ),
        (
            &["curl", "-H", "Accept: text/html"],
            "curl -H Accept: text/html",
        ),
        (
            &["curl", "http://me:S3CR3T@h:80/p"],
            "curl http://me:<masked>@h:80/p",
        ),
        (
            &["git", "clone", "https://S3CR3T@h/r"],
            "git clone https://<masked>@h/r",
        ),
        (
            &["git", "clone", "ssh://git@h/r"],
            "git clone ssh://git@h/r",
        ),
        (
            &["psql", "postgres://u:S3C/R3T@h/d"],
            "psql postgres://u:<masked>@h/d",
        ),
        (
            &["psql", "host=h password=S3CR3T user=u"],
            "psql host=h password=<masked> user=u",
        ),
        (
            &["curl", "http://h/?a=1&access_token=S3CR3T&b=2"],
            "curl http://h/?a=1&access_token=<masked>&b=2",
        ),
        (
            &["curl", "-d", r#"{"user":"me","password": "S3\"CR3T"}"#],
            r#"curl -d {"user":"me","password": "<masked>"}"#,
        ),
        (
            &[
                "sh",
                "-c",
                "PGPASSWORD=S3CR3T psql -h db; curl -u 'me:S3C R3T' h",
            ],
            "sh -c PGPASSWORD=<masked> psql -h db; curl -u 'me:<masked>' h",
        ),
        (
            &[
                "bash",
                "-c",
                "curl -H 'Authorization: Bearer S3CR3T' http://h/",
            ],
            "bash -c curl -H 'Authorization: <masked>' http://h/",
        ),
        (
            &["env", "AWS_SECRET_ACCESS_KEY=S3CR3T", "aws", "s3", "ls"],
            "env AWS_SECRET_ACCESS_KEY=<masked> aws s3 ls",
        ),
        (
            &["openssl", "rsa", "-passin", "pass:S3CR3T"],
            "openssl rsa -passin <masked>",
        ),
        (
            &["smbclient", "//h/s", "-U", "me%S3CR3T"],
            "smbclient //h/s -U me%<masked>",
        ),
        (
            &["zkCli.sh", "-server", "192.168.110.231:8998"],
            "zkCli.sh -server 192.168.110.231:8998",
        ),
        (
            &[
                "python3",
                "-c",
                "import socket\nsocket.create_connection(('h', 80), timeout=4)",
            ],
            "python3 -c import socket\nsocket.create_connection(('h', 80), timeout=4)",
        ),
        (
            &["curl", "--bypass", "x", "--keyserver", "k"],
            "curl --bypass x --keyserver k",
        ),
    ];

    #[test]
    fn secrets_go_and_the_rest_stays() {
        for (command, stored) in FORMS {
            let said = mask(command);
            assert_eq!(said, *stored);
            assert!(!said.contains("S3C") && !said.contains("R3T"), "{said}");
        }
    }

    #[test]
    fn variables() {
        let java = "-Djava.net.preferIPv4Stack=true -Dkey=S3CR3T -javaagent:a.jar=S3CR3T";
        assert_eq!(
            masked_variable("JAVA_TOOL_OPTIONS", java),
            "-Djava.net.preferIPv4Stack=true <masked> <masked>"
        );
        assert_eq!(masked_variable("RES_OPTIONS", "timeout:1"), "timeout:1");
        assert_eq!(masked_variable("GODEBUG", "netdns=go+2"), "netdns=go+2");
    }

    #[test]
    fn any_text_is_survived() {
        for text in [
            "",
            "=",
            ":",
            "-",
            "--",
            "://",
            "a://@",
            "'",
            "password=",
            "\"password\":",
            "-u",
            "é=é:é@",
            "pass:",
            "x --password \u{301}",
            &"\"a 'b ".repeat(5000),
        ] {
            for program in ["curl", "mysql", "smbclient"] {
                mask(&[program, text, text]);
            }
        }
    }
}
