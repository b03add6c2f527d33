//! The ELF header, and where segments and sections are.

use super::ElfError;
use super::source::{Source, string_at};
use object::LittleEndian as LE;
use object::elf;
use std::ops::Range;

/// An architecture that xol can plan for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Machine {
    /// AArch64.
    Arm64,
    /// x86-64.
    X86_64,
}

impl Machine {
    /// `arm64` or `x86_64`, as on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Machine::Arm64 => "arm64",
            Machine::X86_64 => "x86_64",
        }
    }

    /// The architecture of that name; the names other tools use are understood too.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Machine> {
        match name {
            "arm64" | "aarch64" => Some(Machine::Arm64),
            "x86_64" | "x86-64" | "amd64" => Some(Machine::X86_64),
            _ => None,
        }
    }
}

/// One PT_LOAD: where a piece of the file comes to lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The first address, before any load bias.
    pub vaddr: u64,
    /// Where its bytes are in the file.
    pub offset: u64,
    /// Bytes in the file; what is beyond them in memory is zero.
    pub filesz: u64,
    /// Bytes in memory.
    pub memsz: u64,
    /// PF_R, PF_W, PF_X.
    pub flags: u32,
}

impl Segment {
    /// Whether it can be executed.
    #[must_use]
    pub const fn executable(&self) -> bool {
        self.flags & elf::PF_X.0 != 0
    }

    /// The addresses that the file has bytes for.
    #[must_use]
    pub const fn range(&self) -> Range<u64> {
        self.vaddr..self.vaddr.saturating_add(self.filesz)
    }
}

/// A section header, as far as it is used here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Section {
    pub(crate) name: u32,
    pub(crate) kind: elf::SectionType,
    pub(crate) flags: u64,
    pub(crate) addr: u64,
    pub(crate) offset: u64,
    pub(crate) size: u64,
    pub(crate) entsize: u64,
    pub(crate) link: u32,
}

/// What the headers say.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) machine: Machine,
    /// ET_EXEC: addresses in the file are addresses in memory.
    pub(crate) fixed: bool,
    pub(crate) entry: u64,
    pub(crate) segments: Vec<Segment>,
    pub(crate) sections: Vec<Section>,
    section_names: Vec<u8>,
    pub(crate) interp: Option<String>,
    /// PT_DYNAMIC: offset and length in the file.
    pub(crate) dynamic: Option<(u64, u64)>,
    /// PT_GNU_EH_FRAME: address and length.
    pub(crate) eh_frame_hdr: Option<(u64, u64)>,
    pub(crate) notes: Vec<(u64, u64, u64)>,
    /// A debug file: it has tables about code that is in another file.
    pub(crate) debug_only: bool,
}

impl Layout {
    pub(crate) fn read(source: &Source) -> Result<Layout, ElfError> {
        let (mut layout, header) = Layout::header(source)?;
        layout.read_sections(source, &header);
        layout.debug_only = layout.has_empty_code();
        layout.read_segments(source, &header)?;
        if layout.debug_only {
            // What the segments say is of the file that has them.
            (layout.interp, layout.dynamic, layout.eh_frame_hdr) = (None, None, None);
            layout.notes = layout.note_sections();
        }
        Ok(layout)
    }

    /// What the section headers say, of a file that need have no segments.
    pub(crate) fn tables(source: &Source) -> Result<Layout, ElfError> {
        let (mut layout, header) = Layout::header(source)?;
        layout.read_sections(source, &header);
        layout.notes = layout.note_sections();
        Ok(layout)
    }

    /// Whether the sections with code have no bytes, but symbols.
    fn has_empty_code(&self) -> bool {
        let code = |s: &&Section| s.flags & elf::SHF_EXECINSTR.0 != 0;
        let empty = |s: &Section| s.kind == elf::SHT_NOBITS;
        self.section_of_kind(elf::SHT_SYMTAB).is_some()
            && self.sections.iter().any(|s| code(&s) && empty(s))
            && self.sections.iter().filter(code).all(empty)
    }

    fn note_sections(&self) -> Vec<(u64, u64, u64)> {
        let notes = self.sections.iter().filter(|s| s.kind == elf::SHT_NOTE);
        notes.map(|s| (s.offset, s.size, 4)).collect()
    }

    fn header(source: &Source) -> Result<(Layout, elf::FileHeader64<LE>), ElfError> {
        let mut magic = [0; 20];
        if source.len() < magic.len() as u64 {
            return Err(ElfError::NotElf);
        }
        source.read(0, &mut magic, "header")?;
        if magic[..4] != elf::ELFMAG {
            return Err(ElfError::NotElf);
        }
        let big = magic[5] == elf::ELFDATA2MSB.0;
        let half = |i: usize| {
            let bytes = [magic[i], magic[i + 1]];
            if big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
        };
        let (kind, machine) = (half(16), half(18));
        match magic[4] {
            1 => return Err(ElfError::Class32 { machine }),
            2 => {}
            _ => return Err(ElfError::Lying { what: "class" }),
        }
        if big {
            return Err(ElfError::BigEndian { machine });
        }
        let machine = match elf::Machine(machine) {
            elf::EM_AARCH64 => Machine::Arm64,
            elf::EM_X86_64 => Machine::X86_64,
            _ => return Err(ElfError::Machine { machine }),
        };
        let fixed = match elf::FileType(kind) {
            elf::ET_EXEC => true,
            elf::ET_DYN => false,
            _ => return Err(ElfError::Kind { kind }),
        };
        let header: elf::FileHeader64<LE> = source.one(0, "header")?;
        let layout = Layout {
            machine,
            fixed,
            entry: header.e_entry.get(LE),
            segments: Vec::new(),
            sections: Vec::new(),
            section_names: Vec::new(),
            interp: None,
            dynamic: None,
            eh_frame_hdr: None,
            notes: Vec::new(),
            debug_only: false,
        };
        Ok((layout, header))
    }

    fn read_segments(
        &mut self,
        source: &Source,
        header: &elf::FileHeader64<LE>,
    ) -> Result<(), ElfError> {
        let what = "program header table";
        let count = u64::from(header.e_phnum.get(LE));
        let size = size_of::<elf::ProgramHeader64<LE>>() as u64;
        if count != 0 && u64::from(header.e_phentsize.get(LE)) != size {
            return Err(ElfError::Lying { what });
        }
        let mut interp = None;
        let mut lying = false;
        source.each::<elf::ProgramHeader64<LE>>(
            header.e_phoff.get(LE),
            count * size,
            what,
            &mut |_, p| {
                let (vaddr, offset) = (p.p_vaddr.get(LE), p.p_offset.get(LE));
                let (filesz, memsz) = (p.p_filesz.get(LE), p.p_memsz.get(LE));
                match p.p_type.get(LE) {
                    elf::PT_LOAD => {
                        lying |= filesz > memsz || vaddr.checked_add(memsz).is_none();
                        self.segments.push(Segment {
                            vaddr,
                            offset,
                            filesz,
                            memsz,
                            flags: p.p_flags.get(LE).0,
                        });
                    }
                    elf::PT_INTERP => interp = Some((offset, filesz)),
                    elf::PT_DYNAMIC => self.dynamic = Some((offset, filesz)),
                    elf::PT_GNU_EH_FRAME => self.eh_frame_hdr = Some((vaddr, filesz)),
                    elf::PT_NOTE | elf::PT_GNU_PROPERTY => {
                        self.notes.push((offset, filesz, p.p_align.get(LE)));
                    }
                    _ => {}
                }
            },
        )?;
        if lying {
            return Err(ElfError::Lying { what });
        }
        for segment in self.segments.iter().filter(|_| !self.debug_only) {
            let end = segment.offset.checked_add(segment.filesz);
            if segment.executable() && end.is_none_or(|end| end > source.len()) {
                return Err(ElfError::Truncated { what: "executable segment" });
            }
        }
        if !self.segments.iter().any(Segment::executable) {
            return Err(ElfError::Lying { what: "program header table (nothing is executable)" });
        }
        if let Some((offset, len)) = interp {
            let path = source.bytes(offset, len.min(4096), "interpreter's name")?;
            self.interp = Some(string_at(&path, 0).to_owned());
        }
        Ok(())
    }

    /// Section headers are a convenience: the loader ignores them, some tools strip them, and a
    /// table that makes no sense is taken for one that is not there.
    fn read_sections(&mut self, source: &Source, header: &elf::FileHeader64<LE>) {
        let size = size_of::<elf::SectionHeader64<LE>>() as u64;
        let offset = header.e_shoff.get(LE);
        if offset == 0 || u64::from(header.e_shentsize.get(LE)) != size {
            return;
        }
        let Ok(first) = source.one::<elf::SectionHeader64<LE>>(offset, "section") else { return };
        // More than 65279 sections: the numbers are in the first one.
        let count = match u64::from(header.e_shnum.get(LE)) {
            0 => first.sh_size.get(LE),
            count => count,
        };
        let names = match header.e_shstrndx.get(LE) {
            elf::SHN_XINDEX => first.sh_link.get(LE) as usize,
            index => usize::from(index.0),
        };
        let Some(len) = count.checked_mul(size) else { return };
        let mut sections = Vec::new();
        let each = &mut |_, s: &elf::SectionHeader64<LE>| {
            sections.push(Section {
                name: s.sh_name.get(LE),
                kind: s.sh_type.get(LE),
                flags: s.sh_flags.get(LE).0,
                addr: s.sh_addr.get(LE),
                offset: s.sh_offset.get(LE),
                size: s.sh_size.get(LE),
                entsize: s.sh_entsize.get(LE),
                link: s.sh_link.get(LE),
            });
        };
        if source.each(offset, len, "section header table", each).is_err() {
            return;
        }
        if let Some(table) = sections.get(names) {
            self.section_names =
                source.bytes(table.offset, table.size, "section names").unwrap_or_default();
        }
        self.sections = sections;
    }

    pub(crate) fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|s| self.section_name(s) == name)
    }

    pub(crate) fn section_name(&self, section: &Section) -> &str {
        string_at(&self.section_names, section.name as usize)
    }

    pub(crate) fn section_of_kind(&self, kind: elf::SectionType) -> Option<&Section> {
        self.sections.iter().find(|s| s.kind == kind)
    }

    /// Where in the file the byte at `vaddr` is, and how many bytes follow it in its segment.
    pub(crate) fn file_offset(&self, vaddr: u64) -> Option<(u64, u64)> {
        if self.debug_only {
            return None;
        }
        self.segments.iter().find(|s| s.range().contains(&vaddr)).map(|s| {
            let skip = vaddr - s.vaddr;
            (s.offset.saturating_add(skip), s.filesz - skip)
        })
    }

    /// Where code is: the executable sections, or the executable segments where there are no
    /// sections. Sorted, without overlap, each inside one segment.
    pub(crate) fn code(&self) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        let wanted = elf::SHF_ALLOC.0 | elf::SHF_EXECINSTR.0;
        for section in &self.sections {
            let here = section.kind != elf::SHT_NOBITS || self.debug_only;
            if section.flags & wanted == wanted && here {
                let end = section.addr.saturating_add(section.size);
                for segment in self.segments.iter().filter(|s| s.executable()) {
                    let len = if self.debug_only { segment.memsz } else { segment.filesz };
                    let range = segment.vaddr..segment.vaddr.saturating_add(len);
                    ranges.push(section.addr.max(range.start)..end.min(range.end));
                }
            }
        }
        ranges.retain(|r| r.start < r.end);
        if ranges.is_empty() {
            ranges.extend(self.segments.iter().filter(|s| s.executable()).map(Segment::range));
        }
        ranges.sort_unstable_by_key(|r| (r.start, r.end));
        let mut from = 0;
        for range in &mut ranges {
            range.start = range.start.max(from);
            from = from.max(range.end);
        }
        ranges.retain(|r| r.start < r.end);
        ranges
    }
}
