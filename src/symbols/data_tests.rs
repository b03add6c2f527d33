//! Islands in made-up functions.

use super::*;
use xol_arch::arm64::Arm64;
use xol_arch::x86_64::X86_64;

const AT: u64 = 0x5555_0000_1000;

fn of<A: Arch>(
    code: &[u8],
    global: &[u64],
    local: &[u64],
    outside: &[(u64, bool)],
) -> Vec<(u64, u64)> {
    let up = |list: &[u64]| list.iter().map(|by| AT + by).collect();
    let entries = Entries { ways: vec![AT], global: up(global), local: up(local) };
    let outside: Vec<Named> =
        outside.iter().map(|&(by, accessed)| Named { at: Addr(AT + by), accessed }).collect();
    let found = find::<A>(Text::new(Addr(AT), code), &entries, &outside);
    found.iter().map(|range| (range.start - AT, range.end - AT)).collect()
}

/// mov 1(%rip), %eax; ret; four bytes.
const LITERAL: &[u8] = &[0x8b, 5, 1, 0, 0, 0, 0xc3, 1, 2, 3, 4];

#[test]
fn what_is_accessed_behind_the_end_is_data() {
    assert_eq!(of::<X86_64>(LITERAL, &[], &[], &[]), [(7, 11)]);
    // A label is no way there, whoever sees it; it is a border.
    assert_eq!(of::<X86_64>(LITERAL, &[7], &[], &[]), [(7, 11)]);
    assert_eq!(of::<X86_64>(LITERAL, &[], &[7], &[]), [(7, 11)]);
    assert_eq!(of::<X86_64>(LITERAL, &[], &[9], &[]), [(7, 9)]);
    // Without the operand it may be anything.
    let alone = &[0x31, 0xc0, 0x90, 0x90, 0x90, 0x90, 0xc3, 1, 2, 3, 4];
    assert_eq!(of::<X86_64>(alone, &[], &[], &[]), []);
    assert_eq!(of::<X86_64>(alone, &[], &[], &[(8, false)]), [(7, 11)]);
    // A function that LEA names elsewhere.
    assert_eq!(of::<X86_64>(alone, &[7], &[], &[(7, false)]), []);
    assert_eq!(of::<X86_64>(alone, &[7], &[], &[(7, true)]), [(7, 11)]);
}

#[test]
fn where_a_branch_goes_is_code() {
    // lea 2(%rip), %rax; jmp +4; "abcd"; ret
    let string = [0x48, 0x8d, 5, 2, 0, 0, 0, 0xeb, 4, b'a', b'b', b'c', b'd', 0xc3];
    assert_eq!(of::<X86_64>(&string, &[], &[], &[]), [(9, 13)]);
    // mov 5(%rip), %eax; je +1; ret; nopl; xor eax, eax; ret: read, and gone to.
    let both = [0x8b, 5, 6, 0, 0, 0, 0x74, 4, 0xc3, 0x0f, 0x1f, 0, 0x31, 0xc0, 0xc3];
    assert_eq!(of::<X86_64>(&both, &[], &[], &[]), []);
    // Padding is none of it, and what is behind a jump table's jump is code.
    let table = [0xff, 0xe0, 0x90, 0x31, 0xc0, 0xc3, 0xcc, 0xcc, 1, 2, 3];
    assert_eq!(of::<X86_64>(&table, &[], &[], &[]), []);
    assert_eq!(of::<X86_64>(&table, &[8], &[], &[(8, true)]), [(8, 11)]);
}

#[test]
fn what_is_named_from_what_was_taken_for_code_is_data() {
    // jmp *rax; 8 bytes; and behind a border: mov -14(%rip), %eax; ret
    let late = [0xff, 0xe0, 1, 2, 3, 4, 5, 6, 7, 8, 0x8b, 5, 0xf2, 255, 255, 255, 0xc3];
    assert_eq!(of::<X86_64>(&late, &[10], &[], &[]), [(2, 10)]);
    assert_eq!(of::<X86_64>(&late, &[], &[10], &[]), [(2, 10)]);
}

#[test]
fn literal_pools_of_arm64() {
    let code = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
    // ldr x0, #8; ret; a word twice; b .-4 of another
    let pool = code(&[0x5800_0040, 0xd65f_03c0, 0x9400_0001, 0x1400_0000]);
    assert_eq!(of::<Arm64>(&pool, &[], &[], &[]), [(8, 16)]);
    // adr x0, #12; br x1; nop; ret
    let adr = code(&[0x1000_0060, 0xd61f_0020, 0xd503_201f, 0xd65f_03c0]);
    assert_eq!(of::<Arm64>(&adr, &[], &[], &[]), [(12, 16)]);
    // ldr x0, #8; cbz x0, #8; ret; nop
    let reached = code(&[0x5800_0060, 0xb400_0040, 0xd65f_03c0, 0xd503_201f]);
    assert_eq!(of::<Arm64>(&reached, &[], &[], &[]), []);
}
