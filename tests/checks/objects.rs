//! Any file is an object or none, without a panic and without more memory than it has bytes.

use xol::spec::{Spec, resolve};
use xol::symbols::{ElfError, Machine, Object};
use xol_arch::Rules;
use xol_arch::arm64::Arm64;
use xol_arch::x86_64::X86_64;

/// `input` as a file; whether it is an object that is not damaged.
///
/// # Panics
/// Where reading it does.
pub fn check(input: &[u8]) -> bool {
    Object::from_bytes(input.to_vec()).is_ok_and(|object| everything(&object).is_ok())
}

fn everything(object: &Object) -> Result<(), ElfError> {
    let _ = (object.is_fixed(), object.is_static(), object.is_stripped(), object.entry());
    let _ = (object.interp(), object.soname(), object.build_id(), object.guarded());
    let _ = object.relocs(&mut |_| {});
    let _ = object.got_slots("malloc");
    let symbols = object.symbols()?;
    for (id, symbol) in symbols.iter() {
        assert!(!symbols.is_empty() && symbols.get(id).addr == symbol.addr);
    }
    let mut behind = 0;
    for range in object.code_ranges()? {
        assert!(range.start < range.end && behind <= range.start, "sorted, without overlap");
        behind = range.end;
    }
    let _ = object.fixed();
    let starts = object.code_ranges()?.iter().map(|range| range.start);
    for vaddr in starts.chain([object.entry(), 0, u64::MAX]).take(16) {
        let _ = (object.place_reject(vaddr), object.boundary_reject(vaddr));
        let rules = Rules::default();
        let _ = match object.machine() {
            Machine::Arm64 => object.plan_at::<Arm64>(vaddr, rules)?.err(),
            Machine::X86_64 => object.plan_at::<X86_64>(vaddr, rules)?.err(),
        };
    }
    for text in ["main", "m*+0x4", "0x1139"] {
        let _ =
            Spec::parse(text).map(|spec| resolve(&spec, object).map(|found| found.places.len()));
    }
    Ok(())
}
