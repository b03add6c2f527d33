//! Objects: what an ELF file says about its code.
//!
//! Read with `pread`, never mapped, and no more of it than is asked for: the headers when it is
//! opened, symbols when one is looked up, code when it is planned. Every length is checked
//! against the file before anything is allocated, so that a damaged or lying file is an
//! [`ElfError`] and never a panic.
//!
//! | room | holds |
//! |---|---|
//! | `source` | the file's bytes |
//! | `layout` | header, segments, sections |
//! | `dynamic`, `relocs`, `notes`, `unwind`, `plt` | one table each |
//! | `collect`, `table` | function symbols: reading and merging them, looking them up |
//! | `mapping` | data between instructions by symbols |
//! | `data` | data between instructions by what names it |
//! | `debug`, `debugdata`, `gopclntab` | where a stripped object's symbols are: its debug file, a packed table, Go's own |
//! | `fixed`, `sequences` | code that nothing may be moved out of; restartable sequences |
//! | `dispatch` | from a file's architecture to a type |
//! | `code` | the bytes around a place, and whether the place can hold a probe at all |
//! | `go` | whether Go has compiled it, and which |
//! | `function` | a function as a whole, and what a jump in it would replace |

mod code;
mod collect;
mod data;
mod debug;
mod debugdata;
mod dispatch;
mod dynamic;
mod error;
mod fixed;
mod function;
mod go;
mod gopclntab;
mod imports;
mod layout;
mod mapping;
mod notes;
mod plt;
mod relocs;
mod sequences;
mod source;
mod table;
#[cfg(test)]
mod tests;
mod unwind;

pub use code::Code;
pub use debug::DebugSearch;
pub use error::ElfError;
pub use fixed::Fixed;
pub use function::Function;
pub use go::Go;
pub use layout::{Machine, Segment};
pub use notes::BuildId;
pub use relocs::{Reloc, RelocValue};
pub use sequences::signature;
pub use table::{Bind, Kind, Origin, Symbol, SymbolId, Symbols};

use dynamic::Dynamic;
use layout::Layout;
use notes::Notes;
use source::Source;
use std::cell::{OnceCell, RefCell};
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use xol_arch::Named;

/// A program or a shared library. All addresses are those in the file, before any load bias.
#[derive(Debug)]
pub struct Object {
    source: Source,
    layout: Layout,
    dynamic: Option<Dynamic>,
    soname: Option<String>,
    notes: Notes,
    go: Option<Go>,
    symbols: OnceCell<Symbols>,
    fixed: OnceCell<Vec<Fixed>>,
    branched: OnceCell<Vec<u64>>,
    named: OnceCell<Vec<Named>>,
    data: RefCell<Option<Rc<data::Known>>>,
    debug: Option<DebugSearch>,
    /// Debug files that were named themselves, and are this object's.
    debug_files: Vec<PathBuf>,
}

impl Object {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// Whatever makes it no object for xol.
    pub fn open(path: impl AsRef<Path>) -> Result<Object, ElfError> {
        Object::from_file(File::open(path).map_err(ElfError::Io)?)
    }

    /// Looks into an open file, e.g. one from /proc/PID/map_files.
    ///
    /// # Errors
    /// As for [`Object::open`].
    pub fn from_file(file: File) -> Result<Object, ElfError> {
        Object::from_source(Source::file(file)?)
    }

    /// Looks into bytes in memory.
    ///
    /// # Errors
    /// As for [`Object::open`].
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Object, ElfError> {
        Object::from_source(Source::memory(bytes))
    }

    fn from_source(source: Source) -> Result<Object, ElfError> {
        let layout = Layout::read(&source)?;
        let dynamic = Dynamic::read(&source, &layout)?;
        let soname = dynamic.as_ref().and_then(|d| d.soname(&source, &layout));
        let notes = Notes::read(&source, &layout);
        let go = Go::read(&source, &layout, notes.go);
        Ok(Object {
            source,
            layout,
            dynamic,
            soname,
            notes,
            go,
            symbols: OnceCell::new(),
            fixed: OnceCell::new(),
            branched: OnceCell::new(),
            named: OnceCell::new(),
            data: RefCell::new(None),
            debug: None,
            debug_files: Vec::new(),
        })
    }

    /// The same object, whose symbols may also be where `search` leads.
    #[must_use]
    pub fn with_debug(mut self, mut search: DebugSearch) -> Object {
        if !search.given.is_empty() {
            let wanted = self.debug_file();
            search.given.retain(|path| wanted.open(path).is_some());
        }
        self.debug_files.clone_from(&search.given);
        self.debug = Some(search);
        self
    }

    fn debug_file(&self) -> debug::Wanted {
        debug::Wanted::read(&self.source, &self.layout, self.notes.build_id)
    }

    /// The debug files of this object, of those that were named.
    #[must_use]
    pub fn named_debug_files(&self) -> &[PathBuf] {
        &self.debug_files
    }

    /// Whether it is a debug file: it has symbols, but the code is in another file.
    #[must_use]
    pub fn is_debug_file(&self) -> bool {
        self.layout.debug_only
    }

    /// The architecture its code is for.
    #[must_use]
    pub fn machine(&self) -> Machine {
        self.layout.machine
    }

    /// Whether addresses in the file are addresses in memory (ET_EXEC).
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        self.layout.fixed
    }

    /// Whether it is linked statically: it brings its own libc.
    #[must_use]
    pub fn is_static(&self) -> bool {
        self.layout.interp.is_none()
            && (self.layout.fixed || self.dynamic.as_ref().is_some_and(|d| d.pie))
    }

    /// Whether the names of functions that are not exported are gone.
    #[must_use]
    pub fn is_stripped(&self) -> bool {
        self.layout.section_of_kind(object::elf::SHT_SYMTAB).is_none()
    }

    /// Where a program starts; 0 for most libraries.
    #[must_use]
    pub fn entry(&self) -> u64 {
        self.layout.entry
    }

    /// The loader it asks for.
    #[must_use]
    pub fn interp(&self) -> Option<&str> {
        self.layout.interp.as_deref()
    }

    /// The name libraries are linked by.
    #[must_use]
    pub fn soname(&self) -> Option<&str> {
        self.soname.as_deref()
    }

    /// The build-id, if the linker wrote one.
    #[must_use]
    pub fn build_id(&self) -> Option<BuildId> {
        self.notes.build_id
    }

    /// How Go has compiled it, if it has.
    #[must_use]
    pub fn go(&self) -> Option<Go> {
        self.go
    }

    /// Whether its pages are mapped guarded (arm64 BTI) by a kernel or loader that can.
    #[must_use]
    pub fn guarded(&self) -> bool {
        use object::elf::GNU_PROPERTY_AARCH64_FEATURE_1_BTI as BTI;
        self.machine() == Machine::Arm64 && self.notes.features & BTI != 0
    }

    /// The loadable segments.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.layout.segments
    }

    /// Its functions; read on the first call.
    ///
    /// # Errors
    /// Damaged symbol tables.
    pub fn symbols(&self) -> Result<&Symbols, ElfError> {
        if let Some(symbols) = self.symbols.get() {
            return Ok(symbols);
        }
        let debug = || self.debug_file().find(self.debug.as_ref()?);
        let dynamic = self.dynamic.as_ref();
        let symbols = collect::symbols(&self.source, &self.layout, dynamic, &debug)?;
        Ok(self.symbols.get_or_init(|| symbols))
    }

    /// Whether the source had something of this name, as far as DWARF's strings say: they are
    /// searched, nothing is parsed.
    #[must_use]
    pub fn source_has(&self, name: &str) -> bool {
        let what = "DWARF strings";
        let section = self.layout.section(".debug_str");
        let Some(section) = section.filter(|s| s.flags & object::elf::SHF_COMPRESSED.0 == 0) else {
            return false;
        };
        let Ok(strings) = self.source.bytes(section.offset, section.size, what) else {
            return false;
        };
        let wanted = [name.as_bytes(), b"\0"].concat();
        memchr::memmem::find_iter(&strings, &wanted).any(|at| at == 0 || strings[at - 1] == 0)
    }

    /// The code that nothing may be moved out of, sorted; found on the first call.
    ///
    /// # Errors
    /// Damaged tables.
    pub fn fixed(&self) -> Result<&[Fixed], ElfError> {
        if let Some(fixed) = self.fixed.get() {
            return Ok(fixed);
        }
        let symbols = self.symbols()?;
        let dynamic = self.dynamic.as_ref();
        let fixed = fixed::ranges(&self.source, &self.layout, dynamic, symbols)?;
        Ok(self.fixed.get_or_init(|| fixed))
    }

    /// Where code is: sorted, without overlap.
    ///
    /// # Errors
    /// Damaged symbol tables.
    pub fn code_ranges(&self) -> Result<&[Range<u64>], ElfError> {
        Ok(&self.symbols()?.code)
    }

    /// Calls `each` for the relocations that lead to functions.
    ///
    /// # Errors
    /// A damaged relocation table.
    pub fn relocs(&self, each: &mut dyn FnMut(Reloc)) -> Result<(), ElfError> {
        relocs::each(&self.source, &self.layout, self.dynamic.as_ref(), each)
    }
}
