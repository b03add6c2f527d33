//! What a jump replaces: five bytes, and every instruction that begins in them.

use iced_x86::{FlowControl, Instruction, Mnemonic, OpKind};

use super::X86_64;
use super::decode::{decode, decoder, next};
use crate::jump::{Covered, Window};
use crate::{Addr, Arch, Code, Reason, Reject, Rules, Text};

/// `E9 <rel32>`.
const LEN: u8 = 5;

/// Where the direct branches of the function go to inside it.
pub(super) fn targets(text: &Text<'_>, found: &mut dyn FnMut(Addr)) {
    let Some((start, end)) = text.function else { return };
    let bytes = text.from(start);
    let len = usize::try_from(end.0.saturating_sub(start.0)).unwrap_or(0).min(bytes.len());
    let Some(bytes) = bytes.get(..len) else { return };
    let Ok(mut decoder) = decoder(bytes, start) else { return };
    while let Some(rest) = bytes.get(decoder.position()..).filter(|rest| !rest.is_empty()) {
        let (position, at) = (decoder.position(), decoder.ip());
        match next(&mut decoder, rest) {
            Ok(decoded) => {
                let near = decoded.insn.op0_kind() == OpKind::NearBranch64;
                let target = decoded.insn.near_branch64();
                if near && (start.0..end.0).contains(&target) {
                    found(Addr(target));
                }
            }
            Err(_) => {
                // One behind a byte that is there.
                let _ = decoder.set_position(position + 1);
                decoder.set_ip(at + 1);
            }
        }
    }
}

/// Decides what a jump at `at` replaces.
pub(super) fn window(
    text: &Text<'_>,
    at: Addr,
    rules: Rules,
    targets: &[Addr],
) -> Result<Window, Reject> {
    X86_64::plan(text, at, rules)?;
    let (start, end) = text.function.ok_or(Reason::UnknownFunction)?;
    if at < start || at >= end {
        return Err(Reason::UnknownFunction.into());
    }
    let mut window = Window::new(at, LEN);
    let room = u8::try_from(end.distance_from(at)).unwrap_or(u8::MAX);
    walk(text, &mut window, 0, room, rules)?;
    let inside = targets.iter().filter_map(|target| {
        let offset = target.distance_from(at);
        (1..i64::from(LEN)).contains(&offset).then_some(offset as u8)
    });
    for offset in inside {
        if offset >= room {
            return Err(Reason::WindowEnd.into());
        }
        window.entered |= 1 << offset;
        walk(text, &mut window, offset, room, rules)?;
    }
    Ok(window)
}

/// Adds the instructions from `offset` on, one behind the other, to the end of the jump. `room` is
/// how far the function goes; behind it nothing may be replaced but padding that nothing falls
/// into.
fn walk(
    text: &Text<'_>,
    window: &mut Window,
    mut offset: u8,
    room: u8,
    rules: Rules,
) -> Result<(), Reject> {
    let mut falls = true;
    while offset < LEN && offset < room && !window.has(offset) {
        let at = window.at.add(offset.into());
        let inside = |_| Reason::WindowInstruction;
        let plan = X86_64::plan(text, at, rules).map_err(inside)?;
        let insn = decode(text, at)?.insn;
        // Near enough it can be; at worst the trampoline is refused.
        X86_64::relocate(text, at, &plan, at, &mut Code::new()).map_err(inside)?;
        window.add(Covered { offset, len: plan.len });
        offset += plan.len;
        falls = goes_on(&insn);
        if matches!(insn.flow_control(), FlowControl::Call | FlowControl::IndirectCall)
            && insn.mnemonic() == Mnemonic::Call
        {
            window.calls = true;
            if offset < LEN {
                window.entered |= 1 << offset;
            }
        }
    }
    if offset >= LEN || window.has(offset) {
        return Ok(());
    }
    if falls || !padding(text, window.at.add(offset.into()), LEN - offset) {
        return Err(Reason::WindowEnd.into());
    }
    Ok(())
}

/// Whether control can come to what is behind `insn`.
fn goes_on(insn: &Instruction) -> bool {
    !matches!(
        insn.flow_control(),
        FlowControl::UnconditionalBranch | FlowControl::IndirectBranch | FlowControl::Return
    )
}

/// Whether `len` bytes from `at` on are NOP or INT3, the last of which may reach further.
fn padding(text: &Text<'_>, at: Addr, len: u8) -> bool {
    let mut offset = 0;
    while offset < len {
        let Ok(decoded) = decode(text, at.add(offset.into())) else { return false };
        if !matches!(decoded.insn.mnemonic(), Mnemonic::Nop | Mnemonic::Int3) {
            return false;
        }
        offset += decoded.bytes.len() as u8;
    }
    true
}
