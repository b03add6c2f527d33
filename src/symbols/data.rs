//! Data between a function's instructions that no symbol tells of: literals, tables, strings.
//!
//! An *island* is a stretch of a function that nothing known leads to: control does not come out of what is
//! before it, no direct branch goes there, no function begins there. Jump tables and exceptions lead to code
//! in islands, so an island is code, unless an instruction of the object names an address in it relative
//! to itself: then it is data. Where only LEA or ADR does, that may be wrong, and costs a probe. A label is
//! where code begins unless it is named so; a global one may be by LEA or ADR.

use super::{Bind, ElfError, Kind, Object};
use std::ops::Range;
use std::rc::Rc;
use xol_arch::{Addr, Arch, Flow, Named, Text};

/// In more code than this, what names data is not looked for in other functions.
const SEARCHED: u64 = 8 << 20;
/// Nor is there data without symbols in longer functions.
const LONGEST: u64 = 1 << 20;

/// A function, or a gap between two, and what is data in it.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) range: Range<u64>,
    pub(crate) data: Vec<Range<u64>>,
}

/// What is known of a byte of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Byte {
    Unknown,
    /// An instruction begins.
    Begins,
    /// It goes on.
    Inside,
}

struct Islands<'a> {
    text: Text<'a>,
    start: u64,
    bytes: Vec<Byte>,
    ways: Vec<u64>,
    named: Vec<Named>,
    /// What was taken for code though nothing leads there.
    assumed: Vec<Range<u64>>,
}

/// Where something may begin in a function.
#[derive(Default)]
struct Entries {
    /// Code does.
    ways: Vec<u64>,
    /// Code does, unless an instruction accesses it as data.
    global: Vec<u64>,
    /// Code does, unless an instruction names it otherwise than by a branch.
    local: Vec<u64>,
}

impl Entries {
    /// The labels that code begins at, where these addresses are named otherwise.
    fn labels(&self, named: &[Named]) -> Vec<u64> {
        let data = |at: u64, accessed: bool| {
            named.iter().any(|n| n.at.0 == at && (n.accessed || !accessed))
        };
        let global = self.global.iter().filter(|at| !data(**at, true));
        global.chain(self.local.iter().filter(|at| !data(**at, false))).copied().collect()
    }
}

impl Islands<'_> {
    fn byte(&self, at: u64) -> Option<Byte> {
        self.bytes.get(usize::try_from(at.checked_sub(self.start)?).ok()?).copied()
    }

    fn is_free(&self, at: u64) -> bool {
        self.byte(at) == Some(Byte::Unknown)
    }

    /// Follows all ways to their ends.
    fn walk<A: Arch>(&mut self) {
        let Islands { text, start, bytes, ways, named, .. } = self;
        let end = *start + bytes.len() as u64;
        while let Some(way) = ways.pop() {
            if !(*start..end).contains(&way) {
                continue;
            }
            A::follow(text, Addr(way), &mut |step| {
                let Some(here) = bytes.get_mut((step.at.0 - *start) as usize..) else {
                    return false;
                };
                let Some((first, rest)) = here.split_first_mut() else { return false };
                if *first == Byte::Begins {
                    return false;
                }
                *first = Byte::Begins;
                for byte in rest.iter_mut().take(usize::from(step.len) - 1) {
                    if *byte == Byte::Unknown {
                        *byte = Byte::Inside;
                    }
                }
                named.extend(step.named);
                match step.flow {
                    Flow::Next | Flow::Nop | Flow::Call(None) => true,
                    Flow::JumpIf(to) | Flow::Call(Some(to)) => {
                        ways.push(to.0);
                        true
                    }
                    Flow::Jump(to) => {
                        ways.push(to.0);
                        false
                    }
                    Flow::JumpIndirect | Flow::Return | Flow::Stop => false,
                }
            });
        }
    }

    /// The next island from `at` on, up to what is known or to one of `borders`, without the padding that
    /// it begins with.
    fn next<A: Arch>(&self, at: u64, borders: &[u64]) -> Option<Range<u64>> {
        let end = self.start + self.bytes.len() as u64;
        let mut at = at;
        loop {
            at = (at..end).find(|&at| self.is_free(at))?;
            let border = |at: &u64| !self.is_free(*at) || borders.binary_search(at).is_ok();
            let behind = (at + 1..end).find(border).unwrap_or(end);
            let mut first = at;
            A::follow(&self.text, Addr(at), &mut |step| {
                let padding = step.flow == Flow::Nop || A::is_trap(self.text.from(step.at));
                let step_end = step.at.0 + u64::from(step.len);
                if padding && step_end <= behind {
                    first = step_end;
                }
                padding && step_end < behind
            });
            if first < behind {
                return Some(first..behind);
            }
            at = behind;
        }
    }
}

/// The data of a function, whose code begins with `text.bytes`; `outside` names addresses in it from elsewhere.
fn find<A: Arch>(text: Text<'_>, entries: &Entries, outside: &[Named]) -> Vec<Range<u64>> {
    let range = text.range();
    let mut named = outside.to_vec();
    let mut borders = [&entries.global[..], &entries.local[..]].concat();
    borders.sort_unstable();
    // What was taken for code may turn out to be named by what comes behind it.
    for _ in 0..4 {
        let labels = entries.labels(&named);
        let mut ways = entries.ways.clone();
        ways.extend(&labels);
        let bytes = vec![Byte::Unknown; text.bytes.len()];
        let mut islands =
            Islands { text, start: range.start, bytes, ways, named, assumed: Vec::new() };
        islands.walk::<A>();
        let mut data = Vec::new();
        loop {
            data.clear();
            let mut at = islands.start;
            let mut more = false;
            while let Some(island) = islands.next::<A>(at, &borders) {
                at = island.end;
                if islands.named.iter().any(|n| island.contains(&n.at.0)) {
                    data.push(island);
                    continue;
                }
                islands.ways.push(island.start);
                islands.walk::<A>();
                // What does not decode.
                let first = (island.start - islands.start) as usize;
                if let Some(byte @ Byte::Unknown) = islands.bytes.get_mut(first) {
                    *byte = Byte::Inside;
                }
                at = island.start;
                islands.assumed.push(island);
                more = true;
            }
            if !more || data.is_empty() {
                break;
            }
        }
        let assumed = |n: &Named| islands.assumed.iter().any(|island| island.contains(&n.at.0));
        let again = islands.named.iter().any(assumed) || entries.labels(&islands.named) != labels;
        named = islands.named;
        if !again {
            return data;
        }
    }
    Vec::new()
}

impl Object {
    /// What is data around `vaddr`, or next behind it in the same function, by symbols or by what names it.
    ///
    /// # Errors
    /// Damaged symbol tables, an unreadable file.
    pub fn data_from(&self, vaddr: u64) -> Result<Option<Range<u64>>, ElfError> {
        let known = self.known_data(vaddr)?;
        let inferred = known.data.get(known.data.partition_point(|r| r.end <= vaddr)).cloned();
        let told = self.symbols()?.data_from(vaddr);
        Ok(match (inferred, told) {
            (Some(one), Some(other)) => Some(if one.start < other.start { one } else { other }),
            (one, other) => one.or(other),
        })
    }

    /// What no symbol tells of in the function around `vaddr`.
    pub(crate) fn known_data(&self, vaddr: u64) -> Result<Rc<Known>, ElfError> {
        if let Some(known) = &*self.data.borrow()
            && known.range.contains(&vaddr)
        {
            return Ok(known.clone());
        }
        let known = Rc::new(self.find_data(vaddr)?);
        *self.data.borrow_mut() = Some(known.clone());
        Ok(known)
    }

    fn find_data(&self, vaddr: u64) -> Result<Known, ElfError> {
        let symbols = self.symbols()?;
        let nothing = |range| Known { range, data: Vec::new() };
        let Some(code) = symbols.code_around(vaddr) else { return Ok(nothing(vaddr..vaddr + 1)) };
        let Some(range) = symbols.function_at(vaddr).filter(|f| f.contains(&vaddr)) else {
            let end = symbols.next_start(vaddr).min(code.end).max(vaddr + 1);
            return Ok(nothing(vaddr..end));
        };
        if range.start < code.start || range.end > code.end || range.end - range.start > LONGEST {
            return Ok(nothing(range));
        }
        let mut bytes = vec![0; (range.end - range.start) as usize];
        self.read_code(range.start, &mut bytes)?;
        let text = Text::new(Addr(range.start), &bytes);
        let entries = self.entries(&range)?;
        let data = crate::for_machine!(self.machine(), A => {
            let outside: Vec<Named> = match self.named::<A>()? {
                Some(named) => {
                    let first = named.partition_point(|n| n.at.0 < range.start);
                    let here = named[first..].iter().take_while(|n| n.at.0 < range.end);
                    here.filter(|n| !entries.ways.contains(&n.at.0)).copied().collect()
                }
                None => Vec::new(),
            };
            // Of nearly every function nothing is named.
            if outside.is_empty() && self.is_searched() {
                Vec::new()
            } else {
                find::<A>(text, &entries, &outside)
            }
        })?;
        Ok(Known { range, data })
    }

    fn entries(&self, range: &Range<u64>) -> Result<Entries, ElfError> {
        let symbols = self.symbols()?;
        let mut entries = Entries { ways: vec![range.start], ..Entries::default() };
        // A loader asks for its own address, and has no unwind table there.
        entries.ways.extend(Some(self.entry()).filter(|at| range.contains(at)));
        let first = symbols.starts.partition_point(|at| *at <= range.start);
        entries.ways.extend(symbols.starts[first..].iter().take_while(|at| **at < range.end));
        let first = symbols.entries.partition_point(|e| e.addr <= range.start);
        for entry in symbols.entries[first..].iter().take_while(|e| e.addr < range.end) {
            let group = match (entry.kind, entry.bind) {
                (Kind::Label, Bind::Local) => &mut entries.local,
                (Kind::Label, _) => &mut entries.global,
                _ => &mut entries.ways,
            };
            group.push(entry.addr);
        }
        Ok(entries)
    }

    /// Whether what names data is looked for in the whole object.
    fn is_searched(&self) -> bool {
        let size = |ranges: &[Range<u64>]| ranges.iter().map(|r| r.end - r.start).sum::<u64>();
        self.code_ranges().is_ok_and(|ranges| size(ranges) <= SEARCHED)
    }

    /// What the object's instructions name in its own code, sorted: found on the first call. `None` if that
    /// is too much code.
    fn named<A: Arch>(&self) -> Result<Option<&[Named]>, ElfError> {
        if !self.is_searched() {
            return Ok(None);
        }
        if let Some(named) = self.named.get() {
            return Ok(Some(named));
        }
        let mut all = Vec::new();
        let symbols = self.symbols()?;
        let ranges = &symbols.code;
        let mut bytes = Vec::new();
        for code in ranges {
            bytes.resize((code.end - code.start) as usize, 0);
            self.read_code(code.start, &mut bytes)?;
            let mut at = code.start;
            // Each function by itself: behind data, decoding is in step again.
            while at < code.end {
                let end = symbols.next_start(at).min(code.end);
                let here = &bytes[(at - code.start) as usize..(end - code.start) as usize];
                each_named::<A>(&Text::new(Addr(at), here), &mut |named| {
                    if ranges.iter().any(|range| range.contains(&named.at.0)) {
                        all.push(named);
                    }
                });
                at = end;
            }
        }
        all.sort_unstable_by_key(|n| (n.at, !n.accessed));
        all.dedup_by_key(|n| n.at);
        Ok(Some(self.named.get_or_init(|| all)))
    }
}

/// Calls `each` with all that instructions name, one instruction behind the other.
fn each_named<A: Arch>(text: &Text<'_>, each: &mut dyn FnMut(Named)) {
    let Range { start: mut at, end } = text.range();
    while at < end {
        let mut next = at;
        A::follow(text, Addr(at), &mut |step| {
            next = step.at.0 + u64::from(step.len);
            if let Some(named) = step.named {
                each(named);
            }
            true
        });
        // What does not decode is passed over.
        at = if next < end { next + A::INSN_ALIGN } else { next };
    }
}

#[cfg(test)]
#[path = "data_tests.rs"]
mod tests;
