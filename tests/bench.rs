//! What measurements share.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::run::Started;
use crate::target::Target;
use crate::xol::command;

/// The one in the middle.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// A `xol` that goes on until it is told to end.
#[derive(Debug)]
pub struct Running(Started);

impl Running {
    /// Starts `xol count WORDS`.
    #[must_use]
    pub fn attach(words: &[&str]) -> Running {
        Running(command(["count"]).args(words.iter().copied()).start())
    }

    /// Starts `xol trace WORDS`.
    #[must_use]
    pub fn trace(words: &[&str]) -> Running {
        Running(command(["trace"]).args(words.iter().copied()).start())
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// Waits until a trap stands at an address in the file of `target`.
    ///
    /// # Panics
    /// If there is none within ten seconds.
    pub fn armed(&self, target: &Target, addr: u64) {
        let begun = Instant::now();
        // The first byte of INT3 and of our BRK.
        while ![0xcc, 0xe0].contains(&target.byte(addr)) {
            assert!(begun.elapsed() < Duration::from_secs(10), "{addr:#x} is not armed: {self:?}");
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    /// Waits until a jump stands at an address in the file of `target`.
    ///
    /// # Panics
    /// If there is none within ten seconds.
    pub fn jumps(&self, target: &Target, addr: u64) {
        let begun = Instant::now();
        // JMP rel32, and the highest byte of B.
        while target.byte(addr) != 0xe9 && target.byte(addr + 3) & 0xfc != 0x14 {
            assert!(begun.elapsed() < Duration::from_secs(10), "{addr:#x} is no jump: {self:?}");
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    /// Ends it as Ctrl-C does, and returns what it reported.
    ///
    /// # Panics
    /// If it does not end.
    #[must_use]
    pub fn interrupt(self) -> String {
        kill(Pid::from_raw(self.pid().cast_signed()), Signal::SIGINT).expect("our child");
        let finished = self.0.finish();
        finished.out() + &finished.err()
    }
}
