//! What the processes of a reproduction tell the one that began it: lines through a pipe, each short enough to be written
//! at once (`PIPE_BUF`, pipe(7)).

use crate::explain::scenario::choice::Choice;
use crate::source::tracer::Exit;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

/// What is said in one line at most; a longer one is cut.
const LONGEST: usize = 1_000;
/// So many different choices are told; they grow with what a client asks.
const MAX_CHOICES: usize = 200;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Something had to be chosen.
    Choice(String),
    /// Something failed, and what follows cannot be.
    Failure(String),
    /// How the command ended.
    Exit(Exit),
}

/// The end that lines go into.
#[derive(Clone, Debug)]
pub struct Teller {
    pipe: Arc<File>,
    told: Arc<Mutex<BTreeSet<Choice>>>,
}

impl Teller {
    /// Into this pipe.
    pub fn new(pipe: OwnedFd) -> Self {
        Self {
            pipe: Arc::new(File::from(pipe)),
            told: Arc::default(),
        }
    }

    /// Tells of a choice, once.
    pub fn choice(&self, choice: Choice) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() < MAX_CHOICES && !told.contains(&choice) {
            self.line('C', &choice.to_string());
            told.insert(choice);
        }
    }

    /// Tells what failed.
    pub fn failure(&self, what: &str) {
        self.line('F', what);
    }

    /// Tells how the command ended.
    pub fn exit(&self, exit: Exit) {
        match exit {
            Exit::Code(code) => self.line('X', &code.to_string()),
            Exit::Signal { number, core } => self.line('S', &format!("{number} {core}")),
        }
    }

    fn line(&self, kind: char, text: &str) {
        let clean = text.chars().map(|c| if c == '\n' { ' ' } else { c });
        // A character has four bytes at most.
        let clean: String = clean.take(LONGEST / 4).collect();
        let line = format!("{kind}{clean}\n");
        // Nobody is left to be told when the reader is gone.
        let _ = (&*self.pipe).write_all(line.as_bytes());
    }
}

/// Reads all that is told, until everybody has ended.
pub fn listen(pipe: impl Read, mut each: impl FnMut(Told)) -> io::Result<()> {
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    loop {
        line.clear();
        let most = LONGEST as u64 + 8;
        if reader.by_ref().take(most).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&line);
        each(read(text.trim_end_matches('\n')));
    }
}

fn read(line: &str) -> Told {
    let rest = line.get(1..).unwrap_or("");
    let number = || rest.split(' ').next()?.parse().ok();
    match line.as_bytes().first() {
        Some(b'C') => Told::Choice(rest.to_owned()),
        Some(b'X') => {
            number().map_or_else(|| Told::Failure(line.into()), |n| Told::Exit(Exit::Code(n)))
        }
        Some(b'S') => number().map_or_else(
            || Told::Failure(line.into()),
            |number| {
                Told::Exit(Exit::Signal {
                    number,
                    core: rest.ends_with("true"),
                })
            },
        ),
        _ => Told::Failure(rest.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::scenario::choice::WhoIsThere;
    use nix::unistd::pipe;

    #[test]
    fn what_is_told_is_heard() {
        let (hear, tell) = pipe().unwrap();
        let teller = Teller::new(tell);
        let server = [192, 0, 2, 1].into();
        let twice = Choice::There(WhoIsThere::UnknownHost(server));
        teller.choice(twice.clone());
        teller.choice(twice.clone());
        teller.failure("two\nlines");
        teller.failure(&"x".repeat(5_000));
        teller.exit(Exit::Code(3));
        let killed = Exit::Signal {
            number: 9,
            core: false,
        };
        teller.exit(killed);
        drop(teller);
        let mut heard = Vec::new();
        listen(File::from(hear), |told| heard.push(told)).unwrap();
        assert_eq!(
            heard,
            [
                Told::Choice(twice.to_string()),
                Told::Failure("two lines".into()),
                Told::Failure("x".repeat(LONGEST / 4)),
                Told::Exit(Exit::Code(3)),
                Told::Exit(killed),
            ]
        );
    }
}
