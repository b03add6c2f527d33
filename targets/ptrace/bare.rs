//! Stops that nothing is done at: what every tracer pays.

use super::{Begun, LaunchError, Ptrace, sys};
use crate::Native;
use std::io;
use sys::{Status, Tid, Whom};
use xol_arch::{Addr, Arch as _, Regs as _};

/// Runs a command that waits, to its end, and lets it go on behind every trap of its own. Returns
/// how many there were, and how it ended.
///
/// # Errors
/// See [`LaunchError`].
pub fn run_bare(begun: Begun) -> Result<(u64, Status), LaunchError> {
    let tid = Tid(begun.pid().0);
    Ptrace::new().launch(begun)?;
    let mut traps = 0;
    loop {
        let status = match sys::wait(Whom::One(tid), true, true) {
            Ok(Some((_, status))) => status,
            Ok(None) => continue,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(LaunchError::Io(error)),
        };
        let gone = match status {
            Status::Stopped { signal: libc::SIGTRAP, event: 0 } => {
                traps += 1;
                over_the_trap(tid).and_then(|()| sys::cont(tid, 0))
            }
            Status::Stopped { signal, event: 0 } => sys::cont(tid, signal),
            Status::Stopped { .. } => sys::cont(tid, 0),
            ended => return Ok((traps, ended)),
        };
        // One that was killed meanwhile tells so in the next wait.
        match gone {
            Err(error) if error.raw_os_error() != Some(libc::ESRCH) => {
                return Err(LaunchError::Io(error));
            }
            _ => {}
        }
    }
}

/// Moves the PC where the trap does not do that.
fn over_the_trap(tid: Tid) -> io::Result<()> {
    let left = Native::TRAP.len() as u64 - Native::TRAP_ADVANCE;
    if left == 0 {
        return Ok(());
    }
    let regs = sys::get_regs(tid)?;
    sys::set_pc(tid, &regs, Addr(regs.pc().0 + left))
}
