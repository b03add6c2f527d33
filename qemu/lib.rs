//! Virtual machines of both architectures from distribution packages, and programs run in them.
//!
//! [`Vm`] says what a guest is made of, [`Session`] is one that has booted, [`user::User`] runs a
//! program under qemu-user and [`board::build`] builds `xol` for a board, and [`package::build`]
//! packs it for those who install it. `cargo vm` is the same
//! from the command line; `README.md` beside this file has a recipe for CI.

pub mod apt;
pub mod board;
pub mod cargo_test;
pub mod compare;
pub mod cpio;
pub mod host;
pub mod package;
pub mod packages;
pub mod user;

mod elf;
mod error;
mod guest;
mod initramfs;
mod kernel;
mod launch;
mod session;
mod toolchain;
mod vm;

pub use error::Error;
pub use guest::Guest;
pub use session::{Session, Stream, shell};
pub use vm::{Output, Vm};
