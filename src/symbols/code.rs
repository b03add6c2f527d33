//! The bytes around a place, and whether the place can hold a probe at all.

use super::{ElfError, Object};
use std::ops::Range;
use xol_arch::{Addr, Arch, Plan, Reason, Reject, Rules, Text};

/// Longer functions are looked at through a window around the place.
const WHOLE_FUNCTION: u64 = 256 << 10;
/// How much is read on both sides of a place whose function is unknown or too long.
const WINDOW: u64 = 4 << 10;

/// Code copied from an object: what [`Arch::plan`] looks at.
#[derive(Clone, Debug)]
pub struct Code {
    base: u64,
    bytes: Vec<u8>,
    function: Option<(Addr, Addr)>,
    guarded: bool,
}

impl Code {
    /// The view that plans are made from.
    #[must_use]
    pub fn text(&self) -> Text<'_> {
        Text {
            base: Addr(self.base),
            bytes: &self.bytes,
            function: self.function,
            guarded: self.guarded,
        }
    }
}

impl Object {
    /// Fills `to` with the file's bytes at `vaddr`.
    ///
    /// # Errors
    /// Where the file has none.
    pub fn read_code(&self, vaddr: u64, to: &mut [u8]) -> Result<(), ElfError> {
        let what = "code";
        match self.layout.file_offset(vaddr) {
            Some((offset, room)) if to.len() as u64 <= room => match to.len() {
                ..=16 => self.source.read_near(offset, to, what),
                _ => self.source.read(offset, to, what),
            },
            _ => Err(ElfError::Truncated { what }),
        }
    }

    /// Where the function around `vaddr` begins and ends, if anything says so.
    ///
    /// # Errors
    /// Damaged symbol tables.
    pub fn function_at(&self, vaddr: u64) -> Result<Option<Range<u64>>, ElfError> {
        Ok(self.symbols()?.function_at(vaddr))
    }

    /// The addresses to look at when the instruction at `vaddr` is planned: its function, or a
    /// window where that is unknown or very long. `None` outside code.
    ///
    /// # Errors
    /// Damaged symbol tables.
    pub fn extent(&self, vaddr: u64) -> Result<Option<Range<u64>>, ElfError> {
        let symbols = self.symbols()?;
        let Some(code) = symbols.code_around(vaddr) else { return Ok(None) };
        let around = vaddr.saturating_sub(WINDOW)..vaddr.saturating_add(WINDOW);
        let range = match symbols.function_at(vaddr) {
            Some(f) if f.end - f.start <= WHOLE_FUNCTION => f,
            Some(f) => around.start.max(f.start)..around.end.min(f.end),
            None => around,
        };
        // An instruction at the very end may reach over what a wrong symbol size says.
        let end = range.end.max(vaddr.saturating_add(16));
        Ok(Some(range.start.max(code.start)..end.min(code.end)))
    }

    /// The code around `vaddr` as the file has it.
    ///
    /// # Errors
    /// Damaged symbol tables, an unreadable file.
    pub fn code_at(&self, vaddr: u64) -> Result<Option<Code>, ElfError> {
        let Some(extent) = self.extent(vaddr)? else { return Ok(None) };
        let mut bytes = vec![0; (extent.end - extent.start) as usize];
        self.read_code(extent.start, &mut bytes)?;
        let function = self.function_at(vaddr)?.map(|f| (Addr(f.start), Addr(f.end)));
        Ok(Some(Code { base: extent.start, bytes, function, guarded: self.guarded() }))
    }

    /// What forbids a probe at `vaddr` whatever instruction is there: it is not code, or nothing
    /// may be moved out of it.
    ///
    /// # Errors
    /// Damaged tables.
    pub fn place_reject(&self, vaddr: u64) -> Result<Option<Reject>, ElfError> {
        if let Some(reject) = self.told_reject(vaddr)? {
            return Ok(Some(reject));
        }
        // A function begins with code.
        let symbols = self.symbols()?;
        if symbols.function_at(vaddr).is_none_or(|function| function.start == vaddr) {
            return Ok(None);
        }
        let data = self.data_from(vaddr)?.filter(|data| data.contains(&vaddr));
        Ok(data.map(|data| self.data_reject(&data)))
    }

    fn data_reject(&self, data: &Range<u64>) -> Reject {
        let code = self.symbols().is_ok_and(|symbols| symbols.code_around(data.end).is_some());
        Reject { reason: Reason::Data, nearest: code.then_some(Addr(data.end)) }
    }

    /// The same, of code that something leads to: by tables alone.
    ///
    /// # Errors
    /// Damaged tables.
    pub fn told_reject(&self, vaddr: u64) -> Result<Option<Reject>, ElfError> {
        let symbols = self.symbols()?;
        if symbols.code_around(vaddr).is_none() {
            return Ok(Some(Reason::NotCode.into()));
        }
        if let Some(data) = symbols.data_from(vaddr).filter(|d| d.contains(&vaddr)) {
            return Ok(Some(self.data_reject(&data)));
        }
        let hit = self.fixed()?.iter().find(|f| f.range.contains(&vaddr));
        Ok(hit.map(|f| Reject { reason: f.reason, nearest: Some(Addr(f.range.end)) }))
    }

    /// The start of the instruction that `vaddr` is inside of; `None` if one begins at `vaddr`.
    /// Decodes from the nearest place before that is known to begin an instruction.
    ///
    /// # Errors
    /// Damaged tables, an unreadable file.
    pub fn inside<A: Arch>(&self, vaddr: u64) -> Result<Option<u64>, ElfError> {
        let Some(from) = self.symbols()?.decode_from(vaddr) else { return Ok(None) };
        if A::INSN_ALIGN > 1 {
            // Fixed width: the last instruction boundary before `vaddr`.
            let start = vaddr - vaddr % A::INSN_ALIGN;
            return Ok((start != vaddr).then_some(start));
        }
        let mut last = from;
        self.boundaries::<A>(from..vaddr, &mut |at, _| last = at)?;
        // `boundaries` goes on until it is at or beyond the end.
        let mut bytes = [0; 16];
        let code = self.symbols()?.code_around(last).map_or(last, |c| c.end);
        let len = bytes.len().min(code.saturating_sub(last) as usize);
        self.read_code(last, &mut bytes[..len])?;
        let text = Text::new(Addr(last), &bytes[..len]);
        let size = A::length(&text, Addr(last)).unwrap_or(1) as u64;
        Ok((last < vaddr && last + size > vaddr).then_some(last))
    }

    /// Whether an instruction begins at `vaddr`: if not, a reject with the start of the one it is
    /// inside of.
    ///
    /// # Errors
    /// As for [`Object::inside`]; an architecture that this xol was built without.
    pub fn boundary_reject(&self, vaddr: u64) -> Result<Option<Reject>, ElfError> {
        crate::for_machine!(self.machine(), A => {
            let fixed_width = A::INSN_ALIGN > 1;
            let reason = if fixed_width { Reason::Misaligned } else { Reason::InsideInstruction };
            let start = self.inside::<A>(vaddr)?;
            start.map(|start| Reject { reason, nearest: Some(Addr(start)) })
        })
    }

    /// Calls `each` with the address and length of every instruction in `range`, which must begin
    /// one. What does not decode is passed over by one alignment step; its length is 0. What is
    /// known to be data is passed over in silence.
    ///
    /// # Errors
    /// An unreadable file.
    pub fn boundaries<A: Arch>(
        &self,
        range: Range<u64>,
        each: &mut dyn FnMut(u64, usize),
    ) -> Result<(), ElfError> {
        const PIECE: u64 = 16 << 10;
        let symbols = self.symbols()?;
        let limit = symbols.code_around(range.start).map_or(range.end, |c| c.end);
        let end = range.end.min(limit);
        let mut data = self.data_from(range.start)?;
        let mut known = self.known_data(range.start)?;
        let mut bytes = Vec::new();
        let mut at = range.start;
        while at < end {
            let piece_end = limit.min(at.saturating_add(PIECE));
            bytes.resize((piece_end - at) as usize, 0);
            self.read_code(at, &mut bytes)?;
            let text = Text::new(Addr(at), &bytes);
            // An instruction that may reach over the piece is left to the next one.
            let stop = if piece_end == limit { end } else { end.min(piece_end - 16) };
            while at < stop {
                if at >= known.range.end {
                    known = self.known_data(at)?;
                    data = self.data_from(at)?;
                }
                if let Some(d) = data.take_if(|d| d.contains(&at)) {
                    at = d.end;
                    data = self.data_from(at)?;
                    continue;
                }
                let len = A::length(&text, Addr(at)).unwrap_or(0);
                each(at, len);
                at += (len as u64).max(A::INSN_ALIGN);
            }
        }
        Ok(())
    }

    /// The plan for the instruction at `vaddr`, from the file's bytes and with every check of the
    /// place.
    ///
    /// # Errors
    /// An unreadable file; the inner result says why the place is rejected.
    pub fn plan_at<A: Arch>(
        &self,
        vaddr: u64,
        rules: Rules,
    ) -> Result<Result<Plan<A>, Reject>, ElfError> {
        if let Some(reject) = self.place_reject(vaddr)? {
            return Ok(Err(reject));
        }
        if let Some(reject) = self.boundary_reject(vaddr)? {
            return Ok(Err(reject));
        }
        match self.code_at(vaddr)? {
            Some(code) => Ok(A::plan(&code.text(), Addr(vaddr), rules)),
            None => Ok(Err(Reason::NotCode.into())),
        }
    }
}
