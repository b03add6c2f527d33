//! Real jumps in this process: every way into a window, threads that write to one ring while it
//! is read, and what is not lost. For a program of its own: signals are taken over.
//!
//! | room | holds |
//! |---|---|
//! | [`armed`] | a function with a jump in it |
//! | `entries` | every way into a window |
//! | `threads` | many writers and a reader |

pub mod armed;
#[cfg(target_arch = "x86_64")]
mod entries;
mod threads;

/// Runs all of it.
///
/// # Panics
/// Something is not as it must be.
pub fn run() {
    crate::calls::handle_traps();
    #[cfg(target_arch = "x86_64")]
    {
        entries::every_way_in();
        entries::every_way_past();
        entries::every_prefix();
    }
    threads::nothing_is_lost();
    threads::everything_is_read();
    println!("jumps: all as it must be");
}
