//! When a certificate expires. TLS says of one that has expired no more than that it is bad, and a
//! node shows its own without looking.

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use limiter_policy::fleet::Fleet;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// When the first certificate of a PEM file expires, in seconds since 1970.
///
/// # Errors
/// When there is none, or it makes no sense.
pub fn expires(path: &Path) -> Result<i64> {
    let certificate = CertificateDer::from_pem_file(path);
    let certificate = certificate.with_context(|| format!("{} is no PEM file", path.display()))?;
    end(&certificate).with_context(|| format!("{} holds no good certificate", path.display()))
}

/// The certificates of a fleet that this node has, and in how many seconds each expires.
pub fn of(fleet: &Fleet, directory: &Path) -> Vec<(String, Result<i64, String>)> {
    let files = fleet.certificates.iter().flat_map(|one| [&one.authority, &one.own]);
    let left = |file: &String| {
        let left = expires(&directory.join(file)).map(|end| end - Timestamp::now().as_second());
        (file.clone(), left.map_err(|error| format!("{error:#}")))
    };
    files.map(left).collect()
}

/// The end of the validity (RFC 5280, 4.1): the fifth part of what is signed, and the second of
/// that.
fn end(der: &[u8]) -> Result<i64> {
    let (_, certificate, _) = part(der)?;
    let (_, mut rest, _) = part(certificate)?;
    if rest.first() == Some(&VERSION) {
        rest = part(rest)?.2;
    }
    // The serial number, the algorithm, and who signed it.
    for _ in 0..3 {
        rest = part(rest)?.2;
    }
    let (tag, validity, _) = part(rest)?;
    ensure!(tag == SEQUENCE, "it has no validity");
    let (_, _, until) = part(validity)?;
    let (tag, time, _) = part(until)?;
    let digits = std::str::from_utf8(time)?.strip_suffix('Z').context("its time is no UTC")?;
    let digits = match tag {
        // Years are of 1950 to 2049.
        UTC_TIME if digits.as_bytes().first() >= Some(&b'5') => format!("19{digits}"),
        UTC_TIME => format!("20{digits}"),
        GENERALIZED_TIME => digits.to_owned(),
        _ => bail!("its end is no time"),
    };
    let time = DateTime::strptime("%Y%m%d%H%M%S", &digits)?;
    Ok(time.to_zoned(TimeZone::UTC)?.timestamp().as_second())
}

/// The first element of DER: its tag, what it holds, and what follows it.
fn part(der: &[u8]) -> Result<(u8, &[u8], &[u8])> {
    let [tag, first, rest @ ..] = der else { bail!("it ends too early") };
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81..=0x84 => {
            let bytes = usize::from(first & 0x7f);
            ensure!(rest.len() >= bytes, "it ends too early");
            let (length, rest) = rest.split_at(bytes);
            (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        }
        _ => bail!("it has a part of no known length"),
    };
    ensure!(rest.len() >= length, "it ends too early");
    let (held, rest) = rest.split_at(length);
    Ok((*tag, held, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(tag: u8, held: &[u8]) -> Vec<u8> {
        let length = u8::try_from(held.len()).expect("short");
        let length = if length < 0x80 { vec![length] } else { vec![0x81, length] };
        [&[tag], &length[..], held].concat()
    }

    fn certificate(tag: u8, until: &str) -> Vec<u8> {
        let from = element(UTC_TIME, b"200101000000Z");
        let validity = element(SEQUENCE, &[from, element(tag, until.as_bytes())].concat());
        let version = element(VERSION, &[2, 1, 2]);
        let long = element(SEQUENCE, &[0; 90]);
        let signed = [version, vec![2, 1, 7], vec![SEQUENCE, 0], long, validity].concat();
        element(SEQUENCE, &element(SEQUENCE, &signed))
    }

    #[test]
    fn the_end_is_found() {
        assert_eq!(end(&certificate(UTC_TIME, "261129214200Z")).ok(), Some(1_795_988_520));
        assert_eq!(end(&certificate(UTC_TIME, "700101000001Z")).ok(), Some(1));
        assert_eq!(
            end(&certificate(GENERALIZED_TIME, "20500101000000Z")).ok(),
            Some(2_524_608_000)
        );
    }

    #[test]
    fn what_makes_no_sense_is_an_error() {
        let good = certificate(UTC_TIME, "261129214200Z");
        for length in 0..good.len() {
            assert!(end(&good[..length]).is_err(), "{length}");
        }
        for (tag, until) in [(UTC_TIME, "261329214200Z"), (UTC_TIME, "26"), (4, "261129214200Z")] {
            assert!(end(&certificate(tag, until)).is_err(), "{until}");
        }
    }
}
