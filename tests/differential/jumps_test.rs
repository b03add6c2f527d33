//! The same in the test command.

fn main() {
    xol_differential::jumping::run();
}
