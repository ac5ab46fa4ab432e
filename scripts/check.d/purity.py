"""The rule that pure stages stay pure: only sources, the command line and the case folder touch the system.

purity.py [--self-test]

Every file under src/ other than src/main.rs, src/source*, src/cli* and src/case* is read without its comments,
strings and test modules; naming one of the things below is a violation, printed as file:line. Exit status 1 when
there is one. The self-test plants violations and lawful look-alikes and fails unless exactly the first are caught.
"""
import os
import re
import sys

EXEMPT = re.compile(r"^src/(main\.rs$|source|cli|case)")
# What may not be named, by the last segments of its path.
FORBIDDEN = re.compile(
    r"\b(?:std|core)::(?:fs|env|process)\b"
    r"|\b(?:TcpStream|TcpListener|UdpSocket|UnixStream|UnixListener|UnixDatagram)\b"
    r"|\b(?:Instant|SystemTime)\b"
    r"|\b(?:clap|pcap|nix|libc)::"
    r"|\b(?:use|extern\s+crate)\s+(?:clap|pcap|nix|libc)\b")
# `use std::{fs, io}`: members of a group, wherever the line breaks are.
GROUP = re.compile(r"\bstd::\{([^;]*)\}\s*;")
GROUP_MEMBER = re.compile(r"(?:^|[{,])\s*(fs|env|process)\b")
NOISE = re.compile(
    r"//[^\n]*"                                    # comments, documentation included
    r"|/\*.*?\*/"
    r'|\bb?r(#*)".*?"\1'                           # raw strings
    r'|b?"(?:\\.|[^"\\])*"'                        # strings
    r"|b?'(?:\\(?:x[0-9a-fA-F]{2}|u\{[0-9a-fA-F_]+\}|.)|[^'\\\n])'",  # characters; a lifetime has no closing quote
    re.S)
TEST_MODULE = re.compile(r"#\[cfg\(test\)\]\s*(?:#\[[^\]]*\]\s*)*(?:pub(?:\([a-z]+\))?\s+)?mod\s+\w+\s*\{")


def blank(text):
    """The same number of lines, with nothing on them."""
    return re.sub(r"[^\n]", " ", text)


def without_tests(code):
    """Blanks `#[cfg(test)] mod x { ... }`; `code` holds no strings or comments, so braces count."""
    while True:
        found = TEST_MODULE.search(code)
        if not found:
            return code
        depth, at = 1, found.end()
        while depth and at < len(code):
            depth += {"{": 1, "}": -1}.get(code[at], 0)
            at += 1
        code = code[:found.start()] + blank(code[found.start():at]) + code[at:]


def violations(text):
    """(line number, what was named) for each violation in one file."""
    code = without_tests(NOISE.sub(lambda m: blank(m.group()), text))
    found = [(code.count("\n", 0, m.start()) + 1, m.group()) for m in FORBIDDEN.finditer(code)]
    for group in GROUP.finditer(code):
        for member in GROUP_MEMBER.finditer(group.group(1)):
            at = group.start(1) + member.start(1)
            found.append((code.count("\n", 0, at) + 1, "std::" + member.group(1)))
    return sorted(found)


def is_pure(path):
    """Whether the rule holds for this file: test-only files are free, like test modules."""
    return path.endswith(".rs") and not EXEMPT.match(path) and not re.search(r"(^|/)tests?(\.rs$|/)", path)


def self_test():
    guilty = {
        "path": "fn f() { std::fs::read(p); }",
        "use": "use std::env;",
        "group": "use std::{\n    collections::BTreeMap,\n    fs,\n};",
        "nested group": "use std::{fmt, process::{self, Command}};",
        "socket": "use std::net::{IpAddr, TcpStream};",
        "clock": "let t = std::time::Instant::now();",
        "crate": "use pcap::Capture;",
        "libc": "let x = libc::AF_INET;",
        "after a test module": "#[cfg(test)]\nmod tests { fn g() { { } } }\nuse nix::sys;",
        "after a lifetime": "fn f<'a>(x: &'a str) -> SystemTime { 'x' }",
    }
    innocent = {
        "comment": "// std::fs is for sources\n/// clap::Parser\n/* libc::open */",
        "string": 'let s = "std::env and \\" libc::x"; let r = r#"nix::"#;',
        "other crate": "use pcap_parser::traits;",
        "macro": 'const V: &str = env!("CARGO_PKG_VERSION");',
        "look-alike": "struct Instantly; fn processed() {} use std::net::IpAddr;",
        "tests": "#[cfg(test)]\nmod tests {\n    use std::env;\n}",
        "other group": "use std::{collections::BTreeMap, fmt};",
    }
    wrong = ["not caught: " + name for name, text in guilty.items() if not violations(text)]
    wrong += ["falsely caught: %s %s" % (name, violations(text)) for name, text in innocent.items() if violations(text)]
    if violations("\n\nuse std::fs;") != [(3, "std::fs")]:
        wrong.append("the line is not right")
    paths = {"src/join/dns.rs": True, "src/time.rs": True, "src/source/capture.rs": False, "src/source.rs": False,
             "src/main.rs": False, "src/cli.rs": False, "src/case.rs": False, "src/join/tests.rs": False}
    wrong += ["path: " + path for path, pure in paths.items() if is_pure(path) != pure]
    for line in wrong:
        print("purity self-test:", line)
    return bool(wrong)


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    count = files = 0
    for folder, _, names in sorted(os.walk("src")):
        for name in sorted(names):
            path = os.path.join(folder, name).replace(os.sep, "/")
            if not is_pure(path):
                continue
            files += 1
            with open(path, encoding="utf-8") as file:
                for line, what in violations(file.read()):
                    print("%s:%d: a pure stage names %s" % (path, line, what.strip()))
                    count += 1
    if not files:
        print("purity: no files under src/; run from the project's root")
        return True
    return count > 0


if __name__ == "__main__":
    sys.exit(main())
