//! `cargo vm`: boots arm64 and x86-64 virtual machines and runs things in them.

fn main() -> std::process::ExitCode {
    eprintln!("xol-qemu: not built yet");
    std::process::ExitCode::from(2)
}
