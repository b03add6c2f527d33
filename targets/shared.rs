//! Memory that a target and its tracer share: a file without a name, mapped in both.
//!
//! # Safety
//! Every `unsafe` block is one libc call or makes one slice. The mapping is as long as the file,
//! whose length is sealed, and lives as long as the [`Shared`] that the slices borrow from. Other
//! processes write to it at any time: it is only ever seen as atomic words.
#![allow(unsafe_code, reason = "a mapping, and a slice of it")]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd};
use std::os::unix::fs::FileExt;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

/// Memory of a fixed length, all zero at first.
#[derive(Debug)]
pub struct Shared {
    file: File,
    words: NonNull<AtomicU64>,
    /// Bytes: a multiple of the page.
    len: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and is seen as atomic words.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// At least `len` bytes.
    ///
    /// # Errors
    /// Those of memfd_create(2), ftruncate(2), fcntl(2) and mmap(2).
    pub fn new(len: usize) -> io::Result<Shared> {
        let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
        // SAFETY: a name, which the call copies.
        let fd = unsafe { libc::memfd_create(c"xol".as_ptr(), flags) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a descriptor that is nobody else's.
        let file = unsafe { File::from_raw_fd(fd) };
        Shared::of(file, len)
    }

    /// At least `len` bytes of a new and empty memory file (MFD_ALLOW_SEALING), or of another file
    /// that has no name.
    ///
    /// # Errors
    /// As for [`Shared::new`].
    pub fn of(file: File, len: usize) -> io::Result<Shared> {
        let fd = file.as_raw_fd();
        let page = page_size();
        let len = len.max(1).checked_next_multiple_of(page).ok_or(io::ErrorKind::OutOfMemory)?;
        file.set_len(len as u64)?;
        // A shorter file would be a SIGBUS in both.
        let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
        // SAFETY: numbers only.
        if unsafe { libc::fcntl(fd, libc::F_ADD_SEALS, seals) } < 0 {
            // No memory file: there nobody else can make it shorter, since it has no name; but a
            // page that its file system has no room for would be a SIGBUS, too.
            if !matches!(
                io::Error::last_os_error().raw_os_error(),
                Some(libc::EPERM | libc::EINVAL)
            ) {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: numbers only.
            match unsafe { libc::posix_fallocate(fd, 0, len as libc::off_t) } {
                0 => {}
                error => return Err(io::Error::from_raw_os_error(error)),
            }
        }
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping, wherever the kernel likes, of a whole file.
        let at =
            unsafe { libc::mmap(std::ptr::null_mut(), len, protection, libc::MAP_SHARED, fd, 0) };
        match NonNull::new(at.cast::<AtomicU64>()) {
            Some(words) if at != libc::MAP_FAILED => Ok(Shared { file, words, len }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Its length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never: it has at least a page.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// All of it.
    #[must_use]
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: `len` bytes are mapped, aligned to a page, until `self` is dropped; all bits are
        // an AtomicU64.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr(), self.len / 8) }
    }

    /// Writes code or data at an offset; threads that execute it must be told by other means.
    ///
    /// # Errors
    /// Those of pwrite(2); it does not fit.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }
}

impl AsRef<[AtomicU64]> for Shared {
    fn as_ref(&self) -> &[AtomicU64] {
        self.words()
    }
}

impl AsFd for Shared {
    /// For `/proc/PID/fd/N`, by which a target maps it too.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: what `new` mapped; every slice of it borrows from `self`.
        unsafe { libc::munmap(self.words.as_ptr().cast(), self.len) };
    }
}

fn page_size() -> usize {
    // SAFETY: a number.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn what_is_written_is_seen() {
        let shared = Shared::new(100).expect("memfd");
        assert!(shared.len() >= 4096 && shared.words().len() == shared.len() / 8);
        shared.write(16, &7_u64.to_le_bytes()).expect("within");
        assert_eq!(shared.words()[2].load(Ordering::Relaxed), 7);
        let last = shared.words().len() - 1;
        shared.words()[last].store(9, Ordering::Relaxed);
        assert_eq!(shared.words()[last].swap(0, Ordering::Relaxed), 9);
    }

    #[test]
    fn a_file_without_a_name_will_do() {
        use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
        let file = File::options()
            .read(true)
            .write(true)
            .custom_flags(libc::O_TMPFILE)
            .open(std::env::temp_dir())
            .expect("a file system that knows them");
        let shared = Shared::of(file, 5000).expect("room");
        shared.words()[600].store(9, Ordering::Relaxed);
        let about = shared.file.metadata().expect("it is open");
        assert!(about.blocks() * 512 >= 8192, "its pages are there, whatever becomes of others");
    }

    #[test]
    fn its_length_is_sealed() {
        let shared = Shared::new(1).expect("memfd");
        assert!(shared.file.set_len(0).is_err());
        assert!(shared.write(shared.len() as u64, &[1]).is_err());
        assert!(shared.as_fd().as_raw_fd() > 2);
    }
}
