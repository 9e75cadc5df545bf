//! Messages with open files between processes: Unix sockets that keep messages apart, named in the
//! network namespace and not in the file system, so that a name is gone with its holder. No unsafe
//! code here: rustix and nix have it.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown, SocketAddrUnix, SocketFlags,
    SocketType,
};

/// Files that one message can carry; the kernel's limit is 253.
pub const FILES: usize = 64;
/// Bytes of the longest message.
const BYTES: usize = 32_768;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 16;

/// Who is at the other end of a channel, as the kernel says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Peer {
    /// Its process; 0 where it is in a process namespace that we cannot see.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
}

/// A name that others connect to.
#[derive(Debug)]
pub struct Listener(OwnedFd);

impl Listener {
    /// Takes a name; none if somebody has it.
    pub fn bind(name: &[u8]) -> io::Result<Option<Self>> {
        let socket = socket()?;
        match rustix::net::bind(&socket, &SocketAddrUnix::new_abstract_name(name)?) {
            Err(Errno::ADDRINUSE) => return Ok(None),
            result => result?,
        }
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(Some(Self(socket)))
    }

    /// Waits for somebody; an error once it is closed.
    pub fn accept(&self) -> io::Result<Channel> {
        Ok(Channel(rustix::net::accept_with(&self.0, SocketFlags::CLOEXEC)?))
    }

    /// Ends [`Self::accept`], also one that waits on another thread.
    pub fn close(&self) -> io::Result<()> {
        Ok(rustix::net::shutdown(&self.0, Shutdown::Both)?)
    }
}

/// One end of a conversation.
#[derive(Debug)]
pub struct Channel(OwnedFd);

impl Channel {
    /// Connects to a name; none if nobody has it.
    pub fn connect(name: &[u8]) -> io::Result<Option<Self>> {
        let socket = socket()?;
        match rustix::net::connect(&socket, &SocketAddrUnix::new_abstract_name(name)?) {
            Err(Errno::CONNREFUSED) => Ok(None),
            result => result.map(|()| Some(Self(socket))).map_err(Into::into),
        }
    }

    /// Who the other end is.
    pub fn peer(&self) -> io::Result<Peer> {
        let peer = getsockopt(&self.0, sockopt::PeerCredentials)?;
        Ok(Peer { pid: u32::try_from(peer.pid()).unwrap_or(0), uid: peer.uid() })
    }

    /// How long sending and receiving may take from here on; none: for ever.
    pub fn set_patience(&self, patience: Option<Duration>) -> io::Result<()> {
        set_socket_timeout(&self.0, Timeout::Recv, patience)?;
        Ok(set_socket_timeout(&self.0, Timeout::Send, patience)?)
    }

    /// Sends a message with up to [`FILES`] files.
    pub fn send(&self, bytes: &[u8], files: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fits = files.len() <= FILES
            && (files.is_empty() || control.push(SendAncillaryMessage::ScmRights(files)));
        if !fits || bytes.len() > BYTES {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        rustix::net::sendmsg(&self.0, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// The next message; none if the other end is closed.
    pub fn receive(&self) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
        let mut bytes = vec![0; BYTES];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut buffers = [IoSliceMut::new(&mut bytes)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = loop {
            match rustix::net::recvmsg(&self.0, &mut buffers, &mut control, flags) {
                // A reset is told before messages that arrived before it, and told once.
                Err(Errno::INTR | Errno::CONNRESET) => {}
                Err(Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
                result => break result?,
            }
        };
        if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut files = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                files.extend(rights);
            }
        }
        bytes.truncate(received.bytes);
        Ok((received.bytes > 0).then_some((bytes, files)))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// An end that another process gave away.
impl From<OwnedFd> for Channel {
    fn from(socket: OwnedFd) -> Self {
        Self(socket)
    }
}

fn socket() -> io::Result<OwnedFd> {
    let kind = SocketType::SEQPACKET;
    Ok(rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, Write};
    use std::thread;

    use super::*;

    fn pair(name: &str) -> (Listener, Channel, Channel) {
        let name = format!("gateway-test {name} {}", std::process::id());
        let listener = Listener::bind(name.as_bytes()).unwrap().unwrap();
        let there = Channel::connect(name.as_bytes()).unwrap().unwrap();
        let here = listener.accept().unwrap();
        (listener, here, there)
    }

    #[test]
    fn a_name_has_one_holder_and_is_gone_with_it() {
        let name = format!("gateway-test holder {}", std::process::id());
        assert!(Channel::connect(name.as_bytes()).unwrap().is_none());
        let holder = Listener::bind(name.as_bytes()).unwrap().unwrap();
        assert!(Listener::bind(name.as_bytes()).unwrap().is_none());
        drop(holder);
        assert!(Listener::bind(name.as_bytes()).unwrap().is_some());
    }

    #[test]
    fn messages_stay_apart_and_carry_files() {
        let (_listener, here, there) = pair("messages");
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"inside").unwrap();
        there.send(b"one", &[file.as_fd(); FILES]).unwrap();
        there.send(b"two", &[]).unwrap();
        let (bytes, files) = here.receive().unwrap().unwrap();
        assert_eq!((bytes.as_slice(), files.len()), (b"one".as_slice(), FILES));
        let mut same = std::fs::File::from(files.into_iter().next().unwrap());
        let mut text = String::new();
        same.rewind().unwrap();
        same.read_to_string(&mut text).unwrap();
        assert_eq!(text, "inside");
        assert_eq!(here.receive().unwrap().unwrap().0, b"two");
        assert!(there.send(b"many", &[file.as_fd(); FILES + 1]).is_err());
        drop(there);
        assert!(here.receive().unwrap().is_none());
    }

    #[test]
    fn last_words_are_heard_though_nobody_listened() {
        let (_listener, here, there) = pair("words");
        here.send(b"unheard", &[]).unwrap();
        there.send(b"last words", &[]).unwrap();
        drop(there);
        assert_eq!(here.receive().unwrap().unwrap().0, b"last words");
        assert!(here.receive().unwrap().is_none());
    }

    #[test]
    fn the_kernel_says_who_the_other_end_is() {
        let (_listener, here, there) = pair("peer");
        let pid = std::process::id();
        for end in [here, there] {
            let peer = end.peer().unwrap();
            assert_eq!((peer.pid, peer.uid), (pid, rustix::process::geteuid().as_raw()));
        }
    }

    #[test]
    fn patience_ends_and_closing_wakes() {
        let (listener, here, _there) = pair("patience");
        here.set_patience(Some(Duration::from_millis(1))).unwrap();
        assert_eq!(here.receive().unwrap_err().kind(), io::ErrorKind::TimedOut);
        thread::scope(|scope| {
            let waiting = scope.spawn(|| listener.accept().is_err());
            listener.close().unwrap();
            assert!(waiting.join().unwrap());
        });
    }
}
