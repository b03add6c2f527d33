//! The user's terminal: its size, and keys without Enter.
//!
//! # Safety
//! Every `unsafe` block is one libc call whose pointers point to storage visible in the same
//! function.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};

/// A terminal that passes each key on at once and does not show it; as it was before when this is
/// dropped.
#[derive(Debug)]
pub struct Terminal {
    file: File,
    before: libc::termios,
}

impl Terminal {
    /// Takes the keys of a terminal. Ctrl-C still interrupts.
    ///
    /// # Errors
    /// ENOTTY where it is none.
    pub fn new(terminal: impl AsFd) -> io::Result<Terminal> {
        let file = File::from(terminal.as_fd().try_clone_to_owned()?);
        let mut before = MaybeUninit::uninit();
        // SAFETY: the kernel writes one termios.
        if unsafe { libc::tcgetattr(file.as_raw_fd(), before.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: tcgetattr succeeded and has written it.
        let before = unsafe { before.assume_init() };
        let mut keys = before;
        keys.c_lflag &= !(libc::ICANON | libc::ECHO);
        // A read never waits.
        (keys.c_cc[libc::VMIN], keys.c_cc[libc::VTIME]) = (0, 0);
        set(&file, &keys)?;
        Ok(Terminal { file, before })
    }

    /// The next key, if one was pressed.
    pub fn key(&mut self) -> Option<u8> {
        let mut key = [0];
        (self.file.read(&mut key).ok()? == 1).then_some(key[0])
    }

    /// Columns and lines now, if the terminal says.
    #[must_use]
    pub fn size(&self) -> Option<(usize, usize)> {
        size(&self.file)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = set(&self.file, &self.before);
    }
}

/// Columns and lines of what may be a terminal.
pub fn size(terminal: impl AsFd) -> Option<(usize, usize)> {
    let mut size = MaybeUninit::<libc::winsize>::zeroed();
    let fd = terminal.as_fd().as_raw_fd();
    // SAFETY: the kernel writes one winsize.
    if unsafe { libc::ioctl(fd, libc::TIOCGWINSZ, size.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: all zero is a winsize, and so is what the kernel has written.
    let size = unsafe { size.assume_init() };
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col.into(), size.ws_row.into()))
}

fn set(file: &File, state: &libc::termios) -> io::Result<()> {
    // SAFETY: the kernel reads one termios.
    match unsafe { libc::tcsetattr(file.as_raw_fd(), libc::TCSANOW, state) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
