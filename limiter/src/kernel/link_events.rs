//! Events of network interfaces, as the kernel tells them to everybody who listens (RTNLGRP_LINK).
//!
//! An event says only where to look. What is there is asked anew: a listener that is too slow loses some.

use anyhow::{Context as _, Result};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{AsyncSocket as _, AsyncSocketExt as _, SocketAddr, TokioSocket};

use super::netlink;

/// The group RTNLGRP_LINK as a bit.
const GROUP: u32 = 1 << (libc::RTNLGRP_LINK - 1);

/// A listener.
pub struct LinkEvents {
    socket: TokioSocket,
}

/// What was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// Something about the interface with this index and name.
    Interface(u32, Option<String>),
    /// Something was lost, so it may have been about any.
    Lost,
}

impl LinkEvents {
    /// Begins to listen. Needs to be inside a tokio runtime.
    ///
    /// # Errors
    /// When there is no netlink socket to be had.
    pub fn open() -> Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE).context("cannot open a netlink socket")?;
        socket
            .socket_mut()
            .bind(&SocketAddr::new(0, GROUP))
            .context("cannot listen for news of interfaces")?;
        Ok(Self { socket })
    }

    /// Waits for the next news. Nothing is lost when the waiting is given up.
    ///
    /// # Errors
    /// When the socket is broken.
    pub async fn next(&mut self) -> Result<Vec<LinkEvent>> {
        match self.socket.recv_from_full().await {
            Ok((datagram, _)) => Ok(read(&datagram)),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(vec![LinkEvent::Lost]),
            Err(error) => Err(error).context("cannot hear news of interfaces"),
        }
    }
}

fn read(datagram: &[u8]) -> Vec<LinkEvent> {
    let mut messages = Vec::new();
    let read = netlink::read::<RouteNetlinkMessage>(datagram, &mut messages);
    let mut heard: Vec<LinkEvent> = messages.iter().filter_map(link).collect();
    if read.is_err() {
        heard.push(LinkEvent::Lost);
    }
    heard
}

fn link(message: &RouteNetlinkMessage) -> Option<LinkEvent> {
    match message {
        RouteNetlinkMessage::NewLink(link) | RouteNetlinkMessage::DelLink(link) => {
            Some(LinkEvent::Interface(link.header.index, name(link)))
        }
        _ => None,
    }
}

fn name(link: &LinkMessage) -> Option<String> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })
}
