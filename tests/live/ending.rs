//! What the network still carries when the command has ended, and what is left of presyn.

use crate::lab::{Lab, PRESYN, analyze};
use serde_json::Value;

/// The ports that a run's SYNs went to.
fn ports(report: &Value) -> Vec<u64> {
    let connections = report["connections"].as_array().unwrap();
    let syns = connections.iter().filter(|c| c["syns"] != 0);
    syns.map(|c| c["to"].as_str().unwrap().rsplit_once(':').unwrap().1)
        .map(|port| port.parse().unwrap())
        .collect()
}

/// A process that the command leaves behind is traced on, as long as it lives.
#[test]
fn a_syn_that_a_traced_orphan_sends_is_in_the_case() {
    let Some(lab) = Lab::up("nothing-wrong") else {
        return;
    };
    let script = "(sleep 0.015; exec 3<>/dev/tcp/127.0.0.1/9) 2>/dev/null & exit 3";
    let ran = lab.run_with(&[], &[], &["bash", "-c", script]);
    assert_eq!(ran.status(), Some(3), "{}", ran.stderr());
    // The live report may be made before: when the command ends.
    let report = serde_json::from_str(&analyze(&ran.case)).unwrap();
    assert_eq!(ports(&report), [9], "{report}");
    assert_eq!(report["connections"][0]["cause"]["how"], "call");
}

/// Of a process that is not traced presyn does not know that it lives. It reads on until the network has been quiet for
/// 12 ms.
#[test]
fn a_syn_that_comes_while_the_capture_drains_is_in_the_case() {
    // Connects every 3 ms, from the command's end on, to the port 1000 + milliseconds since then.
    const ORPHAN: &str = "
import os, socket, time
end, its = os.pipe()
if os.fork():
    os._exit(0)
os.close(its)
os.read(end, 1)
began = time.monotonic()
while (after := time.monotonic() - began) < 0.06:
    socket.socket().connect_ex(('127.0.0.1', 1000 + int(1000 * after)))
    time.sleep(0.003)
";
    let Some(lab) = Lab::up("nothing-wrong") else {
        return;
    };
    // A machine that is busy enough keeps the orphan asleep for 12 ms.
    let mut seen = Vec::new();
    for _ in 0..8 {
        let ran = lab.run_with(&["--no-trace"], &[], &["python3", "-c", ORPHAN]);
        assert_eq!(ran.status(), Some(0), "{}", ran.stderr());
        seen = ports(&ran.report);
        if seen.iter().any(|port| *port >= 1015) {
            return;
        }
    }
    panic!("no SYN from 15 ms after the end: {seen:?}");
}

/// The ring is freed when presyn is gone, and nothing waits for that.
#[test]
fn no_packet_socket_is_left() {
    let script = "
sockets() { wc -l </proc/net/packet; }
before=$(sockets)
\"$0\" run -q -- true || exit 9
for i in 1 2 3 4 5 6 7 8 9 10; do
    [ $(sockets) = $before ] && exit 0
    sleep 0.1
done
cat /proc/net/packet
exit 1";
    let Some(lab) = Lab::up("nothing-wrong") else {
        return;
    };
    let output = lab.sh(&["sh", "-c", script, PRESYN]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}
