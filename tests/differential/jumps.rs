//! Real jumps: a program of its own, because it takes signals over. Under an emulator:
//! `ci/arm64 run xol-differential jumps`.

fn main() {
    xol_differential::jumping::run();
}
