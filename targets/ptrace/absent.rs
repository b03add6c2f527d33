//! Memory that is not there yet.
//!
//! A process that reads a page which is not in memory waits for the pager that delivers it. That may be the program
//! itself, a thread of which has stopped for us and waits for us. So nothing is read by
//! process_vm_readv before it was read through the memory file, which takes no page from a
//! userfaultfd: the kernel reads with no right to wait there, and fails. A page of a file (FUSE, a
//! network) it does wait for. Data that a probe shows is therefore read at once where /proc says that
//! its page is there; if it is not, by another thread, which is given a moment and then left alone.

use super::tracer;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// How long a page may take: a disk's.
const MOMENT: Duration = Duration::from_millis(50);
/// Present, or swapped out (Documentation/admin-guide/mm/pagemap.rst).
const THERE: u64 = 3 << 62;

/// Whether the page at `at` is in memory, as far as /proc/PID/pagemap says.
pub(super) fn is_there(pagemap: &File, at: u64, page: u64) -> bool {
    let mut entry = [0; 8];
    let read = pagemap.read_exact_at(&mut entry, at / page * 8);
    read.is_err() || u64::from_ne_bytes(entry) & THERE != 0
}

/// Reads what may be long in coming.
#[derive(Debug)]
pub(super) struct Slow {
    ask: Sender<(u64, usize)>,
    answers: Receiver<io::Result<Vec<u8>>>,
    /// An answer that nobody waits for any more has not come.
    late: bool,
}

impl Slow {
    /// With a thread that reads by `read`: at an address, so many bytes.
    pub(super) fn new(
        read: impl Fn(u64, usize) -> io::Result<Vec<u8>> + Send + 'static,
    ) -> io::Result<Slow> {
        let (ask, asked) = channel();
        let (answer, answers) = channel();
        tracer::spawn(move || {
            for (at, len) in asked {
                if answer.send(read(at, len)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Slow { ask, answers, late: false })
    }

    /// What is at `at`.
    ///
    /// # Errors
    /// TimedOut, and at once as long as another answer is due; those of reading.
    pub(super) fn read(&mut self, at: u64, len: usize) -> io::Result<Vec<u8>> {
        let late = || io::Error::from(io::ErrorKind::TimedOut);
        if self.late {
            let _answer = self.answers.try_recv().map_err(|_| late())?;
            self.late = false;
        }
        self.ask.send((at, len)).map_err(|_| late())?;
        self.answers.recv_timeout(MOMENT).unwrap_or_else(|_| {
            self.late = true;
            Err(late())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_come_holds_nobody_up() {
        let (go, wait) = channel::<()>();
        let mut slow = Slow::new(move |at, len| {
            if at == 1 {
                wait.recv().ok();
            }
            Ok(vec![at as u8; len])
        })
        .unwrap();
        assert_eq!(slow.read(7, 2).unwrap(), [7, 7]);
        assert!(slow.read(1, 2).is_err());
        // Nor is an answer taken for another's.
        let begun = std::time::Instant::now();
        assert!(slow.read(8, 2).is_err());
        assert!(begun.elapsed() < MOMENT);
        go.send(()).unwrap();
        let until = begun + Duration::from_secs(10);
        let read = loop {
            match slow.read(9, 2) {
                Err(_) if std::time::Instant::now() < until => std::thread::yield_now(),
                other => break other,
            }
        };
        assert_eq!(read.unwrap(), [9, 9]);
    }

    #[test]
    fn what_this_test_has_written_is_there() {
        let word = 7u64;
        let pagemap = File::open("/proc/self/pagemap").unwrap();
        assert!(is_there(&pagemap, (&raw const word).addr() as u64, crate::native::PAGE));
        assert!(!is_there(&pagemap, 0, crate::native::PAGE));
    }
}
