//! The archive a kernel unpacks into its first root file system: cpio in the "newc" format
//! (Linux, Documentation/driver-api/early-userspace/buffer-format.rst). Several archives may be
//! written one after the other; later entries replace earlier ones.

use std::io::{self, Write};

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;

/// Writes one archive.
pub struct Cpio<W: Write> {
    to: W,
    inode: u32,
}

impl<W: Write> Cpio<W> {
    /// Begins an archive.
    pub fn new(to: W) -> Self {
        Cpio { to, inode: 0 }
    }

    /// A directory. `path` has no leading slash, here and below.
    pub fn directory(&mut self, path: &[u8]) -> io::Result<()> {
        self.entry(path, DIRECTORY | 0o755, &[])
    }

    /// A file; of `mode` the permission bits are used.
    pub fn file(&mut self, path: &[u8], mode: u32, content: &[u8]) -> io::Result<()> {
        self.entry(path, REGULAR | (mode & 0o7777), content)
    }

    /// A symbolic link at `path` to `target`.
    pub fn symlink(&mut self, path: &[u8], target: &[u8]) -> io::Result<()> {
        self.entry(path, SYMLINK | 0o777, target)
    }

    /// Ends the archive and gives the writer back.
    pub fn finish(mut self) -> io::Result<W> {
        self.entry(b"TRAILER!!!", 0, &[])?;
        self.to.flush()?;
        Ok(self.to)
    }

    fn entry(&mut self, path: &[u8], mode: u32, content: &[u8]) -> io::Result<()> {
        let too_big = |_| io::Error::new(io::ErrorKind::FileTooLarge, "a file of 4 GiB or more");
        let size = u32::try_from(content.len()).map_err(too_big)?;
        let name_size = u32::try_from(path.len() + 1).map_err(too_big)?;
        self.inode += 1;
        // inode, mode, uid, gid, links, mtime, size, device ×2, special device ×2, name, checksum.
        let fields = [self.inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        let mut header = String::from("070701");
        for field in fields {
            header.push_str(&format!("{field:08x}"));
        }
        self.to.write_all(header.as_bytes())?;
        self.to.write_all(path)?;
        self.to.write_all(&[0])?;
        self.pad(header.len() + path.len() + 1)?;
        self.to.write_all(content)?;
        self.pad(content.len())
    }

    /// Names with their header and contents are padded to four bytes.
    fn pad(&mut self, written: usize) -> io::Result<()> {
        let zeros = [0; 3];
        self.to.write_all(&zeros[..written.next_multiple_of(4) - written])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_member_begins_at_a_multiple_of_four() {
        let mut cpio = Cpio::new(Vec::new());
        cpio.directory(b"a").unwrap();
        cpio.file(b"a/bc", 0o755, b"12345").unwrap();
        cpio.symlink(b"link", b"a/bc").unwrap();
        let bytes = cpio.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let starts: Vec<usize> = bytes
            .windows(6)
            .enumerate()
            .filter(|(_, w)| w == b"070701")
            .map(|(at, _)| at)
            .collect();
        assert_eq!(starts.len(), 4, "three members and the trailer");
        assert!(starts.iter().all(|at| at % 4 == 0), "{starts:?}");
    }

    #[test]
    fn a_file_has_the_documented_header() {
        let mut cpio = Cpio::new(Vec::new());
        cpio.file(b"xy", 0o644, b"hello").unwrap();
        let bytes = cpio.finish().unwrap();
        let field =
            |n: usize| std::str::from_utf8(&bytes[6 + 8 * n..14 + 8 * n]).unwrap().to_owned();
        assert_eq!(field(1), "000081a4", "mode: regular, rw-r--r--");
        assert_eq!(field(6), "00000005", "size");
        assert_eq!(field(11), "00000003", "length of the name with its NUL");
        assert_eq!(&bytes[110..113], b"xy\0");
        assert_eq!(&bytes[116..121], b"hello");
    }
}
