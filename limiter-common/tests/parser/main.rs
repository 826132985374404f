//! The parser on the host: a table of frames, and millions of generated ones beside etherparse.

mod generated;
mod table;

use limiter_common::packet::{Cursor, Found, Segment, parse, parse_plain, second_look};
use limiter_common::reason::Reason;

/// What the parser says of a frame: source, destination (both as 128 bits), port, flags, hidden flags.
type Seen = (u128, u128, u16, u8, bool);

fn see(frame: &[u8]) -> Result<Seen, Reason> {
    // An exactly sized allocation: whoever reads past it is seen by the sanitiser, and by luck without one.
    let frame: Box<[u8]> = frame.into();
    let cursor = || Cursor::new(&frame);
    let parsed = parse(cursor());
    let found = Found::of_parsed(&parsed, &cursor());
    let same = |other: &Result<Segment<'_>, Reason>| {
        let (one, other) = (parsed.as_ref(), other.as_ref());
        assert_eq!(one.map(read), other.map(read), "it crosses a call, or is plain");
    };
    same(&found.parsed(cursor()));
    match parse_plain(cursor()) {
        Ok(plain) => same(&Ok(plain)),
        Err(Some(reason)) => same(&Err(reason)),
        // `Err(None)` is what only `parse` reads: a chain of extension headers.
        Err(None) => {
            let is_v6 = parsed.as_ref().is_ok_and(|segment| segment.network.is_v6());
            assert!(is_v6 || parsed.is_err(), "{frame:02x?}");
        }
    }
    let segment = parsed.map_err(|reason| second_look(cursor(), || true, reason));
    segment.map(|segment| {
        if !segment.hides_flags {
            let found = Found::of(&segment, &cursor()).read(cursor());
            assert_eq!(
                found.as_ref().map(read),
                Some(read(&segment)),
                "what is found is what was parsed"
            );
        }
        let wide =
            |a: limiter_common::address::Address| u128::from(a.high) << 64 | u128::from(a.low);
        let (source, destination) = (segment.network.source(), segment.network.destination());
        (wide(source), wide(destination), segment.port, segment.flags, segment.hides_flags)
    })
}

/// All that is read of a segment, and whether there is data.
fn read(segment: &Segment<'_>) -> impl PartialEq + core::fmt::Debug + use<> {
    let numbers = segment.numbers().map(|(numbers, _)| (numbers, segment.has_data(&numbers)));
    let (from, to) = (segment.network.source(), segment.network.destination());
    let shown = if segment.hides_flags { None } else { segment.beginning() };
    (from, to, segment.port, segment.flags, segment.is_fragment, numbers, shown)
}
