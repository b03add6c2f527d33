//! Any file is a recording up to some byte, and what is told of it can be recorded again.

use xol::record::{Player, Record, Recorded, Recorder, Told, resealed};

/// `input` as a recording, and as one whose blocks have the checksums of what is in them; whether the
/// latter is told to its end.
///
/// # Panics
/// Where reading it does, or what it tells is another thing when it is recorded.
pub fn check(input: &[u8]) -> bool {
    let _ = events(input);
    let sealed = resealed(input);
    let (told, bytes, whole) = events(&sealed);
    let (again, ..) = events(&bytes);
    assert_eq!(told, again);
    whole
}

/// What a recording tells, the same recorded, and whether it comes to its end.
fn events(input: &[u8]) -> (Vec<String>, Vec<u8>, bool) {
    let (mut told, mut whole) = (Vec::new(), false);
    let mut recorder = Recorder::new(Vec::new(), &Recorded::default()).expect("a Vec takes all");
    match Player::new(input) {
        Ok(Some(mut player)) => {
            let run = player.run().clone();
            recorder = Recorder::new(Vec::new(), &run).expect("a Vec takes all");
            let played = player.play(&mut |now| {
                if let Told::Event(record, probed) = now
                    // A table of so many rows is not what this is about.
                    && record.row < 1 << 16
                {
                    told.push(format!("{record:?} {probed:?}"));
                    let record: &Record<'_> = record;
                    recorder.event(record, || probed.clone()).expect("a Vec takes all");
                }
                true
            });
            if let Err(error) = &played {
                assert!(!error.to_string().is_empty());
            }
            whole = played.is_ok();
        }
        Ok(None) => {}
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    let bytes = recorder.finish(&Default::default()).expect("a Vec takes all");
    (told, bytes, whole)
}
