//! xol in a program of somebody else's: the crate, not the command.

use std::io;
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use xol::trace::{self, HitEvent, Options};

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

/// A signal that comes to any of its threads ends a run, also where nothing else happens; one that was
/// attached to goes on.
#[test]
fn a_signal_to_any_thread_ends_the_run() -> Result<(), Box<dyn std::error::Error>> {
    let _alone = alone();
    let mut child = Endless(shell("exec sleep 60")?);
    let options = Options::attach([child.0.id() as i32]).probe("libc:write")?;
    let begun = Instant::now();
    let interrupt = thread::spawn(|| {
        thread::sleep(Duration::from_millis(500));
        // Nobody has this one ignored, as a shell has others in its background.
        Command::new("kill").args(["-TERM", &std::process::id().to_string()]).status()
    });
    trace::run(&options, &mut |_: &HitEvent<'_>| ())?;
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(400) && took < Duration::from_secs(10), "{took:?}");
    assert!(interrupt.join().is_ok_and(|status| status.is_ok_and(|status| status.success())));
    assert_eq!(child.0.try_wait()?, None);
    Ok(())
}
