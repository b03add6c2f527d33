//! What may differ without being wrong. Each with its reason; nothing else is looked away from.

use iced_x86::{Mnemonic, OpKind, Register};
use xol_arch::Addr;

use super::{Hardware, LAYOUTS, instructions};
use crate::cpu::{Case, End, Outcome, WINDOW, Way};
use xol_arch::Strategy;

/// Sent by the kernel: no address is known (a general-protection fault).
const SI_KERNEL: i32 = 0x80;

pub(super) fn excuse(
    case: &Case<Hardware>,
    way: Way,
    wanted: &mut Outcome<Hardware>,
    got: &mut Outcome<Hardware>,
) {
    let Some((insn, _)) = instructions::decode(&case.bytes, case.layout.site) else { return };
    let before = &case.state.regs;
    let indirect_call =
        insn.mnemonic() == Mnemonic::Call && insn.op0_kind() != OpKind::NearBranch64;
    match way {
        Way::Near(Strategy::Simulate) => {
            if indirect_call {
                pushed(case, insn.len() as u64, wanted);
            }
            simulated(case, wanted, got);
        }
        // The relocated CALL through memory, or of RSP, holds the target below the return address for a moment; a
        // fault there, or of a target that is not canonical, comes after the push.
        Way::Orphan | Way::Near(Strategy::Jump) if indirect_call => {
            let below = Addr(before.rsp.wrapping_sub(16));
            let kept = insn.op0_kind() == OpKind::Memory || insn.op0_register() == Register::RSP;
            if kept {
                forget(case, below, 8, wanted);
                forget(case, below, 8, got);
            }
            let End::Signal { number, .. } = got.end else { return };
            let same = matches!(wanted.end, End::Signal { number: n, .. } if n == number);
            let room = case.layout.windows.iter().any(|start| {
                let offset = below.0.wrapping_sub(start.0);
                offset <= WINDOW as u64 - 8
            });
            if same && wanted.pc() == case.layout.site || !room {
                *got = wanted.clone();
            }
        }
        _ => {}
    }
}

/// A computed fault knows the address and nothing else of a signal.
fn simulated(case: &Case<Hardware>, wanted: &Outcome<Hardware>, got: &mut Outcome<Hardware>) {
    let site = case.layout.site;
    // Once in some ten million cases a sum cut to 32 bits is in the pages of the other layout:
    // the processor finds something there that is no part of the case.
    if let End::Signal { code: 0, address, .. } = got.end
        && got.pc() == site
        && elsewhere(case, address)
    {
        *got = wanted.clone();
        return;
    }
    let (End::Signal { number, code, address }, End::Signal { code: fake, address: computed, .. }) =
        (wanted.end, got.end)
    else {
        return;
    };
    let segmentation = [libc::SIGSEGV, libc::SIGBUS].contains(&number) && wanted.pc() == site;
    if got.pc() == site && fake == 0 {
        // An address that is not canonical is no page fault: the signal has no address (SIGBUS
        // where the stack segment was used). Where a CALL cannot push and its target is not
        // canonical, AMD reports the one and Intel the other. With FS or GS, an offset that is
        // not canonical faults in the same way though the sum is in the kernel's half.
        let unknown = !canonical(computed) || !canonical(computed.add(7)) || computed.0 >> 63 != 0;
        if segmentation && (unknown || (number, address) == (libc::SIGSEGV, computed)) {
            got.end = wanted.end;
        }
    } else if segmentation && code == SI_KERNEL && !canonical(got.pc()) {
        // A target with more than 48 bits is taken: processors with five levels of pages do.
        *got = wanted.clone();
    }
}

/// A CALL whose target is not canonical faults with all registers as they were. Intel has written
/// the return address below RSP by then, AMD has not: where exactly that was written, what stood
/// there is put back, so that the simulation must have left it alone.
fn pushed(case: &Case<Hardware>, len: u64, wanted: &mut Outcome<Hardware>) {
    let site = case.layout.site;
    let general_protection =
        matches!(wanted.end, End::Signal { number: libc::SIGSEGV, code: SI_KERNEL, .. });
    if !general_protection || wanted.state.regs != case.state.regs {
        return;
    }
    let top = Addr(case.state.regs.rsp.wrapping_sub(8));
    let windows = case.layout.windows;
    for (i, (window, start)) in wanted.state.memory.iter_mut().zip(windows).enumerate() {
        let offset = top.0.wrapping_sub(start.0) as usize;
        if offset <= WINDOW - 8 && window[offset..offset + 8] == site.add(len).0.to_le_bytes() {
            window[offset..offset + 8].copy_from_slice(&case.state.memory[i][offset..offset + 8]);
        }
    }
}

/// Whether eight bytes at `at` touch a page that is mapped for the other layout.
fn elsewhere(case: &Case<Hardware>, at: Addr) -> bool {
    let others = LAYOUTS.iter().filter(|layout| **layout != case.layout);
    let pages = others.flat_map(|layout| layout.windows.into_iter().chain(layout.code_pages()));
    let touched = [at, at.add(7)].map(|byte| byte.align_down(4096));
    pages.into_iter().any(|page| touched.contains(&page))
}

/// With 48 bits, as on every processor whose kernel has four levels of pages.
fn canonical(at: Addr) -> bool {
    ((at.0 << 16) as i64 >> 16) as u64 == at.0
}

/// Makes bytes of the windows zero.
fn forget(case: &Case<Hardware>, at: Addr, len: u64, outcome: &mut Outcome<Hardware>) {
    for (window, start) in outcome.state.memory.iter_mut().zip(case.layout.windows) {
        for i in 0..len {
            let offset = at.add(i).0.wrapping_sub(start.0) as usize;
            if offset < WINDOW {
                window[offset] = 0;
            }
        }
    }
}
