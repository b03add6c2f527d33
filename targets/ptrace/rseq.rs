//! Restartable sequences (rseq(2)) that no section of a file describes.

use super::Ptrace;
use super::sys::{self, Tid};
use xol_arch::{Addr, Memory as _};

/// Offset of `rseq_cs` in struct rseq (linux/rseq.h).
const RSEQ_CS: u64 = 8;
/// Offsets in struct rseq_cs.
const START_IP: usize = 8;
const POST_COMMIT_OFFSET: usize = 16;

impl Ptrace {
    /// Whether a stopped thread stands at `at` in a restartable sequence: its rseq area names a
    /// range around it. A trap there aborts the sequence, each time. `false` where the kernel
    /// does not tell (before Linux 5.13).
    pub fn is_in_sequence(&mut self, tid: Tid, at: Addr) -> bool {
        self.sequence_around(tid, at).unwrap_or(false)
    }

    /// The number that stands before each place where a restartable sequence of a stopped thread goes
    /// on when it was aborted; `None` where it has registered none, or the kernel does not tell.
    #[must_use]
    pub fn sequence_signature(&self, tid: Tid) -> Option<u32> {
        sys::rseq_area(tid).ok().filter(|(area, _)| area.0 != 0).map(|(_, signature)| signature)
    }

    fn sequence_around(&mut self, tid: Tid, at: Addr) -> Option<bool> {
        let (area, _) = sys::rseq_area(tid).ok().filter(|(area, _)| area.0 != 0)?;
        let mut machine = self.stopped(tid).ok()?;
        let mut word = [0; 8];
        machine.read(area.add(RSEQ_CS), &mut word).ok()?;
        let sequence = u64::from_ne_bytes(word);
        if sequence == 0 {
            return Some(false);
        }
        let mut bytes = [0; 32];
        machine.read(Addr(sequence), &mut bytes).ok()?;
        let at_offset = |offset: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[offset..offset + 8]);
            u64::from_ne_bytes(word)
        };
        Some(at.0.wrapping_sub(at_offset(START_IP)) < at_offset(POST_COMMIT_OFFSET))
    }
}
