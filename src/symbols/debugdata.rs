//! .gnu_debugdata: a small ELF file with a symbol table, compressed with xz, which some
//! distributions leave in stripped objects.

use super::debug::DebugFile;
use super::layout::Layout;
use super::source::Source;

/// The file in `source`'s .gnu_debugdata; `None` where there is none, it is damaged, or this xol was
/// built without xz.
#[cfg(feature = "debugdata")]
pub(crate) fn unpacked(source: &Source, layout: &Layout) -> Option<DebugFile> {
    use std::io::Read;
    /// What such a file may have, unpacked: the kernel's own would have 3 MB.
    const LARGEST: u64 = 64 << 20;
    /// KiB that unpacking it may take.
    const MEMORY: u32 = 32 << 10;
    let section = layout.section(".gnu_debugdata").filter(|s| s.size <= LARGEST)?;
    let packed = source.bytes(section.offset, section.size, "debug data").ok()?;
    let reader = lzma_rust2::XzReader::new_mem_limit(&packed[..], false, MEMORY);
    let mut bytes = Vec::new();
    reader.take(LARGEST).read_to_end(&mut bytes).ok()?;
    DebugFile::from_source(Source::memory(bytes)).ok()
}

/// Nothing: this xol was built without xz.
#[cfg(not(feature = "debugdata"))]
pub(crate) fn unpacked(_: &Source, _: &Layout) -> Option<DebugFile> {
    None
}
