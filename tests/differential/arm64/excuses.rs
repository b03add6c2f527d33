//! What may differ without being wrong. Each with its reason; nothing else is looked away from.

use xol_arch::arm64::{Btype, Effect, Test};
use xol_arch::{Addr, Strategy};

use super::{Hardware, instructions};
use crate::cpu::{Case, End, Outcome, Way};

pub(super) fn excuse(
    case: &Case<Hardware>,
    way: Way,
    wanted: &mut Outcome<Hardware>,
    got: &mut Outcome<Hardware>,
) {
    let Some(plan) = instructions::plan(&case.bytes, &case.layout) else { return };
    let word = case.bytes.first_chunk().map_or(0, |&bytes| u32::from_le_bytes(bytes));
    let site = case.layout.site;
    // Whoever is sent to a slot did not branch there: where the instruction faults, its signal
    // frame no longer says how control came to it.
    if wanted.pc() == site && got.pc() == site {
        wanted.state.regs.set_btype(Btype::None);
        got.state.regs.set_btype(Btype::None);
    }
    match way {
        Way::Near(Strategy::Simulate) => {
            // A literal in the page of the recorder's notes, which is in reach: the processor
            // finds something there that is no part of the case.
            if let End::Signal { code: 0, address, .. } = got.end
                && got.pc() == site
                && [address, address.add(15)]
                    .map(|byte| byte.align_down(4096))
                    .contains(&case.layout.notes)
            {
                *got = wanted.clone();
            }
            fault(site, wanted, got);
        }
        // qemu 7.2 says that DC ZVA, GVA and GZVA fault where the code begins that it translated
        // together with them.
        //    DC ZVA, GVA, GZVA   1101 0101  0000 1011  0111 0100  zzzt tttt    z: 1, 3, 4
        Way::Near(Strategy::Jump)
            if matches!(word & !0x1f, 0xd50b_7420 | 0xd50b_7460 | 0xd50b_7480)
                && same_signal(wanted, got) =>
        {
            *got = wanted.clone();
        }
        // A call made by BR says BR.
        Way::Orphan | Way::Near(Strategy::Jump)
            if is_call(word) && wanted.state.regs.btype() == Btype::Call as u8 =>
        {
            if got.state.regs.btype() == Btype::Jump as u8 {
                got.state.regs.set_btype(Btype::Call);
            }
        }
        _ => {}
    }
    // An instruction that this processor does not have is computed all the same.
    let new = match plan.effect {
        Some(Effect::BranchIf { test: Test::Compare { .. }, .. }) => true,
        Some(Effect::BranchIf { test: Test::Flags(_), .. }) => word & 0x10 != 0,
        _ => false,
    };
    let unknown = matches!(wanted.end, End::Signal { number: libc::SIGILL, .. });
    if new && unknown && wanted.pc() == site && matches!(way, Way::Near(Strategy::Simulate)) {
        *got = wanted.clone();
    }
}

fn same_signal(wanted: &Outcome<Hardware>, got: &Outcome<Hardware>) -> bool {
    wanted.end == got.end && matches!(wanted.end, End::Signal { .. })
}

/// BLR and its signed forms.
fn is_call(word: u32) -> bool {
    word & 0xfeff_f000 == 0xd63f_0000
}

/// A computed fault knows the first byte that could not be read; a processor may name any byte
/// of the access.
fn fault(site: Addr, wanted: &Outcome<Hardware>, got: &mut Outcome<Hardware>) {
    let (End::Signal { number, address, .. }, End::Signal { code: 0, address: computed, .. }) =
        (wanted.end, got.end)
    else {
        return;
    };
    let near = (-15..=15).contains(&address.distance_from(computed));
    if number == libc::SIGSEGV && near && wanted.pc() == site && got.pc() == site {
        got.end = wanted.end;
    }
}
