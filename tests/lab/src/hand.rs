//! Clients made by hand: they send what a kernel would not, from the attacker's device, and hear
//! what comes back.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use aya::programs::{TestRun as _, TestRunAttrs, TestRunOptions};

use crate::{
    flood::{device_index, live_context},
    frame::{
        Frame,
        flags::{ACK, SYN},
    },
    netns::Namespace,
    programs::{Loaded, record::VOLLEY_FRAMES, record::VOLLEY_WORDS},
    socket,
    topology::{FAR_DEVICE, Lab},
};

/// How long an answer may take on a busy machine. Shorter than other things may, because some tests
/// want none.
const PATIENCE: Duration = Duration::from_secs(10);
/// `ETH_P_ALL` of linux/if_ether.h: every frame.
const EVERY: u16 = 3;

/// A client that keeps the numbers of one handshake, and nothing else of TCP.
pub struct Hand {
    socket: OwnedFd,
    /// Its address and port.
    pub client: SocketAddr,
    /// Whom it talks to.
    pub server: SocketAddr,
    /// Its first sequence number.
    pub first: u32,
    /// The server's first sequence number, which may be a cookie. 0 before it is known.
    pub cookie: u32,
}

/// A segment that came back.
#[derive(Clone, Debug)]
pub struct Heard {
    /// MAC addresses: of whom it is for, and of whom it is from.
    pub macs: [[u8; 6]; 2],
    /// Whose it is.
    pub source: SocketAddr,
    /// Whom it is for.
    pub destination: SocketAddr,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgment number.
    pub acknowledgment: u32,
    /// Flags of TCP.
    pub flags: u8,
    /// Window.
    pub window: u16,
    /// Options of TCP.
    pub options: Vec<u8>,
    /// Bytes of data.
    pub length: u32,
}

impl Hand {
    /// A client of the lab's attacker. Its kernel drops what comes for addresses that it has not.
    ///
    /// # Errors
    /// When there is no packet socket.
    pub fn new(lab: &Lab, client: SocketAddr, server: SocketAddr) -> Result<Self> {
        let socket = lab.attacker.run(|| {
            let socket = socket::open(FAR_DEVICE, EVERY)?;
            rustix::io::ioctl_fionbio(&socket, true)?;
            Ok(socket)
        })?;
        Ok(Self { socket, client, server, first: 0x0001_0000, cookie: 0 })
    }

    /// A segment with the numbers of the first byte after the handshake; a SYN with the number
    /// before it.
    pub fn frame(&self, flags: u8) -> Frame {
        let (from, to) = Lab::attack_macs();
        let frame = Frame::syn(self.client, self.server).macs(from, to).flags(flags);
        if flags & (SYN | ACK) == SYN {
            return frame.numbers(self.first, 0);
        }
        frame.tcp_options(&[]).numbers(self.first.wrapping_add(1), self.cookie.wrapping_add(1))
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// When the device refuses it.
    pub fn send(&self, frame: &Frame) -> Result<()> {
        let bytes = frame.build();
        let sent = rustix::io::write(&self.socket, &bytes).context("cannot send")?;
        ensure!(sent == bytes.len(), "the device took {sent} bytes of {}", bytes.len());
        Ok(())
    }

    /// Sends a SYN with the next first sequence number and takes the number of the server from its
    /// answer.
    ///
    /// # Errors
    /// When none comes.
    pub fn ask(&mut self) -> Result<()> {
        self.first = self.first.wrapping_add(0x0010_0000);
        self.send(&self.frame(SYN))?;
        let wanted = self.first.wrapping_add(1);
        let answer = self
            .wait(|heard| heard.flags & (SYN | ACK) == SYN | ACK && heard.acknowledgment == wanted);
        self.cookie = answer.context("no SYN-ACK")?.sequence;
        Ok(())
    }

    /// The whole handshake: [`Self::ask`], and the ACK.
    ///
    /// # Errors
    /// When no SYN-ACK comes.
    pub fn connect(&mut self) -> Result<()> {
        self.ask()?;
        self.send(&self.frame(ACK))
    }

    /// The next segment for this client that is as wanted, within ten seconds.
    ///
    /// # Errors
    /// When there is none.
    pub fn wait(&self, wanted: impl Fn(&Heard) -> bool) -> Result<Heard> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            match self.next() {
                Some(heard) if heard.destination == self.client && wanted(&heard) => {
                    return Ok(heard);
                }
                Some(_) => {}
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        bail!("nothing came for {} in {PATIENCE:?}", self.client)
    }

    /// The next segment of those that are there, whomever it is for. What this socket sent is not
    /// among them.
    pub fn next(&self) -> Option<Heard> {
        loop {
            let mut frame = [0; 2048];
            let length = rustix::io::read(&self.socket, &mut frame).ok()?;
            let heard = Heard::read(&frame[..length]);
            if heard.is_some() {
                return heard;
            }
        }
    }
}

impl Heard {
    /// A segment of TCP without options or extension headers of IP.
    fn read(frame: &[u8]) -> Option<Self> {
        let macs = [frame.get(..6)?.try_into().ok()?, frame.get(6..12)?.try_into().ok()?];
        let half = |at: usize| {
            Some(usize::from(u16::from_be_bytes(frame.get(at..at + 2)?.try_into().ok()?)))
        };
        // What follows the IP header, without the padding of a short frame.
        let (source, destination, tcp): (IpAddr, IpAddr, &[u8]) = match frame.get(12..15)? {
            [0x08, 0x00, 0x45] if frame.get(23) == Some(&6) => {
                let at = |at: usize| {
                    Some(Ipv4Addr::from(<[u8; 4]>::try_from(frame.get(at..at + 4)?).ok()?))
                };
                (at(26)?.into(), at(30)?.into(), frame.get(34..14 + half(16)?)?)
            }
            [0x86, 0xdd, _] if frame.get(20) == Some(&6) => {
                let at = |at: usize| {
                    Some(Ipv6Addr::from(<[u8; 16]>::try_from(frame.get(at..at + 16)?).ok()?))
                };
                (at(22)?.into(), at(38)?.into(), frame.get(54..54 + half(18)?)?)
            }
            _ => return None,
        };
        let word = |at: usize| Some(u32::from_be_bytes(tcp.get(at..at + 4)?.try_into().ok()?));
        let ports = word(0)?;
        let data = usize::from(tcp.get(12)? >> 4) * 4;
        Some(Self {
            macs,
            source: SocketAddr::new(source, (ports >> 16) as u16),
            destination: SocketAddr::new(destination, ports as u16),
            sequence: word(4)?,
            acknowledgment: word(8)?,
            flags: *tcp.get(13)?,
            window: u16::from_be_bytes(tcp.get(14..16)?.try_into().ok()?),
            options: tcp.get(20..data)?.to_vec(),
            length: (tcp.len() - data) as u32,
        })
    }
}

/// Sends frames of a namespace's device at once: its peer finds all of them when it looks, as a
/// NIC's driver does in a burst.
///
/// # Errors
/// When there are more than 64 frames or one of more than 160 bytes, or the kernel refuses them.
pub fn volley(namespace: &Namespace, frames: &[Vec<u8>]) -> Result<()> {
    ensure!(frames.len() <= VOLLEY_FRAMES, "{} frames in a volley", frames.len());
    let words = frames.iter().map(|frame| {
        ensure!(frame.len() <= VOLLEY_WORDS * 8, "a frame of {} bytes in a volley", frame.len());
        let mut words = [0; VOLLEY_WORDS];
        for (word, bytes) in words.iter_mut().zip(frame.chunks(8)) {
            let mut eight = [0; 8];
            eight[..bytes.len()].copy_from_slice(bytes);
            *word = u64::from_ne_bytes(eight);
        }
        Ok(words)
    });
    let mut loaded = Loaded::new("volley")?;
    loaded.set_volley(&words.collect::<Result<Vec<_>>>()?)?;
    namespace.run(|| {
        let blank = vec![0; VOLLEY_WORDS * 8];
        let context = live_context(blank.len(), device_index(FAR_DEVICE)?);
        loaded.xdp()?.test_run(TestRunOptions {
            data_in: Some(&blank),
            ctx_in: Some(&context),
            repeat: frames.len() as u32,
            attrs: TestRunAttrs::new().xdp_live_frames(VOLLEY_FRAMES as u32),
            ..TestRunOptions::new()
        })?;
        Ok(())
    })
}
