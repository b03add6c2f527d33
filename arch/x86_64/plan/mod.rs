//! What to do with an instruction, or why not.
//!
//! The rule in four lines. What names its own address is simulated: direct branches and calls.
//! What leaves the slot by itself and does not read its address is copied and simulated: RET,
//! JMP r/m. What raises an exception, enters or leaves the kernel by design, or is not decoded is
//! rejected. Everything else is copied, its RIP-relative displacement rewritten.

use crate::{Addr, Copied, Plan, Reason, Reject, Text};
use iced_x86::{Code, FlowControl, Instruction, Mnemonic, OpKind, Register};

use super::X86_64;
use super::decode::{Decoded, decode, decoder, gpr, next};
use super::simulate::{Address, Base, Condition, Effect, Operand, Segment, Width};

/// The verdict on one instruction, but for its length.
type Verdict = Result<(Option<Effect>, Option<Behaviour>), Reason>;

/// What a copy does in its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behaviour {
    /// Comes out behind itself: a trap or a jump may stand there.
    Through,
    /// Goes elsewhere for good: what stands behind it is never reached.
    Leaves,
}

/// Decides how the instruction at `at` can be displaced.
pub(super) fn plan(text: &Text<'_>, at: Addr) -> Result<Plan<X86_64>, Reject> {
    judge(&decode(text, at)?, at)
}

/// Plans every instruction from the beginning on; where none is decoded, the next byte may begin
/// one. One decoder for all of them.
pub(super) fn plans(text: &Text<'_>, each: &mut dyn FnMut(Addr, Result<Plan<X86_64>, Reject>)) {
    let Ok(mut decoder) = decoder(text.bytes, text.base) else { return };
    while let Some(bytes) = text.bytes.get(decoder.position()..).filter(|bytes| !bytes.is_empty()) {
        let (position, at) = (decoder.position(), Addr(decoder.ip()));
        match next(&mut decoder, bytes) {
            Ok(decoded) => each(at, judge(&decoded, at)),
            Err(reject) => {
                each(at, Err(reject));
                // The position is inside the text: it is one behind a byte that is there.
                let _ = decoder.set_position(position + 1);
                decoder.set_ip(at.add(1).0);
            }
        }
    }
}

fn judge(decoded: &Decoded<'_>, at: Addr) -> Result<Plan<X86_64>, Reject> {
    let len = decoded.bytes.len() as u8;
    let (effect, behaviour) = verdict(decoded, at)?;
    let copied = behaviour.map(|behaviour| {
        let through = behaviour == Behaviour::Through;
        Copied { span: len, falls_through: through, trap_behind: through, jump_behind: true }
    });
    Ok(Plan { len, effect, copied })
}

fn verdict(decoded: &Decoded<'_>, at: Addr) -> Verdict {
    let insn = &decoded.insn;
    match insn.flow_control() {
        FlowControl::Next => straight(insn, at),
        FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch => direct(decoded, at),
        FlowControl::Call => match insn.mnemonic() {
            Mnemonic::Call => direct(decoded, at),
            Mnemonic::Syscall => Ok((None, Some(Behaviour::Through))),
            Mnemonic::Sysenter => Err(Reason::SoftwareInterrupt),
            _ => Err(Reason::Privileged),
        },
        FlowControl::IndirectBranch | FlowControl::IndirectCall => indirect(decoded, at),
        FlowControl::Return => returning(decoded),
        FlowControl::Interrupt => Err(match insn.mnemonic() {
            Mnemonic::Int3 => Reason::Breakpoint,
            Mnemonic::Int => Reason::SoftwareInterrupt,
            _ => Reason::Exception,
        }),
        FlowControl::XbeginXabortXend => Err(Reason::Transaction),
        FlowControl::Exception => Err(Reason::Exception),
    }
}

/// What goes on behind itself.
fn straight(insn: &Instruction, at: Addr) -> Verdict {
    match insn.mnemonic() {
        Mnemonic::Encls | Mnemonic::Enclu | Mnemonic::Enclv => Err(Reason::Enclave),
        Mnemonic::Xend | Mnemonic::Xabort => Err(Reason::Transaction),
        Mnemonic::Getsec | Mnemonic::Getsecq | Mnemonic::Vmfunc => Err(Reason::Privileged),
        _ if insn.is_privileged() => Err(Reason::Privileged),
        // Debug exceptions are held back until the instruction behind has run (Intel SDM 3,
        // 6.8.3). POP SS does not exist in 64-bit mode.
        Mnemonic::Mov if insn.op0_register() == Register::SS => Err(Reason::InterruptShadow),
        // AMD's lightweight profiling records its own address; no processor made since 2017 has it.
        Mnemonic::Lwpins | Mnemonic::Lwpval | Mnemonic::Undoc => Err(Reason::Undecodable),
        Mnemonic::Lea => Ok((lea(insn, at), Some(Behaviour::Through))),
        _ => Ok((None, Some(Behaviour::Through))),
    }
}

/// Direct near branches and calls.
fn direct(decoded: &Decoded<'_>, at: Addr) -> Verdict {
    let insn = &decoded.insn;
    if insn.op0_kind() != OpKind::NearBranch64 {
        return Err(Reason::FarTransfer);
    }
    let prefixes = decoded.prefixes();
    // AMD lets F3 and F2 choose between LOOPE and LOOPNE, over the opcode (seen on Zen 5).
    let chosen = prefixes.repeat && matches!(insn.mnemonic(), Mnemonic::Loope | Mnemonic::Loopne);
    if prefixes.vendor_dependent_branch() || chosen {
        return Err(Reason::VendorDependent);
    }
    let by = Addr(insn.near_branch64()).distance_from(at);
    let len = insn.len() as u8;
    let narrow = matches!(
        insn.code(),
        Code::Jecxz_rel8_64
            | Code::Loop_rel8_64_ECX
            | Code::Loope_rel8_64_ECX
            | Code::Loopne_rel8_64_ECX
    );
    let effect = match insn.mnemonic() {
        Mnemonic::Jmp => Effect::Jump { by },
        Mnemonic::Call => Effect::Call { by, len },
        Mnemonic::Jecxz | Mnemonic::Jrcxz => Effect::JumpIfCountZero { narrow, by, len },
        Mnemonic::Loop => Effect::Loop { zero_flag: None, narrow, by, len },
        Mnemonic::Loope => Effect::Loop { zero_flag: Some(true), narrow, by, len },
        Mnemonic::Loopne => Effect::Loop { zero_flag: Some(false), narrow, by, len },
        // Jcc, or nothing that is known: the opcode tells.
        _ => Effect::JumpIf { condition: condition(decoded)?, by, len },
    };
    Ok((Some(effect), None))
}

/// The condition of `0111 tttn` (rel8) or `0000 1111 1000 tttn` (rel32).
fn condition(decoded: &Decoded<'_>) -> Result<Condition, Reason> {
    match decoded.bytes.get(decoded.prefixes().opcode..) {
        Some(&[0x0f, opcode @ 0x80..=0x8f, ..]) | Some(&[opcode @ 0x70..=0x7f, ..]) => {
            Ok(Condition::new(opcode))
        }
        _ => Err(Reason::Undecodable),
    }
}

/// CALL r/m and JMP r/m.
fn indirect(decoded: &Decoded<'_>, at: Addr) -> Verdict {
    let insn = &decoded.insn;
    let len = insn.len() as u8;
    let vendor_dependent = decoded.prefixes().vendor_dependent_branch();
    match insn.code() {
        Code::Jmp_rm64 if vendor_dependent => Ok((None, Some(Behaviour::Leaves))),
        Code::Jmp_rm64 => {
            let target = operand(insn, at).ok_or(Reason::Undecodable)?;
            Ok((Some(Effect::JumpTo { target }), Some(Behaviour::Leaves)))
        }
        Code::Call_rm64 if vendor_dependent => Err(Reason::VendorDependent),
        Code::Call_rm64 => {
            let target = operand(insn, at).ok_or(Reason::Undecodable)?;
            Ok((Some(Effect::CallTo { target, len }), None))
        }
        // Far: the operand says where to, and nothing of where it stands is read.
        Code::Jmp_m1616 | Code::Jmp_m1632 | Code::Jmp_m1664 => Ok((None, Some(Behaviour::Leaves))),
        _ => Err(Reason::FarTransfer),
    }
}

/// RET and what else is called a return.
fn returning(decoded: &Decoded<'_>) -> Verdict {
    let insn = &decoded.insn;
    let effect = match insn.code() {
        Code::Retnq => Effect::Return { release: 0 },
        Code::Retnq_imm16 => Effect::Return { release: insn.immediate16() },
        Code::Retfw
        | Code::Retfd
        | Code::Retfq
        | Code::Retfw_imm16
        | Code::Retfd_imm16
        | Code::Retfq_imm16 => return Ok((None, Some(Behaviour::Leaves))),
        Code::Iretw | Code::Iretd | Code::Iretq | Code::Uiret => {
            return Err(Reason::InterruptReturn);
        }
        _ => return Err(Reason::Privileged),
    };
    // With prefix 66 the two vendors pop different widths, each the same from a slot.
    let effect = (!decoded.prefixes().vendor_dependent_branch()).then_some(effect);
    Ok((effect, Some(Behaviour::Leaves)))
}

/// LEA of a RIP-relative operand; other LEAs only move registers and are copied.
fn lea(insn: &Instruction, at: Addr) -> Option<Effect> {
    if !insn.is_ip_rel_memory_operand() {
        return None;
    }
    let to = insn.op0_register();
    Some(Effect::Lea {
        to: gpr(to)?,
        width: match to.size() {
            2 => Width::Word,
            4 => Width::Long,
            _ => Width::Quad,
        },
        by: operand_distance(insn, at),
        narrow: insn.memory_base() == Register::EIP,
        len: insn.len() as u8,
    })
}

/// The first operand of a branch; `None` for what no general register or address can be.
fn operand(insn: &Instruction, at: Addr) -> Option<Operand> {
    match insn.op0_kind() {
        OpKind::Register => Some(Operand::Register(gpr(insn.op0_register())?)),
        OpKind::Memory => Some(Operand::Memory(address(insn, at)?)),
        _ => None,
    }
}

fn address(insn: &Instruction, at: Addr) -> Option<Address> {
    let segment = match insn.segment_prefix() {
        Register::FS => Some(Segment::Fs),
        Register::GS => Some(Segment::Gs),
        _ => None,
    };
    if insn.is_ip_rel_memory_operand() {
        return Some(Address {
            segment,
            base: Some(Base::Site),
            index: None,
            shift: 0,
            displacement: operand_distance(insn, at),
            narrow: insn.memory_base() == Register::EIP,
        });
    }
    let base = match insn.memory_base() {
        Register::None => None,
        register => Some(gpr(register)?),
    };
    let index = match insn.memory_index() {
        Register::None => None,
        register => Some(gpr(register)?),
    };
    let narrow =
        [insn.memory_base(), insn.memory_index()].iter().any(|register| register.is_gpr32())
            || insn.memory_displ_size() == 4;
    Some(Address {
        segment,
        base: base.map(Base::Register),
        index,
        shift: insn.memory_index_scale().trailing_zeros() as u8,
        // Sign-extended here where iced keeps 32 bits: the sum is cut anyway.
        displacement: if narrow {
            i64::from(insn.memory_displacement32().cast_signed())
        } else {
            insn.memory_displacement64().cast_signed()
        },
        narrow,
    })
}

/// How far a RIP-relative operand is from the instruction: the same wherever both are, so with
/// prefix 67 modulo 2^32.
fn operand_distance(insn: &Instruction, at: Addr) -> i64 {
    let distance = Addr(insn.ip_rel_memory_address()).distance_from(at);
    if insn.memory_base() == Register::EIP { i64::from(distance as i32) } else { distance }
}
