//! PT_NOTE and PT_GNU_PROPERTY: the build-id, and what the linker promises about branches.

use super::layout::{Layout, Machine};
use super::source::Source;
use object::elf;

/// A build-id, kept in place: 20 bytes of SHA-1, rarely more.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct BuildId {
    bytes: [u8; 32],
    len: u8,
}

impl BuildId {
    /// Of its bytes.
    pub(crate) fn new(bytes: &[u8]) -> Option<BuildId> {
        let mut id = BuildId { bytes: [0; 32], len: u8::try_from(bytes.len()).ok()? };
        id.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(id)
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl std::fmt::Display for BuildId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_bytes().iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl std::fmt::Debug for BuildId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// What the notes say. Damaged notes say nothing: no plan depends on them being there.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) build_id: Option<BuildId>,
    /// Whether Go's linker has left its build-id.
    pub(crate) go: bool,
    /// GNU_PROPERTY_*_FEATURE_1_AND of the file's own architecture.
    pub(crate) features: u32,
}

impl Notes {
    pub(crate) fn read(source: &Source, layout: &Layout) -> Notes {
        let mut notes = Notes::default();
        for &(offset, len, align) in &layout.notes {
            // A note is some dozens of bytes; whoever claims megabytes has none for us.
            if let Ok(bytes) = source.bytes(offset, len.min(64 << 10), "note") {
                notes.scan(&bytes, if align == 8 { 8 } else { 4 }, layout.machine);
            }
        }
        notes
    }

    fn scan(&mut self, mut bytes: &[u8], align: usize, machine: Machine) {
        while let (Some(name_len), Some(desc_len), Some(kind)) =
            (word(bytes, 0), word(bytes, 4), word(bytes, 8))
        {
            let name_end = 12usize.saturating_add(name_len as usize);
            let desc = name_end.checked_next_multiple_of(align).unwrap_or(usize::MAX);
            let desc_end = desc.saturating_add(desc_len as usize);
            let (Some(name), Some(value)) = (bytes.get(12..name_end), bytes.get(desc..desc_end))
            else {
                return;
            };
            if name == b"GNU\0" && kind == elf::NT_GNU_BUILD_ID.0 {
                self.build_id = BuildId::new(value);
            } else if name == b"GNU\0" && kind == elf::NT_GNU_PROPERTY_TYPE_0.0 {
                self.properties(value, machine);
            }
            // NT_GO_BUILD_ID
            self.go |= name == b"Go\0\0" && kind == 4;
            let next = desc_end.checked_next_multiple_of(align).unwrap_or(usize::MAX);
            bytes = bytes.get(next..).unwrap_or(&[]);
        }
    }

    fn properties(&mut self, mut bytes: &[u8], machine: Machine) {
        let wanted = match machine {
            Machine::Arm64 => elf::GNU_PROPERTY_AARCH64_FEATURE_1_AND.0,
            Machine::X86_64 => elf::GNU_PROPERTY_X86_FEATURE_1_AND.0,
        };
        while let (Some(kind), Some(len)) = (word(bytes, 0), word(bytes, 4)) {
            if kind == wanted && len == 4 {
                self.features = word(bytes, 8).unwrap_or(0);
            }
            let next = 8usize.saturating_add(len as usize).checked_next_multiple_of(8);
            bytes = next.and_then(|next| bytes.get(next..)).unwrap_or(&[]);
        }
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
}
