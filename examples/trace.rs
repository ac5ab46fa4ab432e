//! Traces a command and prints its events.
use presyn::event::{Event, Task};
use presyn::source::tracer::{Exit, Launch, Next, Observer, Tick};

struct Print;
impl Observer for Print {
    fn event(&mut self, event: Event) {
        eprintln!("{}", serde_json::to_string(&event).unwrap_or_default());
    }
    fn tick(&mut self, tick: &Tick) -> Next {
        for open in &tick.open {
            let for_ = (tick.now - open.since).as_seconds();
            if for_ % 1.0 < 0.1 {
                eprintln!("waits {for_:.1} {open:?}");
            }
        }
        Next::Continue
    }
    fn root_ended(&mut self, exit: Exit, survivors: &[Task]) -> Next {
        eprintln!("root {exit:?} {survivors:?}");
        Next::Continue
    }
}
struct Quiet(u64);
impl Observer for Quiet {
    fn event(&mut self, _: Event) {
        self.0 += 1;
    }
}

fn main() {
    let mut args: Vec<_> = std::env::args_os().skip(1).collect();
    let quiet = args.first().is_some_and(|a| a == "-q");
    if quiet {
        args.remove(0);
    }
    let mut launch = Launch::new(args, std::env::vars_os().collect());
    launch.pin = std::env::var_os("NOPIN").is_none();
    launch.trace = std::env::var_os("NOTRACE").is_none();
    match launch.start() {
        Ok(tracer) => {
            let ended = if quiet {
                let mut q = Quiet(0);
                let e = tracer.run(&mut q);
                eprintln!("{} events", q.0);
                e
            } else {
                tracer.run(&mut Print)
            };
            match ended {
                Ok(ended) => presyn::source::tracer::end_like(ended.exit),
                Err(error) => eprintln!("{error}"),
            }
        }
        Err(error) => {
            eprintln!("presyn: {error}");
            std::process::exit(error.exit_status());
        }
    }
}
