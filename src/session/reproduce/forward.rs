//! A real server in place of the played ones, where the user names one: the only way out of the namespaces. The far side
//! connects to a unix socket that the calling process, which is outside, listens on; pathname sockets are found across network
//! namespaces (unix(7)).

use super::servers::spawn;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use tempfile::TempDir;

/// The process outside, listening.
pub struct Forwarder {
    folder: TempDir,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    listener: Option<UnixListener>,
    server: String,
}

impl Forwarder {
    /// Listens in a directory of the user's own; nothing is accepted before [`Self::begin`].
    pub fn new(server: &str) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let listener = UnixListener::bind(folder.path().join("forward"))?;
        Ok(Self {
            folder,
            stop: Arc::default(),
            thread: None,
            listener: Some(listener),
            server: server.to_owned(),
        })
    }

    /// Where the far side connects to.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("forward")
    }

    /// Accepts from here on, in a thread: call it when all processes are forked.
    pub fn begin(&mut self) {
        let Some(listener) = self.listener.take() else {
            return;
        };
        let (stop, server) = (Arc::clone(&self.stop), self.server.clone());
        self.thread = Some(std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stop.load(Ordering::Acquire) {
                    return;
                }
                let server = server.clone();
                // Without a thread, or a server, the connection is closed.
                let _ = spawn(move || {
                    if let Ok(real) = TcpStream::connect(&server) {
                        let _ = join_streams(stream, real);
                    }
                });
            }
        }));
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // It looks whether it is to stop when somebody connects.
            let woken = UnixStream::connect(self.path()).is_ok();
            if woken {
                let _ = thread.join();
            }
        }
    }
}

/// The far side's half: what one connection says and hears is passed on.
pub fn pass_on(stream: TcpStream, forwarder: &Path) -> io::Result<()> {
    let outside = UnixStream::connect(forwarder)?;
    join_streams(outside, stream)
}

/// Passes on both ways until both have ended.
fn join_streams(local: UnixStream, tcp: TcpStream) -> io::Result<()> {
    let (mut from_local, mut to_tcp) = (local.try_clone()?, tcp.try_clone()?);
    spawn(move || {
        // Who breaks off ends this direction.
        let _ = pump(&mut from_local, &mut to_tcp);
        let _ = to_tcp.shutdown(Shutdown::Write);
    })?;
    let (mut from_tcp, mut to_local) = (tcp, local);
    let passed = pump(&mut from_tcp, &mut to_local);
    to_local.shutdown(Shutdown::Write)?;
    passed
}

fn pump(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    io::copy(from, to).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn both_ways_are_passed_on() {
        let real = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut forwarder = Forwarder::new(&real.local_addr().unwrap().to_string()).unwrap();
        let path = forwarder.path();
        forwarder.begin();
        let played = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(played.local_addr().unwrap()).unwrap();
        let (accepted, _) = played.accept().unwrap();
        let passing = std::thread::spawn(move || pass_on(accepted, &path));
        let (mut server, _) = real.accept().unwrap();
        client.write_all(b"question").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut heard = String::new();
        server.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "question");
        server.write_all(b"answer").unwrap();
        drop(server);
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "answer");
        passing.join().unwrap().unwrap();
        let path = forwarder.path();
        drop(forwarder);
        assert!(!path.exists());
    }
}
