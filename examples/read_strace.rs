//! Reads strace logs and prints what was found in them: `cargo run --release --example read_strace LOG…`

#[expect(clippy::print_stdout, reason = "its purpose")]
fn main() {
    for path in std::env::args_os().skip(1) {
        let mut events = 0_u64;
        let facts = presyn::source::strace_log::read(path.as_ref(), 0, &mut |_| events += 1);
        println!("{events} events, {facts:?}");
    }
}
