//! What a jump replaces: five bytes, and every instruction that begins in them.

mod alone;

use iced_x86::{FlowControl, Instruction, Mnemonic, OpKind};

use super::X86_64;
use super::decode::{decode, decoder, next};
use crate::jump::{Covered, Last, Side, Window};
use crate::{Addr, Arch, Code, Reason, Reject, Rules, Text};

pub(super) use alone::window_alone;

/// `E9 <rel32>`
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
    side: Side,
) -> Result<Window, Reject> {
    X86_64::plan(text, at, rules)?;
    let (start, end) = text.function.ok_or(Reason::UnknownFunction)?;
    if at < start || at >= end {
        return Err(Reason::UnknownFunction.into());
    }
    let room = u8::try_from(end.distance_from(at)).unwrap_or(u8::MAX);
    let covering = |lead, last| covering(text, at, rules, targets, room, lead, last);
    let window = covering(0, Last::Trap)?;
    if side == Side::Below || traps_at_last(text, &window) {
        return Ok(window);
    }
    const WAYS: [Last; 3] = [Last::Prefix, Last::Push8, Last::Push32];
    [0, 1]
        .iter()
        .flat_map(|&lead| WAYS.map(|last| (lead, last)))
        .find_map(|(lead, last)| {
            covering(lead, last).ok().filter(|window| traps_at_last(text, window))
        })
        .ok_or(Reason::NoLandingPlace.into())
}

/// Whether, above, an instruction traps as it must that begins at the jump's last byte; and none begins
/// at its first one but for the lead.
fn traps_at_last(text: &Text<'_>, window: &Window) -> bool {
    let last = window.lead + LEN - 1;
    let traps = match (window.last, window.shadow()) {
        (Last::Trap, _) => !window.has(last),
        (_, shadow) => shadow.is_some_and(|shadow| !window.has(shadow.offset)),
    };
    // 0101 0rrr  push r64
    let push = matches!(text.from(window.at.add(last.into())), [0x50..=0x57, ..]);
    traps && (push || !window.last.pushes()) && (window.lead == 0 || !window.has(window.lead))
}

/// What is replaced where the jump's last byte traps as `last` says, so many bytes behind the first.
/// `room` is how far the function goes.
fn covering(
    text: &Text<'_>,
    at: Addr,
    rules: Rules,
    targets: &[Addr],
    room: u8,
    lead: u8,
    last: Last,
) -> Result<Window, Reject> {
    let mut window = Window::new(at, lead + last.span());
    (window.lead, window.last) = (lead, last);
    walk(text, &mut window, 0, room, rules, targets)?;
    let inside = targets.iter().filter_map(|target| {
        let offset = target.distance_from(at);
        (1..i64::from(lead + last.span())).contains(&offset).then_some(offset as u8)
    });
    for offset in inside {
        if offset >= room {
            return Err(Reason::WindowEnd.into());
        }
        window.entered |= 1 << offset;
        walk(text, &mut window, offset, room, rules, targets)?;
    }
    Ok(window)
}

/// Adds the instructions from `offset` on, one behind the other, to the end of the window. `room` is
/// how far the function goes. Behind it, and behind what control does not come out of, nothing may be
/// replaced but padding that nothing falls into: what no known way leads to may be data.
fn walk(
    text: &Text<'_>,
    window: &mut Window,
    mut offset: u8,
    room: u8,
    rules: Rules,
    targets: &[Addr],
) -> Result<(), Reject> {
    let len = window.len;
    let mut falls = true;
    while falls && offset < len && offset < room && !window.has(offset) {
        let at = window.at.add(offset.into());
        let inside = |_| Reason::WindowInstruction;
        let plan = X86_64::plan(text, at, rules).map_err(inside)?;
        let insn = decode(text, at)?.insn;
        if insn.flow_control() == FlowControl::IndirectCall && insn.op0_kind() == OpKind::Memory {
            return Err(Reason::IndirectCall.into());
        }
        // Near enough it can be; at worst the trampoline is refused.
        X86_64::relocate(text, at, &plan, at, &mut Code::new()).map_err(inside)?;
        window.add(Covered { offset, len: plan.len });
        offset += plan.len;
        falls = goes_on(&insn);
        if matches!(insn.flow_control(), FlowControl::Call | FlowControl::IndirectCall)
            && insn.mnemonic() == Mnemonic::Call
        {
            window.calls = true;
            if offset < len {
                window.entered |= 1 << offset;
            }
        }
    }
    if offset >= len || window.has(offset) {
        return Ok(());
    }
    // Where a branch goes to, code begins again.
    let next = targets.iter().map(|target| target.distance_from(window.at));
    let next = next.filter(|next| (i64::from(offset)..i64::from(len)).contains(next)).min();
    let until = next.map_or(len, |next| next as u8);
    if falls || !padding(text, window.at.add(offset.into()), until - offset) {
        return Err(Reason::WindowEnd.into());
    }
    Ok(())
}

/// Whether control can come to what is behind `insn`.
fn goes_on(insn: &Instruction) -> bool {
    !matches!(
        insn.flow_control(),
        FlowControl::UnconditionalBranch
            | FlowControl::IndirectBranch
            | FlowControl::Return
            | FlowControl::Exception
    ) && insn.mnemonic() != Mnemonic::Hlt
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jump::{Features, Filter, Order, Place, Record, Recorder, build};
    use std::vec::Vec;

    const AT: Addr = Addr(0x5555_0000_1000);

    /// The window at the beginning of a function of `len` of these bytes.
    fn of(code: &[u8], len: usize, targets: &[u64]) -> Result<Window, Reason> {
        on(Side::Below, code, len, targets)
    }

    fn on(side: Side, code: &[u8], len: usize, targets: &[u64]) -> Result<Window, Reason> {
        let function = Some((AT, AT.add(len as u64)));
        let text = Text { function, ..Text::new(AT, code) };
        let targets: Vec<Addr> = targets.iter().map(|&by| AT.add(by)).collect();
        X86_64::window(&text, AT, Rules::default(), &targets, side).map_err(|reject| reject.reason)
    }

    fn offsets(window: &Window) -> Vec<(u8, u8)> {
        window.covered().iter().map(|insn| (insn.offset, insn.len)).collect()
    }

    /// push rbp; mov rbp, rsp; sub rsp, 0x18; ret
    const ENTRY: &[u8] = &[0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x18, 0xc3];

    #[test]
    fn every_boundary_traps() {
        let window = of(ENTRY, 9, &[]).unwrap();
        assert_eq!(offsets(&window), [(0, 1), (1, 3), (4, 4)]);
        assert_eq!((window.span, window.traps, window.entered), (8, 0b1_0010, 0));
        assert!(window.overwrites(AT.add(4)) && !window.overwrites(AT.add(5)));
    }

    /// Above, the jump's last byte is no INT3: what it is depends on the instruction there.
    #[test]
    fn the_last_byte_traps_with_what_follows() {
        let last = |code: &[u8], len: usize, targets: &[u64]| {
            let window = on(Side::Above, code, len, targets)?;
            let below = of(code, len, targets)?;
            assert_eq!((below.last, below.len), (Last::Trap, 5));
            assert_eq!(window.len, window.lead + window.last.span());
            let shadow = window.shadow().map(|s| (s.offset, s.of, s.pushed));
            Ok((window.lead, window.last, shadow))
        };
        // push rbp; mov rbp, rsp; sub rsp, 0x18
        assert_eq!(last(ENTRY, 9, &[]), Ok((0, Last::Prefix, Some((5, 4, 0)))));
        // lea rax, [rdi+1]; sub rsp, 8; a branch goes to its second byte: one byte later.
        let branched = [0x48, 0x8d, 0x47, 1, 0x48, 0x83, 0xec, 8, 0xc3];
        assert_eq!(last(&branched, 9, &[5]), Ok((1, Last::Prefix, Some((6, 5, 0)))));
        assert_eq!(last(&branched, 9, &[1, 5]), Err(Reason::NoLandingPlace));
        assert_eq!(last(&[0x41, 0x57, 0x48, 0x89, 0xfd, 0xc3], 6, &[]), Ok((0, Last::Trap, None)));
        // push rbp; mov rbp, rdi; push rbx; sub rsp, 8; ret
        let push = [0x55, 0x48, 0x89, 0xfd, 0x53, 0x48, 0x83, 0xec, 8, 0xc3];
        assert_eq!(last(&push, 10, &[]), Ok((0, Last::Push8, Some((6, 4, 8)))));
        // The same; a branch goes to byte 6 (which is and ebx, esp), so does the INT3 there.
        assert_eq!(last(&push, 10, &[6]), Err(Reason::NoLandingPlace));
        // push r13; push r12; push rbp; push rbx; sub rsp, 8; ret
        let pushes = [0x41, 0x55, 0x41, 0x54, 0x55, 0x53, 0x48, 0x83, 0xec, 8, 0xc3];
        assert_eq!(last(&pushes, 11, &[]), Ok((0, Last::Push32, Some((9, 4, 8)))));
        let window = on(Side::Above, &pushes, 11, &[]).unwrap();
        assert_eq!(offsets(&window), [(0, 2), (2, 2), (4, 1), (5, 1), (6, 4)]);
        assert_eq!((window.traps, window.span), (0b111_0100, 10));
        assert!(window.overwrites(AT.add(9)) && !window.overwrites(AT.add(10)));
        // With mov rbx, rdi instead one begins at byte 9 too, but none at byte 7.
        let later =
            [0x41, 0x55, 0x41, 0x54, 0x55, 0x53, 0x48, 0x89, 0xfb, 0x48, 0x83, 0xec, 8, 0xc3];
        assert_eq!(last(&later, 14, &[]), Ok((1, Last::Push8, Some((7, 5, 8)))));
        let window = on(Side::Above, &later, 14, &[]).unwrap();
        assert_eq!(
            (window.traps, window.len, window.reach().constraints()),
            (0b111_0100, 8, 0b1101)
        );
        let mut code = Code::new();
        let to = window.reach().next(AT, AT.add(1 << 31)).unwrap();
        window.write::<X86_64>(to, &mut code).unwrap();
        assert_eq!(code[..], [0x2e, 0xe9, 0xcc, code[3], 0xcc, 0x6a, 0xcc, 0xcc]);
        // pop rbx; pop rbp; nop: they begin everywhere.
        let all = [0x41, 0x55, 0x41, 0x54, 0x55, 0x53, 0x5b, 0x5d, 0x90, 0x5d, 0xc3];
        assert_eq!(last(&all, 11, &[]), Err(Reason::NoLandingPlace));
        // pop rbx is no push.
        let pop = [0x55, 0x48, 0x89, 0xfd, 0x5b, 0x48, 0x83, 0xec, 8, 0xc3];
        assert_eq!(last(&pop, 10, &[]), Err(Reason::NoLandingPlace));
        // mov rax, [rdi+0x10]; ret; nop: nothing falls into the padding.
        let getter = [0x48, 0x8b, 0x47, 0x10, 0xc3, 0x90, 0x90];
        assert_eq!(last(&getter, 5, &[]), Ok((0, Last::Prefix, Some((5, 4, 0)))));
        assert_eq!(last(&getter[..6], 5, &[]), Ok((0, Last::Prefix, Some((5, 4, 0)))));
        assert_eq!(last(&getter[..5], 5, &[]), Err(Reason::NoLandingPlace));
        // A push at the end of what may be replaced.
        assert_eq!(
            last(&[0x55, 0x48, 0x89, 0xfd, 0x53, 0xc3, 0xff], 6, &[]),
            Err(Reason::NoLandingPlace)
        );
    }

    /// Where an instruction begins at the jump's last byte, there is a second window for it: elsewhere.
    #[test]
    fn what_lands_below_may_land_above() {
        let below = of(ENTRY, 9, &[]).unwrap();
        let above = on(Side::Above, ENTRY, 9, &[]).unwrap();
        assert!(below.lands_below() && !above.lands_below());
        let band = |window: &Window| window.reach().next(Addr(0), Addr(u64::MAX)).unwrap();
        assert!(band(&below) < AT && band(&above) > AT.add(0x2600_0000));
        // push r15; mov rbp, rdi: none begins there.
        let free = of(&[0x41, 0x57, 0x48, 0x89, 0xfd, 0xc3], 6, &[]).unwrap();
        assert!(!free.lands_below());
    }

    #[test]
    fn a_long_instruction_needs_no_trap() {
        let window = of(&[0xe8, 1, 2, 3, 4, 0xc3], 6, &[]).unwrap();
        assert_eq!((offsets(&window), window.traps, window.calls), ([(0, 5)].into(), 0, true));
        assert_eq!(window.entered, 0, "it returns to what is behind the jump");
        // call [rax]; lea
        let code = [0xff, 0x10, 0x48, 0x8d, 0x47, 0x01, 0xc3];
        assert_eq!(of(&code, 7, &[]), Err(Reason::IndirectCall));
        // call rax; lea: the call comes back into the window.
        let window = of(&[0xff, 0xd0, 0x48, 0x8d, 0x47, 0x01, 0xc3], 7, &[]).unwrap();
        assert_eq!((window.calls, window.entered), (true, 0b100));
    }

    #[test]
    fn padding_may_be_replaced_and_the_next_function_may_not() {
        // ret; nopl 0x0(%rax,%rax,1)
        let padded = [0xc3, 0x0f, 0x1f, 0x44, 0x00, 0x00];
        assert_eq!(of(&padded, 1, &[]).map(|window| window.traps), Ok(0));
        assert_eq!(of(&[0xc3, 0xcc, 0xcc, 0xcc, 0xcc, 0x55], 1, &[]).map(|w| w.span), Ok(1));
        assert_eq!(of(&[0xc3, 0x55, 0x48, 0x89, 0xe5, 0xc3], 1, &[]), Err(Reason::WindowEnd));
        // What falls into the padding would be sent there.
        assert_eq!(of(&[0x55, 0x90, 0x90, 0x90, 0x90, 0x90], 1, &[]), Err(Reason::WindowEnd));
        // No more bytes are known.
        assert_eq!(of(&[0xc3, 0x90], 1, &[]), Err(Reason::WindowEnd));
    }

    #[test]
    fn what_no_way_leads_to_is_not_replaced() {
        // jmp .+8; .asciz "PAS"; nop; nop; ret. The same behind RET and an indirect jump.
        for behind in [[0xeb, 6], [0xf3, 0xc3], [0xff, 0xe0]] {
            let code = [behind[0], behind[1], b'P', b'A', b'S', 0, 0x90, 0x90, 0xc3];
            assert_eq!(of(&code, 9, &[8]), Err(Reason::WindowEnd), "{behind:x?}");
            // Where a branch goes to, it is code.
            assert_eq!(of(&code, 9, &[2]).map(|window| window.entered), Ok(0b100));
        }
        // ret; nop; nop; and what a branch goes to: pop rbp; ret
        let padded = [0xc3, 0x90, 0x90, 0x5d, 0xc3, 0x90];
        assert_eq!(of(&padded, 6, &[3]).map(|window| window.traps), Ok(0b1_1000));
        assert_eq!(of(&padded, 6, &[]), Err(Reason::WindowEnd));
    }

    #[test]
    fn what_cannot_be_displaced_cannot_be_covered() {
        // nop; cpuid; int3
        assert_eq!(
            of(&[0x90, 0x0f, 0xa2, 0xcc, 0x90, 0x90], 6, &[]),
            Err(Reason::WindowInstruction)
        );
        assert_eq!(of(&[0xcc, 0x90, 0x90, 0x90, 0x90], 5, &[]), Err(Reason::Breakpoint));
        let text = Text::new(AT, ENTRY);
        let reject = X86_64::window(&text, AT, Rules::default(), &[], Side::Below).unwrap_err();
        assert_eq!(reject.reason, Reason::UnknownFunction);
    }

    #[test]
    fn a_window_is_of_the_function_around_it() {
        let nops = [0x90; 24];
        let window = |at: u64, function: (u64, u64)| {
            let function = Some((AT.add(function.0), AT.add(function.1)));
            let text = Text { function, ..Text::new(AT, &nops) };
            X86_64::window(&text, AT.add(at), Rules::default(), &[], Side::Below)
                .map_err(|r| r.reason)
        };
        assert!(window(8, (8, 16)).is_ok() && window(11, (8, 16)).is_ok());
        assert_eq!(window(12, (8, 16)), Err(Reason::WindowEnd));
        for at in [7, 16, 17] {
            assert_eq!(window(at, (8, 16)), Err(Reason::UnknownFunction), "{at}");
        }
    }

    #[test]
    fn a_system_call_is_no_call() {
        // syscall; nop; nop; nop; ret
        let window = of(&[0x0f, 0x05, 0x90, 0x90, 0x90, 0xc3], 6, &[]).unwrap();
        assert_eq!((window.calls, window.entered, window.traps), (false, 0, 0b1_1100));
    }

    #[test]
    fn branches_behind_what_is_no_code_are_found() {
        // push es, twice, which there is not; jmp 1; je 6, the end; and behind it, jmp 0
        let code = [0x06, 0x06, 0xeb, 0xfd, 0x74, 0x00, 0xeb, 0xf8];
        let text = Text { function: Some((AT, AT.add(6))), ..Text::new(AT, &code) };
        let mut found = Vec::new();
        targets(&text, &mut |target| found.push(target.distance_from(AT)));
        assert_eq!(found, [1]);
    }

    /// Five places in glibc jump over a LOCK prefix: `lock cmpxchg [rdi], edx` has an instruction
    /// at byte 1 too, and both go on at byte 4.
    #[test]
    fn a_branch_over_a_prefix_finds_its_instruction() {
        let code = [0xf0, 0x0f, 0xb1, 0x17, 0x48, 0x8d, 0x47, 0x01, 0xc3];
        let window = of(&code, 9, &[1]).unwrap();
        assert_eq!(offsets(&window), [(0, 4), (1, 3), (4, 4)]);
        assert_eq!((window.traps, window.entered), (0b1_0010, 0b10));

        let text = Text { function: Some((AT, AT.add(9))), ..Text::new(AT, &code) };
        let record = |offset| Record {
            offset,
            flags: false,
            stack: true,
            filter: Filter::NONE,
            recorder: Recorder::Count { counter: AT.add(0x1000) },
        };
        let records = [record(0), record(4)];
        let order = Order {
            text: &text,
            window: &window,
            rules: Rules::default(),
            records: &records,
            features: Features::ALL,
        };
        let to = AT.add(0x10000);
        let made = build::<X86_64>(&order, to).unwrap();
        // lock inc; lock cmpxchg; lock inc; lea; jmp back; then cmpxchg; jmp to the second inc
        let enter = |offset| made.enter(offset).unwrap();
        assert_eq!((enter(0), enter(4), enter(1)), (0, 8 + 4, 8 + 4 + 8 + 4 + 5));
        let last = made.code.len();
        let back = i32::from_le_bytes(made.code[last - 4..].try_into().unwrap());
        assert_eq!(last as i32 + back, i32::from(enter(4)));
        assert_eq!(made.place(enter(4)), Some(Place::At { offset: 4, recorded: 0 }));
        assert_eq!(made.place(enter(4) + 8), Some(Place::At { offset: 4, recorded: 1 }));
        assert_eq!(made.place(last as u16 - 5), Some(Place::Behind { offset: 4 }));
        assert_eq!(made.place(last as u16), None);
    }

    /// A thread that has trapped in the shadow goes on at the instruction, what was pushed taken back.
    #[test]
    fn a_shadow_leads_to_its_instruction() {
        let made = |code: &[u8]| {
            let function = Some((AT, AT.add(code.len() as u64)));
            let text = Text { function, ..Text::new(AT, code) };
            let window = X86_64::window(&text, AT, Rules::default(), &[], Side::Above).unwrap();
            let counter = AT.add(0x1000);
            let recorder = Recorder::Count { counter };
            let order = Order {
                text: &text,
                window: &window,
                rules: Rules::default(),
                records: &[Record {
                    offset: 4,
                    flags: false,
                    stack: true,
                    filter: Filter::NONE,
                    recorder,
                }],
                features: Features::ALL,
            };
            build::<X86_64>(&order, AT.add(0x10000)).unwrap()
        };
        // push rbp; mov rbp, rsp; sub rsp, 0x18: nothing was pushed.
        let prefix = made(ENTRY);
        assert_eq!((prefix.enter_shadow(), prefix.enter(4)), (Some(4), Some(4)));
        assert_eq!(prefix.place(4), Some(Place::At { offset: 4, recorded: 0 }));

        // push rbp; mov rbp, rdi; push rbx; sub rsp, 8; ret
        let push = made(&[0x55, 0x48, 0x89, 0xfd, 0x53, 0x48, 0x83, 0xec, 8, 0xc3]);
        let shadow = push.enter_shadow().unwrap();
        // Before it: push; mov; [count] push; sub; jmp back
        assert_eq!((push.enter(4), shadow), (Some(4), 4 + 8 + 1 + 4 + 5));
        // lea rsp, [rsp+8]; jmp to the count
        let code = &push.code[usize::from(shadow)..];
        assert_eq!(code[..6], [0x48, 0x8d, 0x64, 0x24, 8, 0xe9]);
        let back = i32::from_le_bytes(code[6..].try_into().unwrap());
        assert_eq!(i32::from(shadow) + 10 + back, 4);
        for (by, place) in [
            (0, Some(Place::Inside { offset: 4, by: 0 })),
            (5, Some(Place::At { offset: 4, recorded: 0 })),
            (10, None),
        ] {
            assert_eq!(push.place(shadow + by), place, "{by}");
        }
        assert_eq!(push.place(shadow - 5), Some(Place::Behind { offset: 9 }));
        // None is left where the last byte traps by itself.
        assert_eq!(made(&[0x41, 0x57, 0x48, 0x89, 0xfd, 0xc3]).enter_shadow(), None);
    }

    #[test]
    fn branches_of_the_function_are_found() {
        // 0: jne 4; 2: jmp 0; 4: call 0x104; 9: ret
        let code = [0x75, 2, 0xeb, 0xfc, 0xe8, 0xfb, 0, 0, 0, 0xc3];
        let text = Text { function: Some((AT, AT.add(10))), ..Text::new(AT, &code) };
        let mut found = Vec::new();
        targets(&text, &mut |target| found.push(target.distance_from(AT)));
        assert_eq!(found, [4, 0]);
        // The loop's head is inside: each round traps.
        assert_eq!(of(&code, 10, &[0, 4]).unwrap().entered, 0b1_0000);
    }
}
