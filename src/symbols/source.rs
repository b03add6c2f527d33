//! Where an object's bytes come from, with every length checked before anything is allocated.

use super::ElfError;
use object::pod::{self, Pod};
use std::cell::RefCell;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// The bytes of one file. Nothing is mapped: a file that shrinks is an error, not a SIGBUS.
#[derive(Debug)]
pub(crate) struct Source {
    bytes: Bytes,
    len: u64,
    /// The piece that an instruction was last read from, and where it begins.
    near: RefCell<(u64, Vec<u8>)>,
}

#[derive(Debug)]
enum Bytes {
    File(File),
    Memory(Vec<u8>),
}

impl Source {
    pub(crate) fn file(file: File) -> Result<Source, ElfError> {
        let metadata = file.metadata().map_err(ElfError::Io)?;
        if !metadata.is_file() {
            return Err(ElfError::NotAFile);
        }
        Ok(Source { len: metadata.len(), bytes: Bytes::File(file), near: RefCell::default() })
    }

    pub(crate) fn memory(bytes: Vec<u8>) -> Source {
        Source { len: bytes.len() as u64, bytes: Bytes::Memory(bytes), near: RefCell::default() }
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Fills `to` from `offset`; `what` names it in the error.
    pub(crate) fn read(
        &self,
        offset: u64,
        to: &mut [u8],
        what: &'static str,
    ) -> Result<(), ElfError> {
        let end = offset.checked_add(to.len() as u64).ok_or(ElfError::Truncated { what })?;
        if end > self.len {
            return Err(ElfError::Truncated { what });
        }
        match &self.bytes {
            Bytes::File(file) => file.read_exact_at(to, offset).map_err(|error| {
                if error.kind() == std::io::ErrorKind::UnexpectedEof {
                    ElfError::Truncated { what }
                } else {
                    ElfError::Io(error)
                }
            }),
            Bytes::Memory(bytes) => {
                to.copy_from_slice(&bytes[offset as usize..end as usize]);
                Ok(())
            }
        }
    }

    /// As [`Source::read`], for a few bytes of many that lie close together: one call to the kernel
    /// for a page of them. A file that changes meanwhile may be seen as it was.
    pub(crate) fn read_near(
        &self,
        offset: u64,
        to: &mut [u8],
        what: &'static str,
    ) -> Result<(), ElfError> {
        const NEAR: u64 = 4 << 10;
        let (start, bytes) = &mut *self.near.borrow_mut();
        if offset < *start || offset - *start + to.len() as u64 > bytes.len() as u64 {
            let len = NEAR.max(to.len() as u64).min(self.len.saturating_sub(offset));
            bytes.resize(len as usize, 0);
            *start = offset;
            let read = self.read(offset, bytes, what);
            if let Err(error) = read {
                bytes.clear();
                return Err(error);
            }
        }
        let from = bytes.get((offset - *start) as usize..).unwrap_or(&[]);
        let from = from.get(..to.len()).ok_or(ElfError::Truncated { what })?;
        to.copy_from_slice(from);
        Ok(())
    }

    /// `len` bytes at `offset`: no more than the file has is ever allocated.
    pub(crate) fn bytes(
        &self,
        offset: u64,
        len: u64,
        what: &'static str,
    ) -> Result<Vec<u8>, ElfError> {
        if offset.checked_add(len).is_none_or(|end| end > self.len) {
            return Err(ElfError::Truncated { what });
        }
        let mut bytes = vec![0; usize::try_from(len).map_err(|_| ElfError::Truncated { what })?];
        self.read(offset, &mut bytes, what)?;
        Ok(bytes)
    }

    /// One structure.
    pub(crate) fn one<T: Pod>(&self, offset: u64, what: &'static str) -> Result<T, ElfError> {
        let bytes = self.bytes(offset, size_of::<T>() as u64, what)?;
        pod::from_bytes::<T>(&bytes).map(|(one, _)| *one).map_err(|()| ElfError::Lying { what })
    }

    /// The array of `T` in `len` bytes at `offset`, in pieces, so that a long table is never in
    /// memory whole. `each` gets the index and the element.
    pub(crate) fn each<T: Pod>(
        &self,
        offset: u64,
        len: u64,
        what: &'static str,
        each: &mut dyn FnMut(usize, &T),
    ) -> Result<(), ElfError> {
        const PIECE: usize = 32 << 10;
        if offset.checked_add(len).is_none_or(|end| end > self.len) {
            return Err(ElfError::Truncated { what });
        }
        let size = size_of::<T>();
        let count = usize::try_from(len / size as u64).map_err(|_| ElfError::Truncated { what })?;
        let in_piece = (PIECE / size).max(1);
        let mut buffer = vec![0; in_piece.min(count) * size];
        let mut index = 0;
        while index < count {
            let now = in_piece.min(count - index);
            let piece = &mut buffer[..now * size];
            self.read(offset + (index * size) as u64, piece, what)?;
            let (elements, _) =
                pod::slice_from_bytes::<T>(piece, now).map_err(|()| ElfError::Lying { what })?;
            for (i, element) in elements.iter().enumerate() {
                each(index + i, element);
            }
            index += now;
        }
        Ok(())
    }
}

/// The NUL-terminated string at `offset`; empty where there is none or it is not UTF-8.
pub(crate) fn string_at(table: &[u8], offset: usize) -> &str {
    let Some(rest) = table.get(offset..) else { return "" };
    let end = memchr::memchr(0, rest).unwrap_or(rest.len());
    std::str::from_utf8(&rest[..end]).unwrap_or("")
}
