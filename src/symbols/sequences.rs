//! Restartable sequences (rseq(2)): those that a section describes, and whether there may be others.
//!
//! A thread that jumps out of a restartable sequence has left it without being aborted, so no jump
//! is in one. The kernel aborts to no place that has not the registered number before it. An object
//! that has the number only in front of what `__rseq_cs` describes, and in instructions that run on
//! behind it (libc's, which registers it), has no other sequences. In an object that has it
//! elsewhere no site is a jump. Two things are taken for granted: a sequence and the place that it
//! is aborted to are in one object, and a program that registers another number than libc's has
//! done so when the jump is made.

use super::layout::{Layout, Machine};
use super::relocs::{self, RelocValue};
use super::source::Source;
use super::{ElfError, Object, dynamic::Dynamic};
use memchr::memmem::Finder;
use object::LittleEndian as LE;
use object::elf;
use std::ops::Range;
use xol_arch::{Addr, Arch, Rules, Text};

/// What `struct rseq_cs` says of a sequence (linux/rseq.h).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sequence {
    /// From start_ip, as long as post_commit_offset.
    pub(crate) range: Range<u64>,
    /// abort_ip.
    abort: u64,
}

/// The number that libc registers, and the kernel then wants right before each abort_ip: RSEQ_SIG of
/// glibc's bits/rseq.h.
#[must_use]
pub const fn signature(machine: Machine) -> u32 {
    match machine {
        Machine::X86_64 => 0x5305_3053,
        Machine::Arm64 => 0xd428_bc00,
    }
}

/// What the `__rseq_cs` section describes: version, flags, start_ip, post_commit_offset, abort_ip. In
/// a PIE the addresses come from relocations.
pub(crate) fn described(
    source: &Source,
    layout: &Layout,
    dynamic: Option<&Dynamic>,
) -> Result<Vec<Sequence>, ElfError> {
    let Some(section) = layout.section("__rseq_cs") else { return Ok(Vec::new()) };
    if section.kind == elf::SHT_NOBITS {
        return Ok(Vec::new());
    }
    let mut areas = Vec::new();
    source.each::<[object::U64<LE>; 4]>(
        section.offset,
        section.size,
        "__rseq_cs section",
        &mut |_, cs| areas.push([1, 2, 3].map(|n| cs[n].get(LE))),
    )?;
    relocs::each(source, layout, dynamic, &mut |reloc| {
        if let RelocValue::Address(value) = reloc.value
            && let Some(into) = reloc.slot.checked_sub(section.addr)
            && let Some(area) = areas.get_mut((into / 32) as usize)
        {
            match into % 32 {
                8 => area[0] = value,
                24 => area[2] = value,
                _ => {}
            }
        }
    })?;
    let known = areas.into_iter().filter(|[start, len, _]| *start != 0 && *len != 0);
    Ok(known
        .map(|[start, len, abort]| Sequence { range: start..start.saturating_add(len), abort })
        .collect())
}

impl Object {
    /// Whether there may be restartable sequences that no section describes, where the kernel was told
    /// `signature`: it makes no thread go to an abort_ip without that number before it (kernel/rseq.c,
    /// rseq_get_rseq_cs). Not before one is the number that is part of an instruction which a
    /// thread runs, and goes on behind: libc's own, that registers it.
    ///
    /// # Errors
    /// Damaged tables, an unreadable file.
    pub fn may_restart(&self, signature: u32) -> Result<bool, ElfError> {
        crate::for_machine!(self.machine(), A => self.has_abort::<A>(signature)?)
    }

    fn has_abort<A: Arch>(&self, signature: u32) -> Result<bool, ElfError> {
        const PIECE: usize = 256 << 10;
        let known = described(&self.source, &self.layout, self.dynamic.as_ref())?;
        let word = signature.to_le_bytes();
        let finder = Finder::new(&word);
        let mut piece = Vec::new();
        for segment in self.segments().iter().filter(|segment| segment.executable()) {
            let mut done = 0;
            while done + word.len() as u64 <= segment.filesz {
                piece.resize(PIECE.min((segment.filesz - done) as usize), 0);
                self.source.read(segment.offset + done, &mut piece, "code")?;
                for found in finder.find_iter(&piece) {
                    let at = segment.vaddr + done + found as u64;
                    let abort = at + word.len() as u64;
                    if abort.is_multiple_of(A::INSN_ALIGN)
                        && !known.iter().any(|sequence| sequence.abort == abort)
                        && !self.runs_over::<A>(at..abort)?
                    {
                        return Ok(true);
                    }
                }
                // The last few bytes may be the beginning of one.
                done += (piece.len() - word.len() + 1) as u64;
            }
        }
        Ok(false)
    }

    /// Whether `bytes` are part of an instruction that can be displaced, so of one that does not trap
    /// by design.
    fn runs_over<A: Arch>(&self, bytes: Range<u64>) -> Result<bool, ElfError> {
        let Some(start) = self.inside::<A>(bytes.start)? else { return Ok(false) };
        let Some(code) = self.code_at(start)? else { return Ok(false) };
        let text: Text<'_> = code.text();
        let plan = A::plan(&text, Addr(start), Rules::default());
        Ok(plan.is_ok_and(|plan| bytes.end <= start + u64::from(plan.len)))
    }
}
