//! From code to one verdict for each instruction.

use super::line::{Insn, Verdict};
use crate::cli::failure::Failure;
use std::fmt::Write;
use std::marker::PhantomData;
use std::ops::Range;
use std::path::Path;
use xol::symbols::{Code, ElfError, Fixed, Function, Object};
use xol_arch::jump::Window;
use xol_arch::{Addr, Arch, Reason, Reject, Rules, Strategy, Text};

/// Who is told of each instruction.
pub(super) type Each<'a> = &'a mut dyn FnMut(&Insn<'_>) -> Result<(), Failure>;

/// What can go wrong between a file and its reader.
pub(super) enum WalkError {
    Object(ElfError),
    Report(Failure),
}

impl WalkError {
    pub(super) fn failure(self, object: &Path) -> Failure {
        match self {
            WalkError::Object(error) => Failure::new(format!("{} {error}", object.display())),
            WalkError::Report(failure) => failure,
        }
    }
}

impl From<ElfError> for WalkError {
    fn from(error: ElfError) -> WalkError {
        WalkError::Object(error)
    }
}

impl From<Failure> for WalkError {
    fn from(failure: Failure) -> WalkError {
        WalkError::Report(failure)
    }
}

/// Tells `each` of the instructions in `wanted`, decoding on from its start; gives back where
/// the next one would begin. What does not decode is passed over by the architecture's step.
pub(super) fn each<A: Arch>(
    text: &Text<'_>,
    wanted: Range<u64>,
    rules: Rules,
    each: Each<'_>,
) -> Result<u64, Failure> {
    let mut name = String::new();
    let mut at = wanted.start;
    while at < wanted.end {
        // A jump is for functions of objects.
        let place = Place { reject: None, no_jump: Some(Reason::UnknownFunction) };
        let used = one::<A>(text, at, rules, place, &mut name, each)?;
        at = at.saturating_add(used as u64);
    }
    Ok(at)
}

/// What is known of a place whatever instruction is there.
struct Place {
    /// Why nothing is displaced there.
    reject: Option<Reject>,
    /// Why it is not displaced by a jump.
    no_jump: Option<Reason>,
}

/// One instruction; gives back its length, or the step over what is none.
fn one<A: Arch>(
    text: &Text<'_>,
    at: u64,
    rules: Rules,
    place: Place,
    name: &mut String,
    each: Each<'_>,
) -> Result<usize, Failure> {
    let rest = text.from(Addr(at));
    let step = (A::INSN_ALIGN - at % A::INSN_ALIGN) as usize;
    let (len, verdict) = match A::length(text, Addr(at)) {
        Ok(len) => (len, A::plan(text, Addr(at), rules)),
        Err(reject) => (step, Err(reject)),
    };
    let len = len.clamp(1, rest.len().max(1));
    name.clear();
    let _ = A::disassemble(text, Addr(at), name);
    let Place { reject, no_jump } = place;
    let verdict = match (reject, verdict) {
        (Some(reject), _) | (None, Err(reject)) => Verdict::Reject(reject),
        (None, Ok(plan)) => {
            let traps = plan.strategies();
            let strategies = if no_jump.is_none() { traps.with(Strategy::Jump) } else { traps };
            Verdict::Plan { word: plan.word(), strategies, no_jump }
        }
    };
    each(&Insn { addr: at, bytes: &rest[..len.min(rest.len())], text: name, verdict })?;
    Ok(len)
}

/// How many bytes behind an instruction are always looked at where its function is unknown.
const ENOUGH: u64 = 2 << 10;

/// Plans places of one object; remembers the functions it read last.
pub(super) struct Planner<'a, A: Arch> {
    object: &'a Object,
    rules: Rules,
    code: Option<(Range<u64>, Code)>,
    /// What jumps are looked for in.
    function: Option<Function>,
    name: String,
    arch: PhantomData<A>,
}

impl<'a, A: Arch> Planner<'a, A> {
    pub(super) fn new(object: &'a Object, rules: Rules) -> Planner<'a, A> {
        Planner {
            object,
            rules,
            code: None,
            function: None,
            name: String::new(),
            arch: PhantomData,
        }
    }

    /// The instruction at `vaddr`; `reject` is what is known against the place already.
    pub(super) fn one(
        &mut self,
        vaddr: u64,
        reject: Option<Reject>,
        each: Each<'_>,
    ) -> Result<usize, WalkError> {
        // Near the ends of what was read, something else may have to be looked at.
        let held = self.code.as_ref().is_some_and(|(known, _)| known.contains(&vaddr));
        if !held {
            self.code = self.object.code_at(vaddr)?.map(|code| {
                let range = code.text().range();
                let known = match code.text().function {
                    Some((start, end)) if range.start <= start.0 && end.0 <= range.end => {
                        start.0..end.0
                    }
                    // A window: good for what has enough of it behind.
                    _ => vaddr..range.end.saturating_sub(ENOUGH).max(vaddr + 1),
                };
                (known, code)
            });
        }
        let no_jump = self.window(vaddr)?.err();
        let Some((_, code)) = &self.code else {
            let reject = reject.unwrap_or(Reason::NotCode.into());
            let verdict = Verdict::Reject(reject);
            each(&Insn { addr: vaddr, bytes: &[], text: "", verdict })?;
            return Ok(1);
        };
        let place = Place { reject, no_jump };
        Ok(one::<A>(&code.text(), vaddr, self.rules, place, &mut self.name, each)?)
    }

    /// What a jump at `vaddr` would replace, or why there is none.
    fn window(&mut self, vaddr: u64) -> Result<Result<Window, Reason>, ElfError> {
        let range = self.object.function_at(vaddr)?.map(|f| (Addr(f.start), Addr(f.end)));
        if self.function.as_ref().map(Function::range) != range {
            self.function = self.object.function::<A>(vaddr)?;
        }
        let Some(function) = &self.function else { return Ok(Err(Reason::UnknownFunction)) };
        let window = function.window::<A>(Addr(vaddr), self.rules, self.object, 0);
        Ok(window.or_else(|why| {
            function.window_alone::<A>(Addr(vaddr), self.rules, self.object, 0).map_err(|_| why)
        }))
    }

    /// The instructions of `wanted`, which lies in one stretch of code.
    pub(super) fn range(
        &mut self,
        wanted: Range<u64>,
        fixed: &[Fixed],
        each: Each<'_>,
    ) -> Result<(), WalkError> {
        let mut at = wanted.start;
        let mut data = self.object.data_from(at)?;
        while at < wanted.end {
            if let Some(here) = data.take_if(|data| data.start <= at) {
                self.data(at..here.end.min(wanted.end), each)?;
                at = here.end;
                data = self.object.data_from(at)?;
                continue;
            }
            let hit = fixed.iter().find(|f| f.range.contains(&at));
            let reject = hit.map(|f| Reject { reason: f.reason, nearest: Some(Addr(f.range.end)) });
            at += self.one(at, reject, each)? as u64;
            if data.as_ref().is_some_and(|data| data.start < at) {
                data = self.object.data_from(at)?;
            }
        }
        Ok(())
    }

    /// What is known to be data, a few bytes at a time.
    fn data(&mut self, range: Range<u64>, each: Each<'_>) -> Result<(), WalkError> {
        const LINE: u64 = 8;
        let mut at = range.start;
        while at < range.end {
            let mut bytes = vec![0; LINE.min(range.end - at) as usize];
            self.object.read_code(at, &mut bytes)?;
            self.name.clear();
            for (n, byte) in bytes.iter().enumerate() {
                let before = if n == 0 { ".byte " } else { ", " };
                let _ = write!(self.name, "{before}{byte:#04x}");
            }
            let verdict = Verdict::Reject(Reason::Data.into());
            each(&Insn { addr: at, bytes: &bytes, text: &self.name, verdict })?;
            at += bytes.len() as u64;
        }
        Ok(())
    }
}
