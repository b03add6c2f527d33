//! Jumps that replace one instruction and change nothing behind it.

use super::super::X86_64;
use super::super::decode::decode;
use super::{LEN, walk};
use crate::jump::Window;
use crate::{Addr, Arch, Reason, Reject, Rules, Text};

/// Instructions that begin behind the one that is replaced, at most: for each set of them there is a
/// landing place.
const MAX_LATER: u32 = 3;
/// `nop dword [rax+rax*1+0]`: newer kernels put a call in the place of a uprobe on it, not a trap.
const NOP5: [u8; 5] = [0x0f, 0x1f, 0x44, 0, 0];

/// Decides what a jump replaces that leaves what is behind its instruction what it is: those bytes stay,
/// but for the operands of NOPs, which may be any.
///
/// ```text
/// before     c3               31 c0     5d     c3          ret; xor eax, eax; pop rbp; ret
/// with it    e9               31 c0     5d     c3          jmp -0x3ca23fcf; the same
/// before     c3               0f 1f 40 00                  ret; nop dword [rax]
/// with it    e9               0f 1f 40 70                  jmp 0x70401f0f; nop dword [rax+0x70]
/// ```
pub(in crate::x86_64) fn window_alone(
    text: &Text<'_>,
    at: Addr,
    rules: Rules,
    targets: &[Addr],
) -> Result<Window, Reject> {
    let plan = X86_64::plan(text, at, rules)?;
    if plan.len >= LEN {
        return Err(Reason::WindowEnd.into());
    }
    let mut window = Window::new(at, plan.len);
    walk(text, &mut window, 0, plan.len, rules, &[])?;
    window.len = LEN;
    let enters = |from, until| {
        let offsets = targets.iter().map(|target| target.distance_from(at));
        offsets.into_iter().find(|offset| (i64::from(from)..i64::from(until)).contains(offset))
    };
    if let Some(offset) = enters(1, plan.len) {
        window.entered |= 1 << offset;
    }
    let mut free = 0u8;
    let mut offset = plan.len;
    while offset < LEN
        && let Some((operand, len)) = nop(text.from(at.add(offset.into())))
        && enters(offset + 1, offset + len).is_none()
    {
        free |= (offset + operand..offset + len).filter(|n| *n < LEN).fold(0, |f, n| f | 1 << n);
        offset += len;
    }
    window.later = later(text, &window, targets);
    let optimized = (plan.len..LEN).filter(|n| window.later >> n & 1 == 1);
    let optimized = optimized.filter(|&n| text.from(at.add(n.into())).starts_with(&NOP5)).count();
    if window.later.count_ones() > MAX_LATER || optimized > 0 {
        return Err(Reason::WindowInstruction.into());
    }
    let shared = (1..LEN).zip(&mut window.shared).filter(|(n, _)| *n >= plan.len);
    for (n, byte) in shared.filter(|(n, _)| free >> n & 1 == 0) {
        *byte = Some(*text.from(at.add(n.into())).first().ok_or(Reason::Truncated)?);
    }
    Ok(window)
}

/// Bit n: at byte n of the window, behind its instruction, an instruction begins, where the kernel may
/// put a trap of somebody else's.
fn later(text: &Text<'_>, window: &Window, targets: &[Addr]) -> u8 {
    let entered = targets.iter().map(|target| target.distance_from(window.at));
    let behind = entered.chain([i64::from(window.span)]);
    let behind = behind.filter(|at| (i64::from(window.span)..i64::from(LEN)).contains(at));
    let mut later = 0;
    for mut at in behind {
        while at < i64::from(LEN) {
            later |= 1 << at;
            let Ok(decoded) = decode(text, window.at.offset(at)) else { break };
            at += decoded.bytes.len() as i64;
        }
    }
    later
}

/// Where the operand of a NOP begins that has one, and how long the NOP is.
///
/// ```text
/// 66* 2E? 0F 1F  mm000rrr  SIB?  displacement            nop r/m (AMD64 APM 3, NOP)
/// ```
fn nop(code: &[u8]) -> Option<(u8, u8)> {
    let prefixes = code.iter().take(12).take_while(|byte| matches!(byte, 0x66 | 0x2e)).count();
    let [0x0f, 0x1f, modrm, ..] = *code.get(prefixes..)? else { return None };
    let sib = u8::from(modrm & 7 == 4);
    let more = match modrm >> 3 {
        // [rax], and none that has a displacement without a mode of its own
        0 if modrm & 7 < 4 => 0,
        8 => sib + 1,
        16 => sib + 4,
        _ => return None,
    };
    let operand = u8::try_from(prefixes + 3).ok().filter(|&operand| operand + more <= 15)?;
    code.get(..usize::from(operand + more)).map(|_| (operand, operand + more))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Code;
    use iced_x86::Mnemonic;
    use std::vec::Vec;

    const AT: Addr = Addr(0x5555_0000_1000);

    #[test]
    fn what_is_behind_stays() {
        let alone = |code: &[u8]| {
            let window = X86_64::window_alone(&Text::new(AT, code), AT, Rules::default(), &[]);
            window.map_err(|reject| reject.reason)
        };
        // ret; xor eax, eax; pop rbp; ret
        let window = alone(&[0xc3, 0x31, 0xc0, 0x5d, 0xc3]).unwrap();
        assert_eq!((window.len, window.changed(), window.traps), (5, 1, 0));
        assert_eq!(window.covered().len(), 1);
        // Behind a RET there is one address.
        let only = AT.add(5).offset(0xc35d_c031_u32.cast_signed().into());
        let (first, end) = window.reach().range();
        assert_eq!(window.reach().next(first, end), Some(only));
        assert_eq!(window.reach().next(only.add(1), end), None);
        let mut jump = Code::new();
        window.write::<X86_64>(only, &mut jump).unwrap();
        assert_eq!(jump.as_slice(), [0xe9, 0x31, 0xc0, 0x5d, 0xc3]);
        assert!(window.fits::<X86_64>(&jump));
        assert!((1..5).all(|n| {
            let mut other = jump.clone();
            other[n] ^= 1;
            !window.fits::<X86_64>(&other)
        }));
        // XOR begins at byte 1, POP at 3, RET at 4: where the jump goes with traps there.
        assert_eq!(window.later, 0b1_1010);
        let with = |number: u32| AT.add(5).offset(number.cast_signed().into());
        let others: Vec<Addr> = window.reach().others(only).collect();
        let (one, two) = ([0xc35d_c0cc, 0xc3cc_c031, 0xc3cc_c0cc], [0xcc5d_c031, 0xcc5d_c0cc]);
        let all = [&one[..], &two, &[0xcccc_c031, 0xcccc_c0cc]].concat();
        assert_eq!(others, all.into_iter().map(with).collect::<Vec<_>>());
        // mov rax, [rdi+8]; behind it any of 2^24
        let window = alone(&[0x48, 0x8b, 0x47, 8, 0x77, 0xf0]).unwrap();
        assert_eq!((window.changed(), window.shared), (4, [None, None, None, Some(0x77)]));
        let found = window.reach().next(AT, AT.add(1 << 31)).unwrap();
        assert_eq!(found, AT.add(5 + 0x7700_0000));
        assert!(window.reach().allows(found.add(0xff_ffff)));
        assert!(!window.reach().allows(found.add(0x100_0000)));
        // ret; nop dword [rax] and the like: the byte that is its operand may be any.
        let shared = |code: &[u8]| alone(code).map(|window| window.shared);
        let byte = Some;
        let free = Ok([byte(0x0f), byte(0x1f), byte(0x40), None]);
        assert_eq!(shared(&[0xc3, 0x0f, 0x1f, 0x40, 0]), free);
        let long = Ok([byte(0x0f), byte(0x1f), byte(0x84), None]);
        assert_eq!(shared(&[0xc3, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0]), long);
        let none = Ok([byte(0x0f), byte(0x1f), byte(0), byte(0xc3)]);
        assert_eq!(shared(&[0xc3, 0x0f, 0x1f, 0, 0xc3]), none);
        assert_eq!(alone(&[0xc3, 0x0f, 0x1f, 0x44, 0, 0]), Err(Reason::WindowInstruction));
        // Unless something comes into it.
        let text = Text::new(AT, &[0xc3, 0x0f, 0x1f, 0x40, 0]);
        let entered = X86_64::window_alone(&text, AT, Rules::default(), &[AT.add(4)]).unwrap();
        assert_eq!(entered.shared[3], Some(0));
        // lock; inc [rax]: the prefix is jumped over.
        let text = Text::new(AT, &[0xf0, 0xff, 0x00, 0xc3, 0xc3]);
        let entered = X86_64::window_alone(&text, AT, Rules::default(), &[AT.add(1)]).unwrap();
        assert_eq!(entered.entered, 0b10);
        // call rax
        assert!(alone(&[0xff, 0xd0, 1, 2, 3]).unwrap().calls);
        // call [rax], mov eax, 1, and a RET at the end of what is known
        assert_eq!(alone(&[0xff, 0x10, 1, 2, 3]), Err(Reason::IndirectCall));
        assert_eq!(alone(&[0xb8, 1, 0, 0, 0]), Err(Reason::WindowEnd));
        assert_eq!(alone(&[0xc3, 1, 2, 3]), Err(Reason::Truncated));
    }

    /// Each operand that a NOP may get is a NOP of the same length.
    #[test]
    fn what_a_nop_names_does_not_matter() {
        let mut found = 0;
        for prefixes in [&[][..], &[0x66], &[0x66, 0x66, 0x2e]] {
            for modrm in 0..=255 {
                let mut code = [prefixes, &[0x0f, 0x1f, modrm], &[0; 8]].concat();
                let Some((operand, len)) = nop(&code) else { continue };
                found += 1;
                for n in 0..len - operand {
                    for byte in 0..=255 {
                        code[usize::from(operand + n)] = byte;
                        let decoded = decode(&Text::new(AT, &code), AT).unwrap();
                        assert_eq!(decoded.insn.mnemonic(), Mnemonic::Nop, "{code:02x?}");
                        assert_eq!(decoded.bytes.len(), usize::from(len), "{code:02x?}");
                    }
                }
            }
        }
        assert_eq!(found, 3 * (4 + 8 + 8));
    }
}
