//! The program behind every uprobe, assembled by hand: there is no BPF compiler to depend on.

/// One BPF instruction: opcode, registers, offset, immediate.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Insn {
    code: u8,
    /// Destination in the low half, source in the high one.
    regs: u8,
    off: i16,
    imm: i32,
}

const fn insn(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> Insn {
    Insn { code, regs: dst | src << 4, off, imm }
}

// Opcodes, from the kernel's instruction-set document.
const LD_IMM64: u8 = 0x18;
const LDX_DW: u8 = 0x79;
const STX_W: u8 = 0x63;
const STX_DW: u8 = 0x7b;
const ATOMIC_DW: u8 = 0xdb;
const MOV_REG: u8 = 0xbf;
const MOV_IMM: u8 = 0xb7;
const ADD_IMM: u8 = 0x07;
const ADD_REG: u8 = 0x0f;
const MUL_IMM: u8 = 0x27;
const RSH_IMM: u8 = 0x77;
const JNE_IMM: u8 = 0x55;
const JEQ_IMM: u8 = 0x15;
const JGE_IMM: u8 = 0x35;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;

/// `imm` is a map's file descriptor.
const PSEUDO_MAP_FD: u8 = 1;
/// The atomic add that returns the old value.
const FETCH_ADD: i32 = 0x01;

const MAP_LOOKUP_ELEM: i32 = 1;
const MAP_UPDATE_ELEM: i32 = 2;
const GET_CURRENT_PID_TGID: i32 = 14;
const GET_ATTACH_COOKIE: i32 = 174;

/// Where the result is in the registers that the program is given: `rax`, or `x0`.
const CONTEXT_RESULT: i16 = if cfg!(target_arch = "x86_64") { 80 } else { 0 };

/// Counts a hit of `pid` in `counts[cookie]`, and keeps the value that a function returned in
/// `values[cookie * keep + hit]`, for the first `keep` hits.
pub(super) fn program(pid: u32, counts: i32, values: Option<(i32, u32)>) -> Vec<Insn> {
    // r6: the context; r7: the cookie; r8: the number of this hit.
    let mut code = vec![
        insn(MOV_REG, 6, 1, 0, 0),
        insn(CALL, 0, 0, 0, GET_CURRENT_PID_TGID),
        insn(RSH_IMM, 0, 0, 0, 32),
        // Another process: to the end, which is patched in below.
        insn(JNE_IMM, 0, 0, 0, pid.cast_signed()),
        insn(MOV_REG, 1, 6, 0, 0),
        insn(CALL, 0, 0, 0, GET_ATTACH_COOKIE),
        insn(MOV_REG, 7, 0, 0, 0),
        insn(STX_W, 10, 7, -4, 0),
        insn(LD_IMM64, 1, PSEUDO_MAP_FD, 0, counts),
        insn(0, 0, 0, 0, 0),
        insn(MOV_REG, 2, 10, 0, 0),
        insn(ADD_IMM, 2, 0, 0, -4),
        insn(CALL, 0, 0, 0, MAP_LOOKUP_ELEM),
        insn(JEQ_IMM, 0, 0, 0, 0),
        insn(MOV_IMM, 8, 0, 0, 1),
        insn(ATOMIC_DW, 0, 8, 0, FETCH_ADD),
    ];
    if let Some((values, keep)) = values {
        code.extend([
            insn(JGE_IMM, 8, 0, 0, keep.cast_signed()),
            insn(MUL_IMM, 7, 0, 0, keep.cast_signed()),
            insn(ADD_REG, 7, 8, 0, 0),
            insn(STX_W, 10, 7, -4, 0),
            insn(LDX_DW, 1, 6, CONTEXT_RESULT, 0),
            insn(STX_DW, 10, 1, -16, 0),
            insn(LD_IMM64, 1, PSEUDO_MAP_FD, 0, values),
            insn(0, 0, 0, 0, 0),
            insn(MOV_REG, 2, 10, 0, 0),
            insn(ADD_IMM, 2, 0, 0, -4),
            insn(MOV_REG, 3, 10, 0, 0),
            insn(ADD_IMM, 3, 0, 0, -16),
            insn(MOV_IMM, 4, 0, 0, 0),
            insn(CALL, 0, 0, 0, MAP_UPDATE_ELEM),
        ]);
    }
    // Every conditional jump goes to the end.
    let end = code.len();
    for (at, insn) in code.iter_mut().enumerate() {
        if matches!(insn.code, JNE_IMM | JEQ_IMM | JGE_IMM) {
            insn.off = i16::try_from(end - at - 1).expect("a short program");
        }
    }
    code.extend([insn(MOV_IMM, 0, 0, 0, 0), insn(EXIT, 0, 0, 0, 0)]);
    code
}
