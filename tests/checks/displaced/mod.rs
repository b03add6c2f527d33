//! What is computed for an instruction and what its relocated code does are the same: the code
//! is decoded again at its own place and followed until it leaves. Neither side runs, so this
//! holds for both architectures on any host; that both are right is the executor's business.
//!
//! | room | holds |
//! |---|---|
//! | `arm64`, `x86_64` | the few instructions that relocated code has besides branches |

mod arm64;
mod x86_64;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use xol_arch::{Addr, Arch, Code, Fault, Machine, Memory, Plan, Regs, Rules, Text};

/// What following relocated code takes, besides the plans.
pub trait Follow: Arch {
    /// Registers made of random numbers.
    fn registers(random: &mut dyn FnMut() -> u64) -> Self::Regs;

    /// Executes the instruction `code` begins with, if it is one of the few that relocated code
    /// has and that are not simulated; gives back its length.
    ///
    /// # Errors
    /// Its fault.
    fn step(code: &[u8], thread: &mut Thread<Self>) -> Result<Option<usize>, Fault>;

    /// Takes out of what was followed what its documentation says is left different.
    fn excuse(effect: Self::Effect, before: &Self::Regs, followed: &mut Thread<Self>);
}

/// A thread in a memory that is everywhere: made up, but the same each time it is read.
#[derive(Clone, Debug, PartialEq)]
pub struct Thread<A: Arch> {
    regs: A::Regs,
    vectors: BTreeMap<u8, u128>,
    written: BTreeMap<u64, u8>,
    seed: u64,
    code: (Addr, Vec<u8>),
}

impl<A: Arch> Memory for Thread<A> {
    fn read(&mut self, at: Addr, to: &mut [u8]) -> Result<(), Fault> {
        for (i, byte) in to.iter_mut().enumerate() {
            let at = at.add(i as u64);
            let code = usize::try_from(at.0.wrapping_sub(self.code.0.0)).ok();
            let code = code.and_then(|offset| self.code.1.get(offset));
            let made_up = || {
                let mut hasher = DefaultHasher::new();
                (self.seed, at.0).hash(&mut hasher);
                hasher.finish() as u8
            };
            *byte = self.written.get(&at.0).or(code).copied().unwrap_or_else(made_up);
        }
        Ok(())
    }

    fn write(&mut self, at: Addr, from: &[u8]) -> Result<(), Fault> {
        self.written.extend((0..).map(|i| at.add(i).0).zip(from.iter().copied()));
        Ok(())
    }
}

impl<A: Arch> Machine<A> for Thread<A> {
    fn regs(&mut self) -> &mut A::Regs {
        &mut self.regs
    }

    fn set_vector(&mut self, n: u8, value: u128) -> Result<(), Fault> {
        self.vectors.insert(n, value);
        Ok(())
    }
}

/// The instruction behind the first sixteen bytes of `input`, which say where and with what. Whether
/// it is simulated and relocated.
///
/// # Panics
/// Where the two differ.
pub fn check<A: Follow>(input: &[u8]) -> bool {
    let Some((seed, bytes)) = input.split_first_chunk::<8>() else { return false };
    let Some((places, bytes)) = bytes.split_first_chunk::<8>() else { return false };
    let (seed, places) = (u64::from_le_bytes(*seed), u64::from_le_bytes(*places));
    let at = Addr(places >> 17).align_down(A::INSN_ALIGN);
    let distance = [1 << 16, -(1 << 20), 1 << 26, 1 << 30, -(1 << 37)][places as usize % 5];
    let to = at.offset(distance + (places >> 3 & 0xff) as i64).align_down(A::INSN_ALIGN);
    let text = Text { guarded: places & 8 != 0, ..Text::new(at, bytes) };
    let Ok(plan) = A::plan(&text, at, Rules::default()) else { return false };
    let Some(effect) = plan.effect else { return false };
    let mut code = Code::new();
    if A::relocate(&text, at, &plan, to, &mut code).is_err() {
        return false;
    }
    let mut state = seed;
    let regs = A::registers(&mut || {
        // SplitMix64
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    });
    let (vectors, written) = (BTreeMap::new(), BTreeMap::new());
    let mut thread: Thread<A> = Thread { regs, vectors, written, seed, code: (to, code.to_vec()) };
    thread.regs.set_pc(at);
    let mut followed = thread.clone();
    let wanted = A::simulate(effect, at, &mut thread);
    // What goes into the relocated code itself is not told from what goes on in it.
    if wanted.is_ok() && offset(&thread.code, thread.regs.pc()).is_some() {
        return false;
    }
    followed.regs.set_pc(to);
    let got = follow(&mut followed);
    let shown = || format!("{bytes:02x?} at {at}, {effect:x?}, {code:02x?} at {to}");
    assert_eq!(wanted.is_ok(), got.is_ok(), "{}", shown());
    if wanted.is_ok() {
        A::excuse(effect, &regs, &mut followed);
        assert_eq!(thread, followed, "{}", shown());
    }
    true
}

/// Where in the code an address is.
fn offset(code: &(Addr, Vec<u8>), at: Addr) -> Option<usize> {
    let offset = usize::try_from(at.0.wrapping_sub(code.0.0)).ok()?;
    (offset < code.1.len()).then_some(offset)
}

/// Goes on until the code is left.
fn follow<A: Follow>(thread: &mut Thread<A>) -> Result<(), Fault> {
    let code = thread.code.clone();
    let text = Text::new(code.0, &code.1);
    for _ in 0..32 {
        let at = thread.regs.pc();
        let Some(offset) = offset(&code, at) else { return Ok(()) };
        if let Some(len) = A::step(&code.1[offset..], thread)? {
            thread.regs.set_pc(at.add(len as u64));
            continue;
        }
        match A::plan(&text, at, Rules::default()) {
            Ok(Plan { effect: Some(effect), .. }) => A::simulate(effect, at, thread)?,
            other => panic!("{other:?} in {:02x?}", code.1),
        }
    }
    panic!("{:02x?} does not end", code.1);
}
