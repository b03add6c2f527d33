//! MOVZ, MOVK, NOP, LDR.

use xol_arch::arm64::{Arm64, Btype, Effect, Registers};
use xol_arch::{Addr, Fault, Memory};

use super::{Follow, Thread};

impl Follow for Arm64 {
    fn registers(random: &mut dyn FnMut() -> u64) -> Registers {
        let mut regs = Registers::default();
        regs.x.fill_with(&mut *random);
        regs.sp = random() & !15;
        regs.set_nzcv(random() as u8 & 15);
        // Small numbers now and then: branches compare them.
        for n in [0, 1, 2, 3, 30] {
            if random() & 1 == 0 {
                regs.x[n] &= 0x3f;
            }
        }
        regs
    }

    fn step(code: &[u8], thread: &mut Thread<Arm64>) -> Result<Option<usize>, Fault> {
        let Some(&word) = code.first_chunk() else { return Ok(None) };
        let word = u32::from_le_bytes(word);
        let field = |low: u32, width: u32| word >> low & ((1 << width) - 1);
        let (to, from) = (field(0, 5) as u8, field(5, 5) as u8);
        let size = match word & 0xffc0_0000 {
            // MOVZ, MOVK  1x10 0101  1hhi iiii  iiii iiii  iiid dddd
            0xd280_0000 | 0xd2c0_0000 | 0xf280_0000 | 0xf2c0_0000 => {
                let low = 16 * field(21, 2);
                let kept = if word >> 29 & 1 == 1 { !(0xffff << low) } else { 0 };
                let value = thread.regs.get(to) & kept | u64::from(field(5, 16)) << low;
                thread.regs.set(to, value);
                return Ok(Some(4));
            }
            // LDR Wt, LDR Xt, LDRSW  ss11 1001  cc00 0000  0000 00nn  nnnt tttt
            0xb940_0000 | 0xb980_0000 if field(10, 12) == 0 => 4,
            0xf940_0000 if field(10, 12) == 0 => 8,
            _ if word == 0xd503_201f => return Ok(Some(4)),
            _ => return Ok(None),
        };
        let mut bytes = [0; 8];
        thread.read(Addr(thread.regs.get(from)), &mut bytes[..size])?;
        let mut value = u64::from_le_bytes(bytes);
        if word & 0xffc0_0000 == 0xb980_0000 {
            value = i64::from(value as i32).cast_unsigned();
        }
        thread.regs.set(to, value);
        Ok(Some(4))
    }

    /// A call made by BR sets BTYPE as BR does.
    fn excuse(effect: Effect, _: &Registers, followed: &mut Thread<Arm64>) {
        if matches!(effect, Effect::BranchLinkRegister { .. })
            && followed.regs.btype() == Btype::Jump as u8
        {
            followed.regs.set_btype(Btype::Call);
        }
    }
}
