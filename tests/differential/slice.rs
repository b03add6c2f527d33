//! The bounded run of the test command: a program of its own, because the signals it takes over
//! are the whole process's.

fn main() {
    #[cfg(target_arch = "x86_64")]
    {
        use std::time::Duration;
        use xol_differential::cpu::Cpu;
        use xol_differential::run::{Until, run};

        let mut cpu = xol_differential::x86_64::Hardware::open();
        match run(&mut cpu, 1, Until::Time(Duration::from_secs(20))) {
            Ok(counts) => println!("{counts}"),
            Err(failure) => {
                eprintln!("{failure}");
                std::process::exit(1);
            }
        }
    }
}
