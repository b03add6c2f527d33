//! PUSH and MOV.

use xol_arch::x86_64::{Effect, Gpr, Registers, X86_64};
use xol_arch::{Addr, Arch, Fault, Memory, Rules, Text};

use super::{Follow, Thread};

impl Follow for X86_64 {
    fn registers(random: &mut dyn FnMut() -> u64) -> Registers {
        let mut regs = Registers::default();
        for n in 0..16 {
            // Canonical mostly, and small now and then: loops count.
            let value = random();
            regs.set(Gpr::new(n), value >> [0, 17, 17, 62][value as usize & 3]);
        }
        regs.rsp = random() >> 17 & !7;
        regs.rflags = random() & 0xcd5;
        regs.fs_base = random() >> 17;
        regs.gs_base = random() >> 17;
        regs
    }

    fn step(code: &[u8], thread: &mut Thread<X86_64>) -> Result<Option<usize>, Fault> {
        let immediate = |at: usize, len: usize| {
            let mut bytes = [0; 8];
            bytes[..len].copy_from_slice(&code[at..at + len]);
            u64::from_le_bytes(bytes)
        };
        let len = match *code {
            // push imm32, sign-extended
            [0x68, ..] => {
                push(i64::from(immediate(1, 4) as i32).cast_unsigned(), thread)?;
                5
            }
            // mov dword [rsp + d8], imm32
            [0xc7, 0x44, 0x24, by, ..] => {
                let at = Addr(thread.regs.rsp).offset(i64::from(by.cast_signed()));
                thread.write(at, &code[4..8])?;
                8
            }
            // mov r16, imm16
            [0x66, rex @ 0x40..=0x47, opcode @ 0xb8..=0xbf, ..] => {
                let register = Gpr::new(rex << 3 & 8 | opcode & 7);
                let kept = thread.regs.get(register) & !0xffff;
                thread.regs.set(register, kept | immediate(3, 2));
                5
            }
            // mov r32, imm32; mov r64, imm64
            [rex @ 0x40..=0x4f, opcode @ 0xb8..=0xbf, ..] => {
                let len = if rex & 8 == 0 { 4 } else { 8 };
                thread.regs.set(Gpr::new(rex << 3 & 8 | opcode & 7), immediate(2, len));
                2 + len
            }
            _ => return push_operand(code, thread),
        };
        Ok(Some(len))
    }

    /// A CALL through memory or a register leaves its target in the eight bytes below the return
    /// address.
    fn excuse(effect: Effect, before: &Registers, followed: &mut Thread<X86_64>) {
        if matches!(effect, Effect::CallTo { .. }) {
            for i in 9..=16 {
                followed.written.remove(&before.rsp.wrapping_sub(i));
            }
        }
    }
}

fn push(value: u64, thread: &mut Thread<X86_64>) -> Result<(), Fault> {
    let top = thread.regs.rsp.wrapping_sub(8);
    thread.write(Addr(top), &value.to_le_bytes())?;
    thread.regs.rsp = top;
    Ok(())
}

/// PUSH r/m takes what JMP r/m with the same operand would go to.
/// ```text
/// FF /4    jmp r/m64
/// FF /6    push r/m64
/// ```
fn push_operand(code: &[u8], thread: &mut Thread<X86_64>) -> Result<Option<usize>, Fault> {
    let prefix = |byte: &u8| matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x40..=0x4f | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3);
    let Some(opcode) = code.iter().position(|byte| !prefix(byte)) else { return Ok(None) };
    let [0xff, modrm, ..] = code[opcode..] else { return Ok(None) };
    if modrm >> 3 & 7 != 6 {
        return Ok(None);
    }
    let mut jump = code.to_vec();
    jump[opcode + 1] = modrm & !0o70 | 0o40;
    let at = Addr(thread.regs.rip);
    let plan = X86_64::plan(&Text::new(at, &jump), at, Rules::default());
    let plan = plan.expect("a jump through the same operand");
    let mut elsewhere = thread.clone();
    X86_64::simulate(plan.effect.expect("it is simulated"), at, &mut elsewhere)?;
    push(elsewhere.regs.rip, thread)?;
    Ok(Some(plan.len.into()))
}
