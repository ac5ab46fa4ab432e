//! What `--help` says below the options, and the manual pages in sections of their own. A heading is a line of its
//! own that ends with a colon; what is indented is printed as it stands.

/// `presyn`.
pub const PRESYN: &str = "\
Examples:
  sudo presyn run curl -s http://web.example/
  presyn analyze slow.pcap strace.log resolv.conf
  presyn diff before/ after/
  presyn explain resolver-silent

Exit status:
  0  done
  1  a --fail-on condition holds, or check found that something is missing
  2  unusable input or usage
  3  a report was printed, but from damaged input
  run exits as its command did; 125 to 127 when the command could not be run";

/// `presyn analyze`.
pub const ANALYZE: &str = "\
Several folders are a case each; one that cannot be read is named, and the others are
reported. Anything else is one case: the files of one run, or a folder and what it lacks.
A resolv.conf among the files, as copied or quoted by a mail, is the client's.

Conditions of --fail-on:
  FINDING        this finding is among the findings; presyn explain lists them
  delay>SECONDS  a client waited longer before its SYN, or for a lookup that failed
  unanswered>N   more queries stayed unanswered, all resolvers together

Examples:
  presyn analyze case/
  presyn analyze slow.pcap strace.log resolv.conf
  presyn analyze --target db.example:5432 --format json slow.pcap strace.log
  presyn analyze --format markdown case/ > ticket.md
  presyn analyze --format jsonl cases/*/ > cases.jsonl
  presyn analyze --fail-on resolver-silent --fail-on 'delay>3' case/
  ssh HOST cat slow.pcap | presyn analyze - strace.log

Exit status:
  0  done
  1  a --fail-on condition holds
  2  unusable input or usage
  3  a report was printed, but from damaged input
  130  Ctrl-C while reading, with a report about what was read
  Where several hold: 130 before 2 before 3 before 1.";

/// `presyn reproduce`.
pub const REPRODUCE: &str = "\
Builds the recorded network around your client, in namespaces of its own: resolvers that
answer with the recorded bytes after the recorded time, stay silent, refuse or are absent;
servers that accept, refuse or drop SYNs; the client's addresses and configuration. No
packet and no lookup leaves it. CMD runs under presyn's tracer and capture. Root is not
needed where the host lets users make namespaces.

What the recording does not tell is chosen, and each choice is printed.

Examples:
  presyn reproduce case/
  presyn reproduce case/ -- curl -s http://web.example/
  presyn reproduce --without 10.0.1.93 case/ -- curl -s http://web.example/
  presyn reproduce --fix '10.0.1.93 answers' case/ -- getent ahosts web.example
  presyn reproduce --options 'timeout:1 attempts:1' --save tried/ case/ -- CMD

Exit status:
  0    the findings are the same, and cost as much (10 % or 0.3 s)
  1    they are not
  2    unusable input or usage, or no command
  3    compared, but from damaged input
  --pass-status exits as the command did.";

/// `presyn run`.
pub const RUN: &str = "\
The report goes to standard error, or to --report FILE; standard output is the command's
own. --format json and jsonl need --report. Options after CMD are the command's.

Conditions of --fail-on, each of which prints one line when it holds, with --quiet too:
  FINDING        this finding is among the findings; presyn explain lists them
  delay>SECONDS  a client waited longer before its SYN, or for a lookup that failed
  unanswered>N   more queries stayed unanswered, all resolvers together

Examples:
  sudo presyn run curl -s http://web.example/
  sudo presyn run --save case/ zkCli.sh -server 192.168.110.231:8998
  sudo presyn run -q --fail-on 'delay>3' curl -s -o /dev/null http://web.example/
  sudo presyn run --container web getent hosts db.example
  sudo presyn run --netns blue curl -s http://web.example/
  sudo presyn run --format markdown --report ticket.md psql -h db.example -c 'select 1'

Exit status:
  The command's, with --fail-on too; to fail on a condition, --save and analyze --fail-on.
  As env(1), when the command did not run:
  125  presyn itself failed, usage errors included
  126  the command cannot be executed
  127  the command is not found";

/// `presyn attach`.
pub const ATTACH: &str = "\
Packets are captured in the target's network namespace, and each query and SYN is given to
the process that has its socket. No thread is stopped and nothing of the target is changed.
A packet whose socket is gone when it is looked up is counted as unattributed.
The report goes to standard output, or to --report FILE; long waits are shown on standard
error while they last.

With --calls all threads of the target are traced (ptrace) and each call stops its thread
twice: loops of connects ran 3 to 10 times slower, redis 6 times, reads and writes of a pipe 36
times. When it begins and when it ends, each thread is interrupted once: epoll_wait, and recv
on a socket with SO_RCVTIMEO, then return EINTR; poll, select and nanosleep go on. Nothing is
put into the target: when presyn ends in whatever way, SIGKILL included, the target runs on
untraced. Ctrl-C ends the recording, not the target; Ctrl-Z does nothing. Without root,
set-user-ID programs that the target starts meanwhile gain no rights.

Conditions of --fail-on:
  FINDING        this finding is among the findings; presyn explain lists them
  delay>SECONDS  a client waited longer before its SYN, or for a lookup that failed
  unanswered>N   more queries stayed unanswered, all resolvers together

Examples:
  sudo presyn attach 4711
  sudo presyn attach --unit nginx --for 60 --save case/
  sudo presyn attach --container web --until-delay 3
  sudo presyn attach --unit api --for 30 --fail-on 'delay>1' --format markdown
  sudo presyn attach --calls --for 10 --save case/ 4711

Exit status:
  0  done
  1  a --fail-on condition holds
  2  the target was not found or may not be watched, or usage";

/// `presyn whatif`.
pub const WHATIF: &str = "\
Without a change it lists a few that may help the slowest connect, with the effect of each.
--resolv-conf is the change to try; --recorded-resolv-conf is what the client had, which a
resolv.conf among the PATHs is too.

Examples:
  presyn whatif case/
  presyn whatif case/ --without 10.0.1.93
  presyn whatif case/ --options 'timeout:1 attempts:1'
  presyn whatif case/ --resolv-conf new.conf --format json

Exit status:
  0  done
  2  unusable input or usage
  3  an answer was printed, but from damaged input";

/// `presyn diff`.
pub const DIFF: &str = "\
Servers are matched by the name that was looked up and the port, else by the address;
process ids and the client's ports play no part. Options of analyze are for reports:
save one with --format json, then compare.

Examples:
  presyn diff before/ after/
  presyn analyze --format json slow.pcap strace.log > before.json
  presyn diff before.json after/
  presyn diff --format markdown before/ after/ > ticket.md
  presyn diff --fail-on worse last.json now/

Exit status:
  0  compared
  1  --fail-on worse: something got worse
  2  unusable input or usage
  3  compared, but from damaged input";

/// `presyn check`.
pub const CHECK: &str = "\
Examples:
  presyn check
  sudo presyn check

Exit status:
  0  presyn run works on this host
  1  something is missing";

/// `presyn explain`.
pub const EXPLAIN: &str = "\
Examples:
  presyn explain
  presyn explain resolver-silent";

/// `presyn schema`.
pub const SCHEMA: &str = "\
Examples:
  presyn schema > presyn.report.schema.json
  presyn schema lines";

/// `presyn man`.
pub const MAN: &str = "\
Examples:
  presyn man | man -l -
  sudo presyn man /usr/local/share/man/man1";

/// `presyn completions`.
pub const COMPLETIONS: &str = "\
Examples:
  presyn completions bash > ~/.local/share/bash-completion/completions/presyn
  presyn completions zsh > ~/.zfunc/_presyn
  presyn completions fish > ~/.config/fish/completions/presyn.fish";
