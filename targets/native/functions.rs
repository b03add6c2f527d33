//! Functions with one instruction of each kind, in assembly: see `crate::loops`.

/// Lays the functions out: two for each kind, one that returns, one that traps, and one with many
/// NOPs.
macro_rules! functions {
    ($trap:literal, $nop:literal, ($($option:ident)?)
     $($name:literal: $before:literal, $site:literal, $after:literal;)*) => {
        std::arch::global_asm!(
            ".pushsection .text.xol_loops,\"ax\",@progbits",
            ".balign 64",
            ".globl xol_loops",
            ".hidden xol_loops",
            "xol_loops:",
            $(
                functions!(@one concat!("xol_probed_", $name), $before, $site, $after),
                functions!(@one concat!("xol_twin_", $name), $before, $site, $after),
            )*
            functions!(@one "xol_returns", "", "ret", ""),
            functions!(@one "xol_trap", "", $trap, "ret"),
            functions!(@one "xol_nops", ".rept 512", $nop, ".endr\nret"),
            ".balign 8",
            "xol_word: .quad 1",
            ".popsection",
            options($($option)?)
        );
    };
    (@one $symbol:expr, $before:literal, $site:literal, $after:literal) => {
        concat!(
            ".balign 64\n.type ", $symbol, ",@function\n", $symbol, ":\n.cfi_startproc\n",
            $before, "\n", $site, "\n", $after, "\n.cfi_endproc\n.size ", $symbol, ",.-", $symbol
        )
    };
}

pub(super) use functions;
