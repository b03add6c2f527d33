//! A thread's memory as the thread itself may use it, where process_vm_readv(2) and
//! process_vm_writev(2) are refused: by a container's filter, or a kernel without
//! CONFIG_CROSS_MEMORY_ATTACH. /proc/PID/mem knows no protection, so that is looked up first: what
//! would fault in the thread is an error here, too.

use super::procfs;
use super::sys::{Pid, Tid};
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use xol_arch::Addr;

/// Whether the calls were refused; they will be again.
static REFUSED: AtomicBool = AtomicBool::new(false);

/// Whether process_vm_readv(2) was refused: there is no use in calling it again.
#[must_use]
pub fn is_refused() -> bool {
    REFUSED.load(Ordering::Relaxed)
}

/// Whether an error says that it is the call that is refused rather than this address.
pub(super) fn refuses(error: &io::Error) -> bool {
    let refused = matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM | libc::EACCES));
    if refused {
        REFUSED.store(true, Ordering::Relaxed);
    }
    refused
}

/// Reads what the thread could read.
///
/// # Errors
/// EFAULT where it could not; ESRCH or ENOENT when it is gone.
pub(super) fn read(tid: Tid, at: Addr, to: &mut [u8]) -> io::Result<()> {
    may_use(tid, at, to.len(), false)?;
    OpenOptions::new().read(true).open(format!("/proc/{tid}/mem"))?.read_exact_at(to, at.0)
}

/// Writes what the thread could write.
///
/// # Errors
/// As for [`read`].
pub(super) fn write(tid: Tid, at: Addr, from: &[u8]) -> io::Result<()> {
    may_use(tid, at, from.len(), true)?;
    OpenOptions::new().write(true).open(format!("/proc/{tid}/mem"))?.write_all_at(from, at.0)
}

fn may_use(tid: Tid, at: Addr, len: usize, write: bool) -> io::Result<()> {
    let fault = || io::Error::from_raw_os_error(libc::EFAULT);
    let end = at.0.checked_add(len as u64).ok_or_else(fault)?;
    let mut next = at.0;
    for map in procfs::maps(Pid(tid.0))? {
        if next >= end {
            break;
        }
        let here = map.start.0 <= next && next < map.end.0;
        if here && (if write { map.perms.write } else { map.perms.read }) {
            next = map.end.0;
        }
    }
    if next >= end { Ok(()) } else { Err(fault()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protections_hold() {
        let us = Tid(std::process::id() as i32);
        let text = b"read only";
        let at = |bytes: &[u8]| Addr(bytes.as_ptr() as u64);
        let mut seen = [0; 9];
        read(us, at(text), &mut seen).expect("our own");
        assert_eq!(&seen, text);
        let error = write(us, at(text), b"x").expect_err("a constant");
        assert_eq!(error.raw_os_error(), Some(libc::EFAULT));
        let mut ours = vec![0u8; 4];
        let to = Addr(ours.as_mut_ptr() as u64);
        write(us, to, b"four").expect("our own");
        read(us, to, &mut seen[..4]).expect("our own");
        assert_eq!(&seen[..4], b"four");
        let error = read(us, Addr(8), &mut seen).expect_err("nothing is there");
        assert_eq!(error.raw_os_error(), Some(libc::EFAULT));
        assert!(read(us, Addr(u64::MAX - 3), &mut seen).is_err());
    }
}
