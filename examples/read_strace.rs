//! Reads strace logs and prints what was found in them: `cargo run --release --example read_strace [-v] LOG…`

use presyn::event::What;

#[expect(clippy::print_stdout, reason = "its purpose")]
fn main() {
    let mut verbose = false;
    for path in std::env::args_os().skip(1) {
        if path == "-v" {
            verbose = true;
            continue;
        }
        let mut events = 0_u64;
        let facts = presyn::source::strace_log::read(path.as_ref(), 0, &mut |event| {
            events += 1;
            if let (true, What::Call(call)) = (verbose, &event.what) {
                println!("{}: {:?} {:?}", event.place.number, call.outcome, call.op);
            }
        });
        println!("{events} events, {facts:?}");
    }
}
