//! xol in a program of somebody else's: the crate, not the command.

use std::io;
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;
use xol::trace::{self, HitEvent, Options, Sink};

/// Signals are the process's: one run at a time.
static ONE_RUN: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_RUN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A child that does not end by itself.
struct Endless(Child);

impl Drop for Endless {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

fn shell(text: &str) -> io::Result<Child> {
    Command::new("sh").args(["-c", text]).spawn()
}

/// The program's own children end before, while and after a run of 0.8 s.
#[test]
fn its_children_keep_their_status() -> Result<(), Box<dyn std::error::Error>> {
    let _alone = alone();
    let mut early = shell("exit 3")?;
    thread::sleep(Duration::from_millis(200));
    let mut meanwhile = shell("sleep 0.3; exit 7")?;
    let mut late = shell("sleep 1.5; exit 9")?;
    let options = Options::launch(["sh", "-c", "sleep 0.8"])?.probe("libc:write")?;
    let outcome = trace::run(&options, &mut |_: &HitEvent<'_>| ())?;
    assert_eq!(outcome.report.rows.len(), 1);
    for (child, code) in [(&mut early, 3), (&mut meanwhile, 7), (&mut late, 9)] {
        assert_eq!(child.wait()?.code(), Some(code));
    }
    Ok(())
}

/// Has another thread send a signal to this process once the probes are in.
struct Interrupts;

impl Sink for Interrupts {
    fn hit(&mut self, _: &HitEvent<'_>) {}

    fn armed(&mut self, _: usize, _: Duration) {
        // Nobody has this one ignored, as a shell has others in its background.
        let kill =
            || Command::new("kill").args(["-TERM", &std::process::id().to_string()]).status();
        thread::spawn(kill);
    }
}

/// The signals that this process handles, as /proc has them.
fn handled() -> io::Result<String> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    Ok(status.lines().find(|line| line.starts_with("SigCgt:")).unwrap_or_default().to_owned())
}

/// A signal that comes to any of its threads ends a run, also where nothing else happens: one that was
/// attached to goes on. The next such signal is the program's own.
#[test]
fn a_signal_to_any_thread_ends_the_run() -> Result<(), Box<dyn std::error::Error>> {
    let _alone = alone();
    let mut options = Options::launch(["true"])?.probe("libc:write")?;
    trace::run(&options, &mut |_: &HitEvent<'_>| ())?;
    let before = handled()?;
    let mut child = Endless(shell("exec sleep 60")?);
    options = Options::attach([child.0.id() as i32]).probe("libc:write")?;
    trace::run(&options, &mut Interrupts)?;
    assert_eq!(child.0.try_wait()?, None);
    // SIGTERM is number 15, SIGINT 2: what the first run has left is neither.
    assert_eq!(handled()?, before);
    let set = u64::from_str_radix(before.trim_start_matches("SigCgt:").trim(), 16)?;
    assert_eq!(set & (1 << 14 | 1 << 1), 0, "{before}");
    Ok(())
}
