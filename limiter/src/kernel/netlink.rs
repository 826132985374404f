//! Asking the kernel over netlink, one question at a time, without a runtime. rtnetlink asks for links and routes itself.

use std::fmt::Debug;
use std::io;

use anyhow::{Context as _, Result, bail};
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable,
};
use rtnetlink::sys::{Socket, SocketAddr};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything there is.
    All,
    /// The one that the question names.
    One,
}

/// Sends `question` to the netlink family `protocol`, and returns the answers.
///
/// # Errors
/// When the kernel has no such family, refuses, or answers what cannot be read.
pub fn ask<T>(protocol: isize, question: T, scope: Scope) -> Result<Vec<T>>
where
    T: NetlinkSerializable + NetlinkDeserializable + Debug,
    NetlinkPayload<T>: From<T>,
{
    ask_for(protocol, question, scope, usize::MAX)
}

/// The same, but of very many answers no more than the first `most` and what comes with them.
///
/// # Errors
/// The same.
pub fn ask_for<T>(protocol: isize, question: T, scope: Scope, most: usize) -> Result<Vec<T>>
where
    T: NetlinkSerializable + NetlinkDeserializable + Debug,
    NetlinkPayload<T>: From<T>,
{
    let mut socket = Socket::new(protocol).context("cannot open a netlink socket")?;
    socket.bind_auto().context("cannot bind a netlink socket")?;
    socket.connect(&SocketAddr::new(0, 0)).context("cannot connect a netlink socket")?;
    let mut message = NetlinkMessage::from(question);
    message.header.flags = match scope {
        Scope::All => NLM_F_REQUEST | NLM_F_DUMP,
        Scope::One => NLM_F_REQUEST | NLM_F_ACK,
    };
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0).context("cannot ask over netlink")?;
    let mut answers = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full().context("netlink does not answer")?;
        if read(&datagram, &mut answers)? || answers.len() >= most {
            return Ok(answers);
        }
    }
}

/// The value of the first attribute of a kind: a length of two bytes, a kind of two, and the rest,
/// each from a multiple of four on.
pub(super) fn attribute(mut attributes: &[u8], kind: u16) -> Option<&[u8]> {
    /// Above it are two flags.
    const KIND: u16 = 0x3fff;
    while let [a, b, c, d, ..] = *attributes {
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let value = attributes.get(4..length)?;
        if u16::from_ne_bytes([c, d]) & KIND == kind {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
    None
}

/// Reads the messages of one datagram; whether the last one ends the answer.
pub(super) fn read<T: NetlinkDeserializable + Debug>(
    mut datagram: &[u8],
    answers: &mut Vec<T>,
) -> Result<bool> {
    while !datagram.is_empty() {
        let message = NetlinkMessage::<T>::deserialize(datagram)
            .context("cannot read an answer of netlink")?;
        let length = (message.header.length as usize).next_multiple_of(4).min(datagram.len());
        datagram = &datagram[length..];
        match message.payload {
            NetlinkPayload::InnerMessage(answer) => answers.push(answer),
            NetlinkPayload::Done(_) => return Ok(true),
            NetlinkPayload::Error(error) => match error.code {
                None => return Ok(true),
                Some(code) => {
                    let error = io::Error::from_raw_os_error(code.get().abs());
                    return Err(error).context("netlink refused to answer");
                }
            },
            NetlinkPayload::Overrun(_) => bail!("netlink lost a part of its answer"),
            _ => {}
        }
        if length == 0 {
            bail!("netlink answered with an empty message");
        }
    }
    Ok(false)
}
