//! The head of a request: all of it that an answer depends on, which is the method and two fields.
//!
//! Every request gets the same answer and its connection is closed then, so that nothing of a
//! request is trusted, forwarded or remembered. A head that is too long is answered as far as it
//! came; what is no HTTP/1 is not answered.

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Longest head in bytes.
pub(super) const HEAD_BYTES: usize = 8192;
/// What is set aside for a head at first; most browsers send less.
const FIRST_BYTES: usize = 1024;

/// What an answer depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// GET or HEAD: it reads.
    pub reads: bool,
    /// HEAD: the answer has no body.
    pub bodiless: bool,
    /// `Accept-Language`.
    pub languages: Option<String>,
    /// `Accept`.
    pub forms: Option<String>,
}

/// Reads the head from a client. `None`: the client ended or broke its connection, or speaks
/// something else.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Head> {
    let mut bytes = Vec::with_capacity(FIRST_BYTES);
    let mut looked = 0;
    while bytes.len() < HEAD_BYTES {
        if bytes.len() == bytes.capacity() {
            bytes.reserve_exact(bytes.len());
        }
        let left = HEAD_BYTES - bytes.len();
        let read = (&mut *stream).take(left as u64).read_buf(&mut bytes).await.ok()?;
        if read == 0 || !may_be_http(&bytes) {
            return None;
        }
        // The end may have begun in what came before.
        if let Some(end) = end(&bytes[looked..]) {
            return parse(&bytes[..looked + end]);
        }
        looked = bytes.len().saturating_sub(3);
    }
    parse(&bytes)
}

/// Where the empty line begins that ends a head.
fn end(bytes: &[u8]) -> Option<usize> {
    (0..bytes.len())
        .find(|&at| bytes[at..].starts_with(b"\n\r\n") || bytes[at..].starts_with(b"\n\n"))
}

/// A method is of capital letters and hyphens: what begins otherwise, as TLS does, is not waited
/// for.
fn may_be_http(bytes: &[u8]) -> bool {
    let method = bytes.split(|byte| *byte == b' ').next().unwrap_or_default();
    !method.is_empty()
        && method.len() <= 32
        && method.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'-')
}

fn parse(bytes: &[u8]) -> Option<Head> {
    let mut lines = bytes.split(|byte| *byte == b'\n').map(|line| line.trim_ascii_end());
    let request = lines.next()?;
    let mut words = request.splitn(3, |byte| *byte == b' ');
    let (method, _, version) = (words.next()?, words.next()?, words.next());
    // Of an address that is too long for a head the version has not come.
    if version.is_some_and(|version| !version.starts_with(b"HTTP/1."))
        || (version.is_none() && bytes.len() < HEAD_BYTES)
    {
        return None;
    }
    let mut head = Head {
        reads: matches!(method, b"GET" | b"HEAD"),
        bodiless: method == b"HEAD",
        ..Head::default()
    };
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        let place = if name.eq_ignore_ascii_case(b"accept-language") {
            &mut head.languages
        } else if name.eq_ignore_ascii_case(b"accept") {
            &mut head.forms
        } else {
            continue;
        };
        // Fields of one name are one list (RFC 9110, 5.3).
        if let Ok(value) = str::from_utf8(value.trim_ascii()) {
            let list = place.get_or_insert_default();
            if !list.is_empty() {
                list.push(',');
            }
            list.push_str(value);
        }
    }
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(bytes: &[u8]) -> Option<Head> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(read(&mut &*bytes))
    }

    #[test]
    fn heads() {
        let get = Head { reads: true, ..Head::default() };
        assert_eq!(head(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), Some(get.clone()));
        assert_eq!(head(b"GET / HTTP/1.0\n\n"), Some(get.clone()));
        assert_eq!(
            head(b"HEAD / HTTP/1.1\r\naccept:a/b\r\nACCEPT-language: fr \r\nAccept: c/d\r\n\r\nx"),
            Some(Head {
                bodiless: true,
                languages: Some("fr".to_owned()),
                forms: Some("a/b,c/d".to_owned()),
                ..get.clone()
            })
        );
        let post = head(b"POST /a HTTP/1.1\r\nContent-Length: 9\r\nAccept: \xff\r\n\r\n");
        assert_eq!(post, Some(Head::default()));
        for none in [
            &b""[..],
            b"GET / HTTP/1.1\r\nHost: a\r\n",
            b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"GET /\r\n\r\n",
            b"get / HTTP/1.1\r\n\r\n",
            b"\r\n\r\n",
        ] {
            assert_eq!(head(none), None, "{:?}", String::from_utf8_lossy(none));
        }
    }

    #[test]
    fn a_head_that_is_too_long_is_answered_as_far_as_it_came() {
        let cookie = "c".repeat(2 * HEAD_BYTES);
        let long = format!("GET / HTTP/1.1\r\nAccept-Language: fr\r\nCookie: {cookie}");
        let known = Head { reads: true, languages: Some("fr".to_owned()), ..Head::default() };
        assert_eq!(head(long.as_bytes()), Some(known));
        let long = format!("GET /{cookie} HTTP/1.1\r\n\r\n");
        assert_eq!(head(long.as_bytes()), Some(Head { reads: true, ..Head::default() }));
    }

    #[test]
    fn the_end_is_found_wherever_the_bytes_are_cut() {
        let text = b"GET / HTTP/1.1\r\nAccept-Language: fr\r\n\r\n";
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        for at in 1..text.len() {
            let (first, second) = text.split_at(at);
            let mut both = first.chain(second);
            let head = runtime.block_on(read(&mut both)).expect("a head");
            assert_eq!(head.languages.as_deref(), Some("fr"), "cut at {at}");
        }
    }
}
